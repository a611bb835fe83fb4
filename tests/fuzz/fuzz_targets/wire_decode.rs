//! Every decoder of the wire layer. The first byte picks version and decoder; what decodes must
//! decode to the same message after it is encoded again.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_proto::wire::exercise::exercise(input) {
        panic!("{broken}");
    }
});
