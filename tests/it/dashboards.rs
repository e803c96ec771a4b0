//! What `dashboards/` ships: each file is a dashboard that Grafana takes and a person understands, and every query in it finds
//! what it looks for in a real PostgreSQL and a real Prometheus, behind a real gateway. There is no Grafana here: what it does
//! with queries before they reach a database is done by `board`.

mod alerts;
mod board;
mod lint;
mod metrics;
mod postgres;
mod seed;
mod sums;
mod traffic;
