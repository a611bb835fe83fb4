//! A session of moq-transport that meets a sequence of operations: bytes of streams, datagrams, resets, commands.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_proto::ietf::exercise::exercise(input) {
        panic!("{broken}");
    }
});
