//! A QMux connection that meets a sequence of operations: messages, frames, calls of a session.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_proto::qmux::exercise::exercise(input) {
        panic!("{broken}");
    }
});
