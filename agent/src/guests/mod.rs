//! The source `guests`: which guests run on this node, and why they were started or stopped.
//!
//! systemd says when: a virtual machine is the scope `100.scope`, a container the service
//! `pve-container@100.service`. Why is put together from what Proxmox notes at that moment: the
//! guest's lock, the tasks that run, and how its processes ended. `tracker` knows who runs, `cause`
//! finds why; both are pure. `watch` does the I/O, with a connection to the bus of its own: Proxmox'
//! nodes alone have one.
//!
//! Promised: a guest that starts or stops is told within milliseconds, once, with its cause as far
//! as Proxmox or systemd tell it. Absent: what guests there are (`backups::plan`).

mod cause;
mod tasks;
mod tracker;
mod unit;
pub mod watch;
