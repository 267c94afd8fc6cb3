//! The collector of pvewatch: keeps the truth about a fleet and says what is wrong.
//!
//! `ingest -> core (fleet -> rules -> alerts) -> outputs`: a log and a fold.

pub mod alerts;
pub mod app;
pub mod broker;
pub mod cli;
pub mod config;
pub mod core;
pub mod fleet;
pub mod ingest;
pub mod output;
pub mod policy;
pub mod rules;
pub mod run;
pub mod standards;
pub mod store;
