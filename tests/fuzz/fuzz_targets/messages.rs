//! What phones and programs send: messages of both dialects, bodies of REST, dialplans, and whole conversations.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_signalling::exercise::exercise(input) {
        panic!("{broken}");
    }
});
