//! What the tests share: real servers and scripted peers on loopback.

pub(crate) mod postgres;
