//! Every SQL query of every dashboard, as Grafana would send it, as the role that the guide makes for Grafana, to a real
//! PostgreSQL: rows of two months, and some of a gateway that runs beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

use super::board::{Board, Query, Shown, quoted};
use super::{seed, traffic};
use crate::support::gateway::PATIENCE;
use crate::support::postgres::{PASSWORD, Postgres, USER};

const ROWS: i64 = 20_000;
const DAY: i64 = 24 * 3600;
const KIND: &str = "grafana-postgresql-datasource";
const ROLE_PASSWORD: &str = "a-password-for-grafana";

/// The guide's SQL, before there are any tables.
async fn make_role(database: &Postgres) {
    let guide = include_str!("../../../docs/guide/dashboards.md");
    let blocks = guide.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let role: Vec<&str> = blocks.filter(|sql| sql.contains("CREATE ROLE tidegate_ro")).collect();
    assert_eq!(role.len(), 1, "which SQL of the guide makes the role?");
    database.execute(&role[0].replace('…', ROLE_PASSWORD)).await;
}

/// A connection as that role, which the gateway lets read.
async fn grafana(database: &Postgres) -> Client {
    let owner = format!("{USER}:{PASSWORD}@");
    let url = database.url().replace(&owner, &format!("tidegate_ro:{ROLE_PASSWORD}@"));
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The dashboard over so many days, with everything chosen that its own variables offer. What is told as JSON is the first
/// column of its rows.
async fn shown(board: &Board, client: &Client, days: i64) -> Shown {
    let now = jiff::Timestamp::now().as_second() + 1;
    let step_seconds = (days * DAY / 500).max(60);
    let mut shown =
        Shown { from: now - days * DAY, to: now, step_seconds, variables: BTreeMap::new() };
    for variable in board.variables(KIND) {
        let name = variable["name"].as_str().unwrap();
        let sql = shown.sql(variable["query"].as_str().unwrap());
        let rows = client.query(&sql, &[]).await.unwrap_or_else(|e| panic!("{name}: {e:?}\n{sql}"));
        let mut values: Vec<String> = rows.iter().map(|row| quoted(row.get(0))).collect();
        assert!(values.len() > 1, "{}: nothing to choose for {name}\n{sql}", board.name);
        assert_eq!(
            values.iter().collect::<BTreeSet<_>>().len(),
            values.len(),
            "{name} has doubles"
        );
        if variable["multi"] == false {
            // The worst of them.
            values = vec![quoted(seed::ODD_USER)];
        }
        shown.variables.insert(name.to_owned(), values.join(", "));
    }
    shown
}

/// Runs a panel's query: it is what the panel needs, and there is something in it.
async fn finds(client: &Client, query: &Query<'_>, shown: &Shown) {
    let place = &query.place;
    let sql = shown.sql(query.target["rawSql"].as_str().unwrap());
    let statement = client.prepare(&sql).await.unwrap_or_else(|e| panic!("{place}: {e:?}\n{sql}"));
    let columns = statement.columns();
    let is_number = |kind: &Type| {
        [Type::INT2, Type::INT4, Type::INT8, Type::FLOAT8, Type::NUMERIC].contains(kind)
    };
    let mut names = BTreeSet::new();
    for column in columns {
        assert!(names.insert(column.name()), "{place}: {} twice", column.name());
        match column.name() {
            "time" | "last" | "first" if *column.type_() != Type::TEXT => {
                assert_eq!(*column.type_(), Type::TIMESTAMPTZ, "{place}: {}", column.name());
            }
            "metric" => assert_eq!(*column.type_(), Type::TEXT, "{place}"),
            _ if query.target["format"] == "time_series" => {
                assert!(is_number(column.type_()), "{place}: {} {}", column.name(), column.type_());
            }
            _ => {}
        }
    }
    if query.target["format"] == "time_series" {
        assert!(names.contains("time"), "{place}: no time");
    }
    // What is said of a column by its name is said of one that is there.
    for ruled in query.panel["fieldConfig"]["overrides"].as_array().unwrap() {
        let name = ruled["matcher"]["options"].as_str().unwrap();
        assert!(names.contains(name), "{place}: there is no column {name}: {names:?}");
    }
    let sort = query.panel["options"]["sortBy"][0]["displayName"].as_str();
    assert!(sort.is_none_or(|name| names.contains(name)), "{place}: sorted by {sort:?}");

    let whole = format!("SELECT coalesce(jsonb_agg(q), '[]') FROM ({sql}) AS q");
    let row =
        client.query_one(&whole, &[]).await.unwrap_or_else(|e| panic!("{place}: {e:?}\n{sql}"));
    let rows: Value = row.get(0);
    let rows = rows.as_array().unwrap();
    let mut empty: BTreeSet<&str> = names;
    for row in rows {
        empty.retain(|name| row[name].is_null());
    }
    let first = rows.first();
    assert!(first.is_some() && empty.is_empty(), "{place}: nothing in {empty:?}\n{sql}\n{first:?}");
}

/// The tables that the query's plan reads from their beginning to their end.
async fn read_whole(client: &Client, place: &str, sql: &str) -> Vec<String> {
    let plan: Value = client
        .query_one(&format!("EXPLAIN (FORMAT JSON) {sql}"), &[])
        .await
        .unwrap_or_else(|e| panic!("{place}: {e:?}\n{sql}"))
        .get(0);
    let mut tables = Vec::new();
    let mut nodes = vec![&plan[0]["Plan"]];
    while let Some(node) = nodes.pop() {
        nodes.extend(node["Plans"].as_array().into_iter().flatten());
        if node["Node Type"] == "Seq Scan" {
            tables.push(node["Relation Name"].as_str().unwrap().to_owned());
        }
    }
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_finds_its_rows_in_postgres() {
    let database = Postgres::running().await;
    make_role(&database).await;
    seed::write(&database, ROWS).await;
    seed::price(&database).await;
    let gateway = traffic::gateway(Some(&database.url())).await;
    traffic::round(&gateway).await;
    let rows =
        "SELECT count(*) FROM tidegate.request_logs WHERE instance <> 'seed' AND status = 'ok'
                AND end_user = 'ada' AND cost_usd > 0 AND session_id IS NOT NULL";
    let end = Instant::now() + PATIENCE;
    while database.count(rows).await == 0 {
        assert!(Instant::now() < end, "the gateway's rows never arrive\n{}", gateway.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    database.execute("ANALYZE").await;

    let client = grafana(&database).await;
    let (mut asked, mut planned) = (0, 0);
    for board in Board::all() {
        let queries = board.queries(KIND);
        if queries.is_empty() {
            continue;
        }
        // The default time of these dashboards, and a time of which a plan should read little.
        let month = shown(&board, &client, 30).await;
        let day = shown(&board, &client, 1).await;
        for query in &queries {
            finds(&client, query, &month).await;
            asked += 1;
            let sql = day.sql(query.target["rawSql"].as_str().unwrap());
            let whole = read_whole(&client, &query.place, &sql).await;
            assert!(whole.is_empty(), "{}: all of {whole:?} is read\n{sql}", query.place);
            planned += 1;
        }
    }
    assert!(asked >= 40 && planned == asked, "{asked} queries, {planned} plans");

    // The judge of plans is awake.
    let all = "SELECT count(*) FROM tidegate.request_logs WHERE error_message LIKE '%x%'";
    assert!(!read_whole(&client, "all", all).await.is_empty());
    let refused = client.batch_execute("DELETE FROM tidegate.request_logs").await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("25006"), "{refused}");
    // Nor when somebody takes that away, as everybody may.
    client.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    for forbidden in [
        "SELECT * FROM tidegate.request_payloads",
        "SELECT * FROM tidegate.litellm_logs",
        "SELECT * FROM public.litellm_logs",
        "DELETE FROM tidegate.request_logs",
        "UPDATE tidegate.usage_daily SET cost_usd = 0",
        "CREATE TABLE tidegate.mine (a int)",
        "SELECT pg_read_file('/etc/passwd')",
    ] {
        let refused = client.batch_execute(forbidden).await.unwrap_err();
        assert_eq!(refused.code().map(|code| code.code()), Some("42501"), "{forbidden}: {refused}");
    }
}
