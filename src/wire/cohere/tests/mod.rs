//! What Cohere's half does: to requests, and with golden answers under the laws of streams.

mod answers;
mod requests;
