//! The sums by day are the sums of the rows, whatever is done to those: written, written again, given another price, deleted,
//! or there before anybody summed.

use super::seed;
use crate::support::postgres::Postgres;

const ROWS: i64 = 400;

/// The days of which the sums and the rows tell different things.
const DIFFERENCES: &str = "
WITH rows AS (
  SELECT (started_at AT TIME ZONE 'UTC')::date AS day, key_alias, team_id, end_user, model_group, surface,
    count(*) AS requests,
    count(*) FILTER (WHERE status = 'error') AS errors,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE status = 'shed' OR status = 'denied') AS refused,
    count(*) FILTER (WHERE input_tokens IS NULL) AS unmeasured,
    count(cost_usd) AS priced,
    sum(tool_calls) AS calls,
    sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0) + coalesce(cache_read_tokens, 0)) AS tokens,
    sum(coalesce(cost_usd, 0)) AS cost,
    sum(duration_us) AS duration
  FROM tidegate.request_logs GROUP BY 1, 2, 3, 4, 5, 6),
sums AS (
  SELECT day, key_alias, team_id, end_user, model_group, surface,
    sum(requests), sum(errors), sum(cancelled), sum(refused), sum(unmeasured), sum(priced), sum(tool_calls),
    sum(input_tokens + output_tokens + cache_read_tokens), sum(cost_usd), sum(duration_us)
  FROM tidegate.usage_daily GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(requests) <> 0)
SELECT count(*) FROM ((TABLE rows EXCEPT TABLE sums) UNION ALL (TABLE sums EXCEPT TABLE rows)) AS different";

#[tokio::test(flavor = "multi_thread")]
async fn sums_in_postgres_are_those_of_the_rows() {
    let database = Postgres::running().await;
    seed::write(&database, ROWS).await;
    assert_eq!(database.count(DIFFERENCES).await, 0);
    let priced = "SELECT sum(priced)::bigint FROM tidegate.usage_daily";
    assert_eq!(database.count(priced).await, 0);

    seed::price(&database).await;
    assert!(database.count(priced).await > 100);
    assert_eq!(database.count(DIFFERENCES).await, 0);
    // Another price, none, and another day.
    let edits = "UPDATE tidegate.request_logs SET cost_usd = 0.5 WHERE end_user = 'user-2';
         UPDATE tidegate.request_logs SET cost_usd = NULL WHERE end_user = 'user-3';
         UPDATE tidegate.request_logs SET key_alias = 'renamed' WHERE key_alias = 'batch'";
    database.execute(edits).await;
    assert_eq!(database.count(DIFFERENCES).await, 0);

    // A database from before there were sums.
    database
        .execute(
            "DROP TABLE tidegate.usage_daily; DROP FUNCTION tidegate.count_usage CASCADE;
             DROP FUNCTION tidegate.usage_statement; DROP INDEX tidegate.request_logs_end_user;
             DELETE FROM tidegate.migrations WHERE name = 'usage'",
        )
        .await;
    seed::write(&database, 10).await;
    assert_eq!(database.count("SELECT count(*) FROM tidegate.request_logs").await, ROWS + 10);
    assert_eq!(database.count(DIFFERENCES).await, 0);

    // Rows go, their sums stay.
    let requests = "SELECT sum(requests)::bigint FROM tidegate.usage_daily";
    database.execute("DELETE FROM tidegate.request_logs").await;
    assert_eq!(database.count(requests).await, ROWS + 10);
}

/// A provider may claim any number of tokens, and a client any name: neither can make a batch fail.
#[tokio::test(flavor = "multi_thread")]
async fn sums_in_postgres_have_no_end() {
    let database = Postgres::running().await;
    seed::write(&database, 1).await;
    // Ten thousand times as much as the largest count that a row takes is more than a bigint holds.
    database
        .execute(
            "UPDATE tidegate.request_logs SET input_tokens = 1000000000000000, end_user = repeat('é', 1000), cost_usd = 999999999;
             INSERT INTO tidegate.request_logs (request_id, started_at, ended_at, duration_us, surface, operation, stream, status, http_status,
                 client_closed, tags, model_requested, lane, attempts, usage_source, config_generation, instance, input_tokens, end_user, cost_usd)
               SELECT gen_random_uuid(), started_at, ended_at, duration_us, surface, operation, stream, status, http_status,
                 client_closed, tags, model_requested, lane, attempts, usage_source, config_generation, instance, input_tokens, end_user, cost_usd
               FROM tidegate.request_logs, generate_series(2, 10000)",
        )
        .await;
    // The copies have no key: two sums.
    let all = "SELECT count(*) FROM (SELECT sum(input_tokens) AS tokens, sum(cost_usd) AS cost, sum(requests) AS requests
               FROM tidegate.usage_daily WHERE length(end_user) = 1000) AS t
               WHERE tokens = 10000 * 1e15 AND cost = 10000 * 999999999::numeric AND requests = 10000";
    assert_eq!(database.count(all).await, 1);
}
