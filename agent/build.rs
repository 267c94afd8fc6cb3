//! Makes the program smaller: it runs on every node.

use std::env::var;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| var(name).is_ok_and(|found| found == value);
    // In the profile `agent`, and where Rust links with LLD, which knows all of these.
    if !is("OPT_LEVEL", "z") || !is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        return;
    }
    for argument in [
        // What the loader must adjust is listed in a thirtieth of the room (glibc 2.36).
        "-Wl,-z,pack-relative-relocs",
        // Functions that are the same are there once, unless their addresses are compared.
        "-Wl,--icf=safe",
        // Nobody looks frames up: a panic aborts.
        "-Wl,--no-eh-frame-hdr",
    ] {
        println!("cargo::rustc-link-arg-bin=pvewatch-agent={argument}");
    }
    // Nor is there anything to look up: half a megabyte. A copy, since a folder of built things can
    // be shared by checkouts that come and go.
    println!("cargo::rerun-if-changed=link.ld");
    let copy = Path::new(&var("OUT_DIR").unwrap_or_default()).join("link.ld");
    match std::fs::copy("link.ld", &copy) {
        Ok(_) => {
            println!("cargo::rustc-link-arg-bin=pvewatch-agent=-Wl,-T,{}", copy.display());
        }
        Err(error) => println!("cargo::error=agent/link.ld cannot be copied: {error}"),
    }
}
