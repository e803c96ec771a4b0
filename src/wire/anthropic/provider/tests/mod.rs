//! The provider's half held against fixtures: what is sent for which model, and what is read of answers.

macro_rules! golden {
    ($name:expr) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/", $name)).as_slice()
    };
}

mod answers;
mod requests;
