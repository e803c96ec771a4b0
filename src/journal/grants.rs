//! Who else may read the request log in PostgreSQL: one role that the configuration names, for dashboards. It is let in where
//! it has to be, and never where stored prompts and answers are.

use serde_json::json;
use tokio_postgres::types::Type;

use super::postgres::{Fault, Postgres};

/// What it may read. Months belong to the table that they are part of. Not among them: `request_payloads`, and the views
/// `litellm_logs` that show what is in it.
const READABLE: [&str; 7] = [
    "request_logs",
    "requests_recent",
    "tool_call_logs",
    "tool_calls_recent",
    "usage_daily",
    "audit_log",
    "audit_recent",
];

/// Gives the role what it lacks; mostly that is nothing, and then nothing is written.
pub(super) async fn let_read(postgres: &Postgres, role: &str) -> Result<(), Fault> {
    let lacking = "SELECT format('GRANT USAGE ON SCHEMA tidegate TO %I', $1::text)
         WHERE NOT has_schema_privilege($1::text, 'tidegate', 'USAGE')
         UNION ALL
         SELECT format('GRANT SELECT ON tidegate.%I TO %I', name, $1::text)
         FROM json_array_elements_text($2::text::json) name
         WHERE NOT has_table_privilege($1::text, 'tidegate.' || name, 'SELECT')";
    let names = json!(READABLE).to_string();
    let grants = postgres.texts(lacking, &[(&role, Type::TEXT), (&names, Type::TEXT)]).await?;
    if grants.is_empty() {
        return Ok(());
    }
    postgres.run(&grants.join(";\n")).await?;
    tracing::info!(role, "may read the request log");
    Ok(())
}
