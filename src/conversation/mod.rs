//! Floor 1: what a conversation is, whatever format carries it. So far only what it cost; the turns
//! and parts come with the first translation between formats.

pub mod usage;
