//! Patterns, keys, claims, tokens and the queries that they are in.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_relay::auth::exercise::exercise(input) {
        panic!("{broken}");
    }
});
