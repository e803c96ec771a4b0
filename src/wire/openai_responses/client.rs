//! The half that faces clients.
