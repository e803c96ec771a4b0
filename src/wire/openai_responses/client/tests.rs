//! Requests read from files, answers written whole and as streams, and the law that both hold the same.

mod answers;
mod requests;
mod streams;
