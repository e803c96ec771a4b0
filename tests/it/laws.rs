//! The laws that hold the translation together, for the recorded answers and for made-up conversations alike:
//! where the network cuts changes nothing; a stream folds to what the same answer is whole; what is written
//! for a client is well-formed, and read again it is the same; what is written for a provider is JSON in which
//! results stand with their calls.

mod answers;
mod generate;
mod gist;
mod mutations;
mod order;
mod pairs;
mod requests;
mod wellformed;
