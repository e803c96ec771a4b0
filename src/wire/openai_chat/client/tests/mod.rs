//! What is held of the half as a whole: requests by their fixtures, answers by what the SDKs make of them.

mod answers;
mod completions;
mod requests;
