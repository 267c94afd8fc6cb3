//! The lab: real Debian nodes with a real systemd, D-Bus and journal, booted as containers.
//!
//! A root file system is made once and cached ([`image`]); a node is a cheap copy of it
//! ([`root`]) that boots in a third of a second ([`container`]) and can be rebooted, lose power
//! and be looked into ([`node`]). What a killed run left behind is cleaned by [`leftovers`].
//!
//! Needs root, Debian's mmdebstrap and systemd-container; `tests/run` installs them or says why
//! the lab could not run. Absent on purpose: machined, bridges, images of disks.

pub mod container;
mod guests;
pub mod image;
pub mod leftovers;
pub mod node;
mod proxmox;
pub mod root;

pub use image::Suite;
pub use node::{Node, Output};

/// Tells the same stories on both releases: each is a function that takes a [`Suite`].
#[macro_export]
macro_rules! on_both_releases {
    ($($story:ident),+ $(,)?) => { $(
        mod $story {
            #[test]
            fn debian_12() {
                super::$story($crate::lab::Suite::Bookworm);
            }
            #[test]
            fn debian_13() {
                super::$story($crate::lab::Suite::Trixie);
            }
        }
    )+ };
}
