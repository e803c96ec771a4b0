//! Tools that a provider does not know, played by functions, and back again.
