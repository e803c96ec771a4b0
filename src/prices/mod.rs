//! Floor 2: what models cost. Tables of prices are read (`litellm`, `models_dev`, `table`), a model is found in them under any of its
//! names (`names`, `book`), and an answer's usage is added up in exact decimals (`list`). Knows no request, no configuration, no
//! file and no clock: bytes and times are handed in. Nothing is ever fetched.

pub mod book;
pub mod changes;
pub mod component;
pub mod hours;
pub mod list;
pub mod litellm;
mod models_dev;
mod names;
pub mod table;

#[cfg(test)]
mod tests;

pub use book::{Book, Pricing};
pub use component::{Component, Price, Rate, Slot};
pub use list::Prices;
pub use table::{About, Table};
