//! One message of SIP: what is read, printed and read again is the same.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_sip::exercise::message::exercise(input) {
        panic!("{broken}");
    }
});
