//! An agent of SIP that hears any datagrams, while time passes and who drives it does anything.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(broken) = moqswitch_sip::exercise::agent::exercise(input) {
        panic!("{broken}");
    }
});
