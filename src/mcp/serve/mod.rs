//! The clients' side: an HTTP request to `/mcp` becomes messages, the messages are answered by `dispatch`, and what
//! comes back becomes an HTTP answer. Sessions and their streams live here.

pub mod ask;
pub mod dispatch;
pub mod events;
pub mod http;
pub mod line;
pub mod session;
pub mod sessions;
pub mod sse;
pub mod stream;
mod work;
