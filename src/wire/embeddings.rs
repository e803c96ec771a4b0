//! Embeddings: OpenAI's request and answer, and what Ollama, Gemini and Cohere make of them.
