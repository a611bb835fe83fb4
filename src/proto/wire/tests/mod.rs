//! What holds for every decoder in every version, by way of the corpus and of random bytes.

mod gomoqt;

use super::corpus::Seed;
use super::exercise::{Decoder, Outcome, exercise, selector};
use super::{DecodeError, Version, corpus, varint};

#[test]
fn every_seed_keeps_its_promise() {
    for seed in corpus::seeds() {
        let outcome = exercise(&seed.bytes).unwrap_or_else(|broken| panic!("{}: {broken}", seed.name));
        match outcome {
            Outcome::Accepted { consumed } if seed.decoder != Decoder::Datagram => {
                assert!(seed.is_valid, "{}", seed.name);
                assert_eq!(consumed + 1, seed.bytes.len(), "{}", seed.name);
            }
            Outcome::Accepted { .. } => assert!(seed.is_valid, "{}", seed.name),
            Outcome::Rejected(error) => {
                assert!(!seed.is_valid, "{}: {error}", seed.name);
                assert_ne!(error, DecodeError::Truncated, "{}", seed.name);
            }
            Outcome::NoDecoder => panic!("{}: no decoder", seed.name),
        }
    }
}

#[test]
fn every_decoder_has_a_seed_in_every_version_that_has_the_message() {
    let seeds = corpus::seeds();
    for version in Version::EVERY {
        for decoder in Decoder::ALL {
            let expected = match decoder {
                Decoder::Setup
                | Decoder::AnnounceOk
                | Decoder::TrackRequest
                | Decoder::TrackInfo
                | Decoder::Datagram => version >= Version::Lite05,
                Decoder::Goaway => version >= Version::Lite04,
                Decoder::Fetch | Decoder::Probe => version >= Version::Lite03,
                Decoder::SessionClient
                | Decoder::SessionClientCompat
                | Decoder::SessionServer
                | Decoder::SessionServerCompat
                | Decoder::SessionUpdate
                | Decoder::AnnounceInit => version < Version::Lite03,
                _ => true,
            };
            let has = seeds
                .iter()
                .any(|seed| seed.is_valid && (seed.version, seed.decoder) == (version, decoder));
            assert_eq!(has, expected, "{version} {decoder:?}");
        }
    }
}

#[test]
fn seed_names_are_unique() {
    let mut names: Vec<String> = corpus::seeds().into_iter().map(|seed| seed.name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_message_cut_at_any_byte_waits_for_more() {
    for seed in valid_seeds() {
        let Ok(Outcome::Accepted { consumed }) = exercise(&seed.bytes) else {
            panic!("{}", seed.name)
        };
        for cut in 1..=consumed {
            let outcome = exercise(&seed.bytes[..cut]).unwrap();
            let Outcome::Rejected(error) = outcome else {
                panic!("{} cut at {cut}: {outcome:?}", seed.name)
            };
            if seed.decoder == Decoder::Datagram {
                assert!(
                    matches!(error, DecodeError::Invalid(_)),
                    "{} cut at {cut}: {error}",
                    seed.name
                );
            } else {
                assert_eq!(error, DecodeError::Truncated, "{} cut at {cut}", seed.name);
            }
        }
    }
}

#[test]
fn bytes_after_a_message_are_left_alone() {
    for seed in valid_seeds() {
        let before = exercise(&seed.bytes).unwrap();
        let longer = [&seed.bytes[..], &[0xff, 0, 1]].concat();
        assert_eq!(exercise(&longer), Ok(before), "{}", seed.name);
    }
}

#[test]
fn a_body_with_a_byte_too_many_is_refused() {
    for seed in valid_seeds().into_iter().filter(|seed| !seed.name.contains("unknown")) {
        let Some((head, body)) = split_body(&seed) else {
            continue;
        };
        // The first byte of a long integer: whatever field it were taken for, it is incomplete.
        let outcome = exercise(&with_body(&head, &[&body[..], &[0xff]].concat())).unwrap();
        // On 06 some messages may be followed by a field of the draft text, which is then short.
        let refused = match outcome {
            Outcome::Rejected(DecodeError::Trailing) => true,
            Outcome::Rejected(DecodeError::Invalid(_) | DecodeError::TooLarge(_)) => seed.version == Version::Lite06,
            // A priority of two bytes.
            Outcome::Accepted { .. } => has_two_priorities(&seed),
            _ => false,
        };
        assert!(refused, "{}: {outcome:?}", seed.name);
    }
}

#[test]
fn a_body_cut_short_is_refused_and_never_waited_for() {
    for seed in valid_seeds().into_iter().filter(|seed| !seed.name.contains("unknown")) {
        let Some((head, body)) = split_body(&seed) else {
            continue;
        };
        for cut in 0..body.len() {
            let outcome = exercise(&with_body(&head, &body[..cut])).unwrap();
            let fits = match outcome {
                Outcome::Rejected(DecodeError::Invalid(_) | DecodeError::TooLarge(_)) => true,
                // On 06 what is left may be the draft form of the same message. Before 03 a priority
                // has two forms, and a server may leave out that it has no extensions.
                Outcome::Accepted { .. } => {
                    seed.version == Version::Lite06
                        || has_two_priorities(&seed)
                        || seed.decoder == Decoder::SessionServer
                }
                Outcome::Rejected(error) => seed.version == Version::Lite06 && error != DecodeError::Truncated,
                Outcome::NoDecoder => false,
            };
            assert!(fits, "{} body cut at {cut}: {outcome:?}", seed.name);
        }
    }
}

#[test]
fn messages_of_other_versions_are_refused() {
    let seeds = corpus::seeds();
    for version in Version::EVERY {
        for decoder in Decoder::ALL {
            if seeds
                .iter()
                .any(|seed| (seed.version, seed.decoder) == (version, decoder))
            {
                continue;
            }
            for seed in seeds.iter().filter(|seed| seed.decoder == decoder) {
                let input = [&[selector(version, decoder)], &seed.bytes[1..]].concat();
                let outcome = exercise(&input).unwrap();
                assert!(
                    matches!(outcome, Outcome::Rejected(DecodeError::Invalid(_))),
                    "{version} {}",
                    seed.name
                );
            }
        }
    }
}

#[test]
fn random_bytes_break_nothing() {
    let mut random = Random::from_environment();
    let mut accepted = 0;
    for _ in 0..200_000 {
        let mut input = vec![random.byte()];
        let length = random.below(48);
        input.extend((0..length).map(|_| random.byte()));
        // Small values make plausible lengths and types.
        if random.below(2) == 0 {
            input.iter_mut().skip(1).for_each(|byte| *byte &= 0x1f);
        }
        accepted += usize::from(random.check(&input));
    }
    assert!(accepted > 1000, "{accepted} inputs decoded: not worth much");
}

#[test]
fn damaged_messages_break_nothing() {
    let mut random = Random::from_environment();
    let seeds = corpus::seeds();
    for round in 0..100_000 {
        let mut input = seeds[round % seeds.len()].bytes.clone();
        for _ in 0..=random.below(3) {
            random.damage(&mut input);
        }
        random.check(&input);
    }
}

/// Whether a message ends with a priority of which both forms are accepted.
fn has_two_priorities(seed: &Seed) -> bool {
    let has_priority = matches!(
        seed.decoder,
        Decoder::Subscribe | Decoder::SubscribeUpdate | Decoder::SubscribeResponse
    );
    has_priority && seed.version < Version::Lite03
}

fn valid_seeds() -> Vec<Seed> {
    corpus::seeds().into_iter().filter(|seed| seed.is_valid).collect()
}

/// What precedes the length of a seed (selector, type) and its body; `None` without a length.
fn split_body(seed: &Seed) -> Option<(Vec<u8>, Vec<u8>)> {
    let type_bytes = match seed.decoder {
        Decoder::Integer | Decoder::BidiType | Decoder::UniType | Decoder::Frame | Decoder::Datagram => return None,
        // Their length is not an integer.
        Decoder::SessionClientCompat | Decoder::SessionServerCompat => return None,
        Decoder::SubscribeResponse if seed.version >= Version::Lite03 => 1,
        Decoder::Announce if seed.version == Version::Lite06 => 1,
        _ => 0,
    };
    let (head, rest) = seed.bytes.split_at(1 + type_bytes);
    let (length, used) = varint::get(rest).unwrap();
    let body = rest[used..].to_vec();
    assert_eq!(body.len() as u64, length, "{}", seed.name);
    Some((head.to_vec(), body))
}

fn with_body(head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut message = bytes::BytesMut::from(head);
    varint::put(&mut message, body.len() as u64).unwrap();
    [&message[..], body].concat()
}

/// A xorshift generator that says its seed when an input fails.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// `MOQSWITCH_TEST_SEED` replays a run; the default is the same every time.
    fn from_environment() -> Self {
        let given = std::env::var("MOQSWITCH_TEST_SEED").ok();
        let seed = given.map_or(0x9e37_79b9_7f4a_7c15, |text| text.parse().unwrap());
        assert_ne!(seed, 0, "the generator needs a seed that is not 0");
        Self { seed, state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[3]
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    fn damage(&mut self, input: &mut Vec<u8>) {
        let index = self.below(input.len());
        match self.below(5) {
            0 => input[index] = self.byte(),
            1 => input[index] ^= 1 << self.below(8),
            2 => input.insert(index, self.byte()),
            3 if input.len() > 1 => drop(input.remove(index)),
            _ => input.truncate(index.max(1)),
        }
    }

    /// Whether the input decoded.
    fn check(&self, input: &[u8]) -> bool {
        let seed = self.seed;
        let result = std::panic::catch_unwind(|| exercise(input));
        let Ok(result) = result else {
            panic!("panic on {input:02x?}, MOQSWITCH_TEST_SEED={seed}")
        };
        match result {
            Ok(outcome) => matches!(outcome, Outcome::Accepted { .. }),
            Err(broken) => panic!("{broken}, input {input:02x?}, MOQSWITCH_TEST_SEED={seed}"),
        }
    }
}
