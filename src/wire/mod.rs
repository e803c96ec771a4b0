//! Floor 2: the formats on the wire, as values: bytes in, values out. Nothing here knows of tokio,
//! reqwest, a clock, the environment or the file system, so all of it can be fuzzed and tested with
//! golden files.

pub mod catalogue;
