//! The half that faces providers, by its goldens.

mod answers;
mod requests;
mod round_trip;
