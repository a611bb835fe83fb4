//! Descriptions of sessions: what can be read can be answered.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_sip::exercise::description::exercise(input) {
        panic!("{broken}");
    }
});
