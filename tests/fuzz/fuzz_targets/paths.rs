//! Broadcast paths: their normal form, and what is said of it.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_proto::wire::normal_form::exercise(input) {
        panic!("{broken}");
    }
});
