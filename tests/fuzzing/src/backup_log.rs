//! Logs of vzdump, as libFuzzer makes them up.
#![no_main]

mod judge;

libfuzzer_sys::fuzz_target!(|log: &[u8]| judge::judge(log));
