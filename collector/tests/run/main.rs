//! The whole collector with its embedded broker, in this process and as a program; an agent's
//! side is played by the test.

#![cfg(feature = "embedded-broker")]
#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

mod doubt;
mod outputs;
mod peer;
mod process;
mod reload;
mod whole;
