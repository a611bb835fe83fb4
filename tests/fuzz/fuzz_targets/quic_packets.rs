//! What comes by UDP, at an endpoint that accepts connections.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_relay::quic::packets::exercise(input) {
        panic!("{broken}");
    }
});
