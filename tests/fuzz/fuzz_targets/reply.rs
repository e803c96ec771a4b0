//! A provider's whole answer.
#![no_main]

#[path = "../drive.rs"]
mod drive;
#[path = "../../it/laws/order.rs"]
mod order;
#[path = "../../it/laws/pairs.rs"]
mod pairs;

libfuzzer_sys::fuzz_target!(|input: &[u8]| drive::reply(input));
