//! Frames, field sections, settings and capsules of HTTP/3 and WebTransport.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_relay::quic::exercise::exercise(input) {
        panic!("{broken}");
    }
});
