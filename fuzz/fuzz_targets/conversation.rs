//! Glue: see the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| csi_certify_fuzz::conversation::run(bytes));
