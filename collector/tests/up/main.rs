//! `pvewatch` as a person uses it: the built program, on free ports, in a folder of its own.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]
#![expect(clippy::disallowed_methods, reason = "a test waits for real programs, with a deadline")]

mod cli;
mod running;
mod up;
