// What a file in dashboards/ may be: Grafana's own types of a dashboard and of the options of each kind of panel, made strict.
// Grafana's types leave options and queries open, since plugins bring their own; here every kind that is used is named.
import type { DashboardLink, DataSourceRef, Panel as AnyPanel, RowPanel as AnyRow, VariableModel } from '@grafana/schema';
import type { Dashboard as AnyDashboard, FieldConfig } from '@grafana/schema';
import type * as Logs from '@grafana/schema/dist/esm/raw/composable/logs/panelcfg/x/LogsPanelCfg_types.gen';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as StateTimeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as TimeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON has no enums: a member of one is its value.
type Plain<T> = T extends string ? `${T}` : T extends number ? (`${T}` extends `${infer N extends number}` ? N : T)
  : T extends boolean | null | undefined ? T : T extends (infer E)[] ? Plain<E>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;

type Kinds = {
  logs: { options: Logs.Options; custom: {} };
  stat: { options: Stat.Options; custom: {} };
  'state-timeline': { options: StateTimeline.Options; custom: StateTimeline.FieldConfig };
  table: { options: Table.Options; custom: Partial<Table.FieldConfig> };
  timeseries: { options: TimeSeries.Options; custom: TimeSeries.FieldConfig };
};

type Source<Type extends string, Variable extends string> = { type: Type; uid: `\${${Variable}}` };
type Postgres = Source<'grafana-postgresql-datasource', 'DS_POSTGRES'>;
type Prometheus = Source<'prometheus', 'DS_PROMETHEUS'>;
type Loki = Source<'loki', 'DS_LOKI'>;

type Target =
  | { datasource: Postgres; refId: string; editorMode: 'code'; format: 'table' | 'time_series'; rawQuery: true; rawSql: string }
  | {
      datasource: Prometheus; refId: string; editorMode: 'code'; format: 'table' | 'time_series';
      expr: string; exemplar?: true; legendFormat: string; instant: boolean; range: boolean;
    }
  | { datasource: Loki; refId: string; editorMode: 'code'; expr: string; queryType: 'range' };

type OneField = Omit<Plain<FieldConfig>, 'custom'>;

type Panel = {
  [Kind in keyof Kinds]: Omit<Plain<AnyPanel>, 'type' | 'options' | 'fieldConfig' | 'targets' | 'datasource'> & {
    type: Kind;
    datasource: Postgres | Prometheus | Loki;
    options: Plain<Kinds[Kind]['options']>;
    targets: Target[];
    fieldConfig: {
      defaults: OneField & { custom?: Plain<Kinds[Kind]['custom']> };
      overrides: { matcher: { id: 'byName'; options: string }; properties: { id: 'unit' | 'links'; value: unknown }[] }[];
    };
  };
}[keyof Kinds];

type Row = Omit<Plain<AnyRow>, 'panels' | 'datasource'> & { panels: Panel[] };

type Variable = Omit<Plain<VariableModel>, 'datasource' | 'current'> & {
  datasource?: Postgres | Prometheus;
  current: {} | { selected: boolean; text: string[]; value: string[] };
};

export type Dashboard = Omit<Plain<AnyDashboard>, 'panels' | 'templating' | 'links'> & {
  panels: (Panel | Row)[];
  templating: { list: Variable[] };
  links: Plain<DashboardLink>[];
};
