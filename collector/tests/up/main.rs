//! `pvewatch` as a person uses it: the built program, on free ports, in a folder of its own.

mod cli;
mod running;
mod up;
