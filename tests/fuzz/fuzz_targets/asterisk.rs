//! What comes as of Asterisk: AudioSocket, texts and URLs of its WebSocket, sound.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_asterisk::exercise::exercise(input) {
        panic!("{broken}");
    }
});
