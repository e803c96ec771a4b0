//! Floor 4, the journal: one record for each request, never lost to a database, never in a
//! request's way. The request path hands an `Entry` to a `Recorder` and goes on.

pub mod entry;
