//! Amazon Bedrock's Converse (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>):
//! one request format for the models of many vendors, which differ all the same in what they take. Which
//! model takes what is in `model`; the signing of requests is not known here.

pub mod event_stream;
mod exception;
mod media;
mod messages;
mod model;
pub mod provider;
mod reply;
mod schema;
mod settings;
mod stream;
mod thinking;
mod tools;
mod types;
