//! The settings sections: where to listen, bounds, the request log, diagnostics.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;
use url::Url;

use super::super::file::settings::{GeneralSettings, LitellmSettings, RequestLog as LogSettings};
use super::super::file::value::{At, Length};
use super::super::problem::Place;
use super::super::snapshot::{
    Diagnostics, Limits, McpSettings, MetricsSettings, RequestLog, ToolLimits,
};
use super::Checker;
use super::routing::time;
use crate::ground::names::Pattern;
use crate::ground::secret::Secret;
use crate::prices::table::MAX_BYTES;
use crate::prices::{About, Book, Table};
use crate::wire::mcp::lock::Lock;

const MIB: f64 = 1024.0 * 1024.0;
/// Bodies of 32 MiB pass: images come inside JSON.
const MAX_BODY_MIB: f64 = 32.0;
const MAX_UPLOAD_MIB: f64 = 256.0;
/// A body is held in memory, so there is an end to what can be asked for.
const LARGEST_BODY_MIB: f64 = 1024.0;
const LARGEST_UPLOAD_MIB: f64 = 1024.0 * 1024.0;
const MAX_IN_FLIGHT: usize = 2_048;
const PING: Duration = Duration::from_secs(15);
const DRAIN: Duration = Duration::from_secs(120);
/// PostgreSQL cuts longer names.
const LONGEST_ROLE: usize = 63;
const RETENTION: Duration = Duration::from_secs(90 * 86_400);
const LOG_PATH: &str = "data/tidegate.db";
const PORT: u16 = 4000;
const SESSION_IDLE: Duration = Duration::from_secs(1_800);
const MAX_SESSIONS: usize = 10_000;
/// Definitions of many tools are long.
const MAX_LOCK: usize = 32 * 1024 * 1024;

/// Where connections are accepted.
pub(super) struct Listeners {
    pub(super) main: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
    /// Where the address was said.
    pub(super) place: Option<Place>,
}

impl Listeners {
    /// Whether only this machine can reach them.
    pub(super) fn are_loopback(&self) -> bool {
        let admin = self.admin.is_none_or(|admin| admin.ip().is_loopback());
        self.main.ip().is_loopback() && admin
    }
}

/// `replacement` is what the command line says, which wins.
pub(super) fn listeners(
    general: &GeneralSettings,
    replacement: Option<SocketAddr>,
    root: Place,
    checker: &mut Checker<'_, '_>,
) -> Listeners {
    let own = general.listen.as_ref().map(|listen| listen.value.0);
    let main = replacement.or(own).unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    let admin = general.admin_listen.as_ref().map(|admin| admin.value.0);
    let place = general.admin_listen.as_ref().or(general.listen.as_ref()).map(|at| at.place);
    if admin == Some(main) && main.port() != 0 {
        checker.error(place.unwrap_or(root), "`admin_listen` is the same address as `listen`");
    }
    Listeners { main, admin, place }
}

pub(super) fn limits(
    litellm: &LitellmSettings,
    general: &GeneralSettings,
    checker: &mut Checker<'_, '_>,
) -> Limits {
    let max_body = mebibytes(
        "max_request_size_mb",
        general.max_request_size_mb.as_ref(),
        (MAX_BODY_MIB, LARGEST_BODY_MIB),
        checker,
    );
    let max_upload = mebibytes(
        "max_upload_size_mb",
        general.max_upload_size_mb.as_ref(),
        (MAX_UPLOAD_MIB, LARGEST_UPLOAD_MIB),
        checker,
    );
    let in_flight = general.global_max_parallel_requests.as_ref();
    if let Some(zero) = in_flight.filter(|most| most.value == 0) {
        checker.error(zero.place, "`global_max_parallel_requests` must be above zero");
    }
    let ping = litellm.sse_keepalive_ping_interval_seconds.as_ref();
    if let Some(short) = ping.filter(|ping| ping.value.0 < Duration::from_secs(1)) {
        let message = "`sse_keepalive_ping_interval_seconds` must be at least 1";
        checker.error(short.place, message);
    }
    Limits {
        max_body: usize::try_from(max_body).unwrap_or(usize::MAX),
        max_upload,
        max_in_flight: in_flight
            .map_or(MAX_IN_FLIGHT, |most| usize::try_from(most.value).unwrap_or(usize::MAX)),
        ping_interval: ping.map_or(PING, |ping| ping.value.0),
        drain_timeout: general.drain_timeout_seconds.as_ref().map_or(DRAIN, |drain| drain.value.0),
    }
}

/// What stands between a server's alias and a tool's name.
pub(super) fn separator<'g>(
    general: &'g GeneralSettings,
    checker: &mut Checker<'_, '_>,
) -> &'g str {
    let Some(separator) = &general.mcp_tool_name_separator else { return "-" };
    if !matches!(separator.value.as_str(), "-" | "_" | "__") {
        let message =
            "`mcp_tool_name_separator` is `-`, `_` or `__`: names of tools have no other signs";
        checker.error(separator.place, message);
        return "-";
    }
    &separator.value
}

/// `has_pins`: some server's tools are pinned, so the lock file counts.
pub(super) fn mcp(
    general: &GeneralSettings,
    folder: &Path,
    has_pins: bool,
    checker: &mut Checker<'_, '_>,
) -> McpSettings {
    let most = general.mcp_max_sessions.as_ref();
    if let Some(zero) = most.filter(|most| most.value == 0) {
        checker.error(zero.place, "`mcp_max_sessions` must be above zero");
    }
    let idle = general.mcp_session_idle_timeout_seconds.as_ref();
    time("mcp_session_idle_timeout_seconds", idle, checker);
    let lock_file = folder.join(general.mcp_lock_file.as_deref().unwrap_or(Path::new("mcp.lock")));
    McpSettings {
        session_idle_timeout: idle.map_or(SESSION_IDLE, |idle| idle.value.0),
        max_sessions: most
            .map_or(MAX_SESSIONS, |most| usize::try_from(most.value).unwrap_or(usize::MAX)),
        lock: if has_pins { lock(&lock_file, checker) } else { Arc::default() },
        lock_file,
        allowed_origins: general.mcp_allowed_origins.iter().flatten().map(Pattern::new).collect(),
    }
}

/// The pins. The file is one of the configuration's sources, so that what `tidegate mcp pin` writes is in force at once.
fn lock(path: &Path, checker: &mut Checker<'_, '_>) -> Arc<Lock> {
    let (file, read) = checker.origins.read(path, MAX_LOCK);
    if !path.exists() {
        return Arc::default();
    }
    let lock = read.and_then(|bytes| {
        let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        Lock::read(text)
    });
    lock.map(Arc::new).unwrap_or_else(|message| {
        checker.error(Place { file, line: 1, column: 1 }, message);
        Arc::default()
    })
}

/// The tables that prices come from. The operator's file is one of the configuration's sources, so that an edit of it is in force
/// at once.
pub(super) fn book(
    general: &GeneralSettings,
    folder: &Path,
    checker: &mut Checker<'_, '_>,
) -> Arc<Book> {
    let Some(path) = &general.pricing_file else { return Arc::default() };
    let (file, read) = checker.origins.read(&folder.join(&path.value), MAX_BYTES);
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(message) => {
            checker.error(path.place, message);
            return Arc::default();
        }
    };
    match Table::read(&bytes, About { source: "file".to_owned(), ..About::default() }) {
        Ok(table) => {
            if let Some(text) = table.left_out() {
                checker.warning(Place { file, line: 1, column: 1 }, text);
            }
            Arc::new(Book::new(Some(table)))
        }
        Err(error) => {
            checker.error(Place { file, line: 1, column: 1 }, error.to_string());
            Arc::default()
        }
    }
}

/// What tools inside an answer may cost.
pub(super) fn tool_limits(
    rounds: Option<&At<u32>>,
    calls: Option<&At<u32>>,
    time_limit: Option<&At<Length>>,
    tokens: Option<&At<u64>>,
    definition_tokens: Option<&At<u64>>,
    checker: &mut Checker<'_, '_>,
) -> ToolLimits {
    for (name, zero) in [("max_tool_rounds", rounds), ("max_tool_calls", calls)] {
        if let Some(zero) = zero.filter(|most| most.value == 0) {
            checker.error(zero.place, format!("`{name}` must be above zero"));
        }
    }
    time("max_tool_seconds", time_limit, checker);
    ToolLimits {
        rounds: rounds.map(|most| most.value),
        calls: calls.map(|most| most.value),
        time: time_limit.map(|most| most.value.0),
        tokens: tokens.map(|most| most.value),
        definition_tokens: definition_tokens.map(|most| most.value),
    }
}

fn mebibytes(
    name: &str,
    number: Option<&At<f64>>,
    (default, most): (f64, f64),
    checker: &mut Checker<'_, '_>,
) -> u64 {
    if let Some(large) = number.filter(|number| number.value > most) {
        checker.error(large.place, format!("`{name}` must not be above {most}"));
    }
    let mebibytes = checker.positive(name, number).unwrap_or(default).min(most);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above zero and within the bound"
    )]
    let bytes = (mebibytes * MIB) as u64;
    bytes
}

pub(super) fn request_log(
    litellm: &LitellmSettings,
    general: &GeneralSettings,
    log: LogSettings,
    root: Place,
    checker: &mut Checker<'_, '_>,
) -> RequestLog {
    let own = log.retention.as_ref();
    let litellms = general.maximum_spend_logs_retention_period.as_ref();
    if let (Some(own), Some(litellms)) = (own, litellms)
        && own.value != litellms.value
    {
        let message = "`maximum_spend_logs_retention_period` differs from `request_log.retention`";
        checker.error(litellms.place, message);
    }
    let retention = own.or(litellms).map_or(RETENTION, |length: &At<Length>| length.value.0);
    let database_url = database_url(litellm, general, root, checker);
    RequestLog {
        path: log.path.unwrap_or_else(|| PathBuf::from(LOG_PATH)),
        reader_role: reader_role(log.reader_role, database_url.is_some(), checker),
        database_url,
        store_prompts: general.store_prompts_in_spend_logs.unwrap_or_default(),
        retention: Some(retention).filter(|retention| !retention.is_zero()),
        disabled: general.disable_spend_logs.unwrap_or_default(),
    }
}

fn reader_role(
    role: Option<At<String>>,
    has_database: bool,
    checker: &mut Checker<'_, '_>,
) -> Option<String> {
    let role = role?;
    if role.value.is_empty() || role.value.len() > LONGEST_ROLE || role.value.contains('\0') {
        let message = format!("`reader_role` must be a PostgreSQL role: 1 to {LONGEST_ROLE} bytes");
        checker.error(role.place, message);
        return None;
    }
    if !has_database {
        checker.warning(role.place, "`reader_role` does nothing without a `database_url`");
    }
    Some(role.value)
}

fn database_url(
    litellm: &LitellmSettings,
    general: &GeneralSettings,
    root: Place,
    checker: &mut Checker<'_, '_>,
) -> Option<Secret> {
    let both = (litellm.database_url.as_ref(), general.database_url.as_ref());
    let given = one_of("database_url", both, checker);
    let (url, place) = match given {
        Some(given) => (given.value.clone(), given.place),
        None => (Secret::new(checker.variable("DATABASE_URL", root)?.as_str()), root),
    };
    let scheme = Url::parse(url.expose()).ok().map(|url| url.scheme().to_owned());
    if !matches!(scheme.as_deref(), Some("postgres" | "postgresql")) {
        let message = match given {
            Some(_) => "`database_url` must be a URL `postgres://user:password@host/database`",
            None => {
                "the variable `DATABASE_URL` must hold `postgres://user:password@host/database`"
            }
        };
        checker.error(place, message);
        return None;
    }
    Some(url)
}

/// What `litellm_settings` and `general_settings` may both say, but not differently.
pub(super) fn one_of<'s>(
    name: &str,
    (litellm, general): (Option<&'s At<Secret>>, Option<&'s At<Secret>>),
    checker: &mut Checker<'_, '_>,
) -> Option<&'s At<Secret>> {
    if let (Some(litellm), Some(general)) = (litellm, general)
        && litellm.value != general.value
    {
        let message = format!("`{name}` differs between `litellm_settings` and `general_settings`");
        checker.error(litellm.place.max(general.place), message);
    }
    general.or(litellm)
}

pub(super) fn diagnostics(
    litellm: &LitellmSettings,
    general: &GeneralSettings,
    folder: &Path,
) -> Diagnostics {
    let is_verbose =
        general.detailed_debug.unwrap_or_default() || litellm.set_verbose.unwrap_or_default();
    let level = general.log_level.map(|level| level.0);
    Diagnostics {
        json_logs: litellm.json_logs.unwrap_or_default(),
        level: level.unwrap_or(if is_verbose { Level::DEBUG } else { Level::INFO }),
        log_file: general.log_file.as_ref().map(|path| folder.join(path)),
    }
}

pub(super) fn metrics(litellm: &LitellmSettings) -> MetricsSettings {
    let mut litellm_names = false;
    if let Some(callbacks) = &litellm.callbacks {
        litellm_names = callbacks.value.0.iter().any(|it| it == "prometheus");
    }
    MetricsSettings { wants_key: litellm.require_auth_for_metrics_endpoint, litellm_names }
}
