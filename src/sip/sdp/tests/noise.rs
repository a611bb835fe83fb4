//! Nothing that is sent makes us fall, and what we say is understood by others.

use super::*;

/// Whatever is parsed can be answered, and what is answered is an answer.
fn try_all(text: &[u8]) {
    let Ok(description) = Description::parse(text) else {
        return;
    };
    let mut called = session();
    if let Ok((said, agreed)) = called.answer(&description, &ORDER, Direction::SendReceive) {
        check_answer(&description, &parsed(&said));
        check_text(&said);
        assert!((10..=60).contains(&agreed.ptime_ms));
        check_text(&called.offer(&ORDER, Direction::SendReceive));
    }
    let mut caller = session();
    caller.offer(&ORDER, Direction::SendReceive);
    if let Ok(agreed) = caller.take_answer(&description) {
        let mut numbers = vec![agreed.payload_type_receive];
        numbers.extend(agreed.also_receives.iter().map(|(_, number)| *number));
        numbers.extend(agreed.events_receive.iter().map(|event| event.payload_type));
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "a number means one thing");
    }
}

/// The other parser takes it as it is, and finds what is in it.
fn check_text(text: &str) {
    let session = sdp_types::Session::parse(text.as_bytes()).unwrap();
    let described = parsed(text);
    assert_eq!(session.origin.sess_id, "4611686018");
    assert_eq!((session.session_name.as_str(), session.times.len()), ("-", 1));
    assert_eq!(session.connection.unwrap().connection_address, "192.0.2.10");
    assert_eq!(session.medias.len(), described.sections.len());
    for (media, section) in session.medias.iter().zip(&described.sections) {
        assert_eq!((media.port, &media.fmt), (section.port, &section.formats.join(" ")));
        if section.port != 0 {
            let audio = section.audio.as_ref().unwrap();
            let rtpmaps = media
                .attributes
                .iter()
                .filter(|attribute| attribute.attribute == "rtpmap");
            assert_eq!(rtpmaps.count(), audio.formats.len());
            assert!(
                audio
                    .formats
                    .iter()
                    .all(|format| format.codec().is_some() || format.event().is_some())
            );
        }
    }
    assert!(text.lines().all(|line| line.as_bytes().get(1) == Some(&b'=')));
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
}

#[test]
fn every_beginning_of_a_description_is_borne() {
    for phone in phones::ALL {
        for end in 0..=phone.len() {
            try_all(&phone.as_bytes()[..end]);
            try_all(&phone.as_bytes()[end..]);
        }
    }
}

#[test]
fn our_texts_are_understood() {
    for phone in phones::ALL {
        try_all(phone.as_bytes());
    }
    for codecs in [&ORDER[..], &NARROW, &[Codec::Opus]] {
        let text = session().offer(codecs, Direction::ReceiveOnly);
        check_text(&text);
        let audio = audio(&text);
        assert_eq!(audio.codecs().map(|(codec, _)| codec).collect::<Vec<_>>(), codecs);
        assert_eq!((audio.direction, audio.ptime_ms), (Direction::ReceiveOnly, Some(20)));
    }
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "=",
    ":",
    "/",
    "0",
    "255",
    "65536",
    "-1",
    "m=audio 4000 RTP/AVP 0 8 101\r\n",
    "m=audio 0",
    "c=IN IP4 0.0.0.0\r\n",
    "c=IN IP6 ::1\r\n",
    "a=rtpmap:",
    "a=rtpmap:96 opus/48000/2\r\n",
    "a=rtpmap:101 opus/48000/2\r\n",
    "a=rtpmap:111 telephone-event/8000\r\n",
    "a=inactive\r\n",
    "a=sendonly\r\n",
    "a=crypto:1 x y\r\n",
    "a=ptime:99999999999\r\n",
    "a=rtcp:",
    "RTP/SAVP",
    "110",
    "\u{fffd}",
    "\u{f6}",
];

#[test]
fn noise_is_borne() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x5eed_0001);
    println!("SEED={seed}");
    let mut random = Random(seed.max(1));
    for _ in 0..20_000 {
        let mut text = phones::ALL[random.below(phones::ALL.len())].as_bytes().to_vec();
        for _ in 0..=random.below(6) {
            let at = random.below(text.len() + 1);
            match random.below(4) {
                0 => text.truncate(at),
                1 if at < text.len() => text[at] = u8::try_from(random.below(256)).unwrap(),
                2 => {
                    let end = at + random.below(text.len() - at + 1).min(40);
                    text.drain(at..end);
                }
                _ => {
                    let word = random.one_of(WORDS);
                    text.splice(at..at, word.bytes());
                }
            }
        }
        try_all(&text);
    }
}
