//! Spans of time as rows and traces count them. What time it is, is not known here.

use std::time::Duration;

/// Whole microseconds; the largest number for what lasts longer.
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
