//! Whether the doors are shut: keys that can be guessed, keys that everybody knows, no key at all.
//! On a loopback listener the finding is a warning, on any other an error.

use super::super::file::keys::VirtualKey;
use super::super::file::value::At;
use super::super::problem::{Place, Severity};
use super::Checker;
use super::keys::Declared;
use super::settings::Listeners;
use crate::config::keys::QUICKSTART_KEY;
use crate::ground::secret::KeyHash;

/// Shorter keys can be guessed.
const SHORTEST_KEY: usize = 20;

pub(super) fn keys(
    list: &[At<VirtualKey>],
    master: Option<&Declared>,
    listeners: &Listeners,
    root: Place,
    checker: &mut Checker<'_, '_>,
) {
    let loopback = listeners.are_loopback();
    let given = list.iter().filter_map(|entry| entry.value.api_key.as_ref());
    for key in given {
        judge(key.value.expose(), key.place, "the key", loopback, checker);
    }
    if let Some(Declared { plain: Some(plain), place, .. }) = master {
        judge(plain.expose(), *place, "the master key", loopback, checker);
    }
    if master.is_none() && list.is_empty() && !checker.damaged.contains(&root) {
        let place = listeners.place.unwrap_or(root);
        if loopback {
            let message =
                "no `master_key` and no `virtual_keys`: anybody on this machine may use everything";
            checker.warning(place, message);
        } else {
            let message = format!(
                "no `master_key` and no `virtual_keys`: refusing to listen on {}, where anybody \
                 could use everything (`tidegate keys new` makes a key)",
                listeners.main
            );
            checker.error(place, message);
        }
    }
    if master.is_none() && listeners.admin.is_some() {
        let place = listeners.place.unwrap_or(root);
        checker.warning(place, "`admin_listen` without a `master_key`: nobody may use it");
    }
}

/// A digest cannot be judged, except that of the key that everybody knows.
fn judge(key: &str, place: Place, what: &str, loopback: bool, checker: &mut Checker<'_, '_>) {
    let digest = key.strip_prefix("sha256:").map(str::trim);
    let is_quickstart = key == QUICKSTART_KEY
        || digest.and_then(KeyHash::from_hex) == Some(KeyHash::of(QUICKSTART_KEY));
    let message = if is_quickstart {
        // On the machine where it was tried out it does no harm.
        if loopback {
            return;
        }
        format!(
            "{what} is the quick start's, which everybody knows (`tidegate keys new` makes one)"
        )
    } else if digest.is_none() && key.len() < SHORTEST_KEY {
        format!(
            "{what} has fewer than {SHORTEST_KEY} characters and can be guessed \
             (`tidegate keys new` makes one that cannot)"
        )
    } else {
        return;
    };
    let severity = if loopback { Severity::Warning } else { Severity::Error };
    checker.findings.add(place, severity, message, None);
}
