//! A session that meets a sequence of operations: bytes of streams, resets, commands.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_proto::session::exercise::exercise(input) {
        panic!("{broken}");
    }
});
