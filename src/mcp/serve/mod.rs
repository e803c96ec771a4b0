//! The clients' side: an HTTP request to `/mcp` becomes messages, the messages are answered by `dispatch`, and what
//! comes back becomes an HTTP answer. Sessions and their streams live here.

pub mod ask;
mod changes;
mod discover;
pub mod dispatch;
pub mod events;
pub mod http;
pub mod line;
pub mod lists;
pub mod parked;
pub mod questions;
pub mod relay;
mod resolve;
pub mod session;
pub mod sessions;
pub mod sse;
pub mod stream;
mod work;
