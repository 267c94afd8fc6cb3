//! Systemd units, told by the bus.
