//! Google's generateContent (<https://ai.google.dev/api/generate-content>), on AI Studio and on Vertex AI.

pub mod embed;
pub mod provider;
