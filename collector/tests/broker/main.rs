//! The embedded broker with real clients: the connection that agent and collector use, and
//! Mosquitto's command-line programs.

#![cfg(feature = "embedded-broker")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod client;
mod retained;
mod tls;
mod traffic;
