//! What the typed values mean and whether they fit together; what passes is the snapshot. Each
//! section has its file. Every problem is reported, none is passed over: a value that is at fault is
//! left out and the checks go on. Reads no file; asks for variables through `Origins` only.

mod keys;
mod models;
mod prices;
mod provider;
mod routing;
mod servers;
mod settings;
mod telemetry;
mod weakness;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::file::File;
use super::file::value::{At, OnLoss};
use super::node::Node;
use super::problem::{Findings, Place, Severity, show};
use super::resolve::Origins;
use super::snapshot::{Models, Pin, Snapshot};
use crate::ground::names::{Pattern, closest};

/// What every check has at hand.
struct Checker<'c, 'e> {
    findings: &'c mut Findings,
    origins: &'c mut Origins<'e>,
    /// Places of what lost a part because it was of the wrong type.
    damaged: &'c HashSet<Place>,
    /// Names of models whose entries are at fault: named elsewhere, they do not dangle.
    faulty_models: Vec<Pattern>,
    /// Not even the names could be read: nobody can say what dangles.
    models_unknown: bool,
}

/// Checks the whole file. The snapshot is as good as the findings: with an error among them it must
/// not be used.
///
/// `root` is the tree that `file` was decoded from; `listen` replaces the file's own.
pub(super) fn check(
    file: File,
    root: &Node,
    listen: Option<SocketAddr>,
    folder: &Path,
    damaged: &HashSet<Place>,
    findings: &mut Findings,
    origins: &mut Origins<'_>,
) -> Snapshot {
    // Entries that could not be read at all are not in `file` any more.
    let entries = root.get("model_list").map_or(0, Node::len);
    let models_unknown = file.model_list.as_ref().map_or(0, Vec::len) != entries;
    let mut checker =
        Checker { findings, origins, damaged, faulty_models: Vec::new(), models_unknown };
    let litellm = file.litellm_settings.unwrap_or_else(|| absent(root));
    let general = file.general_settings.unwrap_or_else(|| absent(root));
    let router = file.router_settings.unwrap_or_else(|| absent(root));

    let serves_nothing = file.model_list.as_ref().is_none_or(Vec::is_empty)
        && file.mcp_servers.as_ref().is_none_or(|servers| servers.value.is_empty());
    if serves_nothing && !damaged.contains(&root.place) {
        checker.warning(root.place, "`model_list` is empty: no model can be asked for");
    }
    let book = settings::book(&general.value, folder, &mut checker);
    let (models, access_groups) = models::models(
        file.model_list.unwrap_or_default(),
        file.credential_list.unwrap_or_default(),
        models::General {
            drop_params: litellm.value.drop_params,
            modify_params: litellm.value.modify_params,
            refuse_losses: litellm
                .value
                .on_loss
                .as_ref()
                .is_some_and(|at| at.value == OnLoss::Refuse),
        },
        &book,
        &mut checker,
    );
    let models = routing::aliases(models, router.value.model_group_alias.as_ref(), &mut checker);
    let routing = routing::routing(&litellm.value, &router.value, &models, &mut checker);

    let master = keys::master(&litellm.value, &general.value, root.place, &mut checker);
    let listed = file.virtual_keys.as_ref().map_or(&[][..], |keys| &keys.value);
    let declared = keys::declared(listed, master.as_ref(), &mut checker);
    let mcp_servers = servers::servers(
        file.mcp_servers.as_ref(),
        litellm.value.mcp_aliases.as_ref(),
        root.get("mcp_servers"),
        &declared,
        &models,
        settings::separator(&general.value, &mut checker),
        &mut checker,
    );
    let listeners = settings::listeners(&general.value, listen, root.place, &mut checker);
    weakness::keys(listed, master.as_ref(), &listeners, root.place, &mut checker);
    let scope =
        keys::Scope { models: &models, access_groups: &access_groups, servers: &mcp_servers };
    let keys = keys::keys(listed, master.as_ref(), &scope, &mut checker);

    let callbacks = telemetry::callbacks(&litellm.value, &mut checker);
    let has_pins = mcp_servers.values().any(|server| server.pin != Pin::Off);
    Snapshot {
        hash: String::new(),
        sources: Vec::new(),
        listen: listeners.main,
        admin_listen: listeners.admin,
        keys,
        models,
        pricing_file: general.value.pricing_file.as_ref().map(|path| path.value.clone()),
        mcp: settings::mcp(&general.value, folder, has_pins, &mut checker),
        mcp_servers,
        tool_limits: settings::tool_limits(
            general.value.max_tool_rounds.as_ref(),
            general.value.max_tool_calls.as_ref(),
            general.value.max_tool_seconds.as_ref(),
            general.value.max_tool_tokens.as_ref(),
            general.value.tool_token_budget.as_ref(),
            &mut checker,
        ),
        routing,
        limits: settings::limits(&litellm.value, &general.value, &mut checker),
        request_log: settings::request_log(
            &litellm.value,
            &general.value,
            file.request_log.map(|log| log.value).unwrap_or_default(),
            root.place,
            &mut checker,
        ),
        diagnostics: settings::diagnostics(&litellm.value, &general.value, folder),
        metrics: settings::metrics(&litellm.value),
        telemetry: Arc::new(telemetry::telemetry(
            &file.telemetry.map(|said| said.value).unwrap_or_default(),
            &callbacks,
            root.place,
            &mut checker,
        )),
    }
}

fn absent<T: Default>(root: &Node) -> At<T> {
    At { value: T::default(), place: root.place, hidden: false }
}

impl Checker<'_, '_> {
    fn error(&mut self, place: Place, message: impl Into<String>) {
        self.findings.error(place, message);
    }

    fn warning(&mut self, place: Place, message: impl Into<String>) {
        self.findings.warning(place, message);
    }

    /// Says that a required key is missing, unless it was there and could not be read.
    fn missing<T>(&mut self, within: &At<T>, key: &str) {
        if !self.damaged.contains(&within.place) {
            self.error(within.place, format!("`{key}` is missing"));
        }
    }

    /// A name that should be one of those known, and is not; `what` says what it fails to be.
    fn dangling<'k>(
        &mut self,
        name: &At<String>,
        what: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let suggestion = closest(&name.value, known).filter(|_| !name.hidden).map(str::to_owned);
        let message = format!("{} is {what}", name.show());
        self.findings.add(name.place, Severity::Error, message, suggestion);
    }

    /// A variable that stands in for a key that is absent.
    fn variable(&mut self, name: &str, place: Place) -> Option<zeroize::Zeroizing<String>> {
        match self.origins.variable(name) {
            Ok(value) => value,
            Err(message) => {
                self.error(place, message);
                None
            }
        }
    }

    /// Whether a model answers to the name, or might if its entry were right.
    fn model_exists(&self, name: &str, models: &Models) -> bool {
        self.models_unknown
            || models.find(name).is_some()
            || self.faulty_models.iter().any(|faulty| faulty.matches(name))
    }

    /// A number that must be above zero.
    fn positive(&mut self, name: &str, number: Option<&At<f64>>) -> Option<f64> {
        let number = number?;
        if number.value > 0.0 {
            return Some(number.value);
        }
        self.error(number.place, format!("`{name}` must be above zero"));
        None
    }

    /// A number that must not be below zero.
    fn not_negative(&mut self, name: &str, number: Option<&At<f64>>) -> Option<f64> {
        let number = number?;
        if number.value >= 0.0 {
            return Some(number.value);
        }
        self.error(number.place, format!("`{name}` must not be below zero"));
        None
    }
}

/// Keys that are read but do nothing yet, gathered over a section into one warning.
#[derive(Default)]
struct Unenforced {
    first: Option<Place>,
    names: BTreeMap<&'static str, ()>,
    entries: usize,
}

impl Unenforced {
    /// Notes the keys of one entry that are set.
    fn note(&mut self, keys: &[(&'static str, Option<Place>)]) {
        let mut any = false;
        for (name, place) in keys {
            if let Some(place) = place {
                any = true;
                self.names.insert(name, ());
                self.first = Some(self.first.map_or(*place, |first| first.min(*place)));
            }
        }
        self.entries += usize::from(any);
    }

    fn report(self, section: &str, checker: &mut Checker<'_, '_>) {
        let Some(place) = self.first else { return };
        let names: Vec<String> = self.names.keys().map(|name| show(name)).collect();
        let entries = if self.entries == 1 { "entry" } else { "entries" };
        let message = format!(
            "{} in {} {entries} of `{section}`: read and checked, but not enforced yet",
            names.join(", "),
            self.entries
        );
        checker.warning(place, message);
    }
}

fn place_of<T>(value: Option<&At<T>>) -> Option<Place> {
    value.map(|value| value.place)
}
