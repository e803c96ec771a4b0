//! What providers say when they fail, in every shape they say it, as one `Fault`.
