//! Google's generateContent (<https://ai.google.dev/api/generate-content>), on AI Studio and on Vertex AI.
//! Both speak one format; they differ in the path, in a few fields, and in what the models behind them take,
//! which `models` knows. Clients do not speak it here, so there is a provider's half only.

mod answer;
mod config;
pub mod embed;
mod grounding;
mod media;
mod messages;
mod models;
pub mod provider;
mod reply;
mod request;
mod results;
mod schema;
mod stream;
mod tools;
mod types;
