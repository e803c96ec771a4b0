//! The half that faces providers.
