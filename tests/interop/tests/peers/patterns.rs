//! Patterns match and contain what those of the peer crate do.

use anyhow::{Result, ensure};
use moqswitch_interop::Random;
use moqswitch_interop::payload::seed;
use moqswitch_relay::auth::{Pattern, Patterns};

#[test]
fn patterns_are_those_of_the_peer() -> Result<()> {
    let seed = seed();
    let mut random = Random::new(seed);
    let (mut matching, mut containing) = (0, 0);
    for _ in 0..CASES {
        let text = text(&mut random, SEGMENTS);
        let other = self::text(&mut random, SEGMENTS);
        let ours = Pattern::below("", &text);
        let theirs = text.parse::<moq_net::Pattern>();
        ensure!(
            ours.is_ok() == theirs.is_ok(),
            "seed {seed}: {text:?}: {ours:?}, {theirs:?}"
        );
        let (Ok(ours), Ok(theirs)) = (ours, theirs) else {
            continue;
        };
        ensure!(ours.to_string() == theirs.as_str(), "seed {seed}: {text:?}");
        let path = self::text(&mut random, &SEGMENTS[..LITERALS]);
        let does_match = theirs.matches(&path);
        ensure!(
            ours.matches(&path) == does_match,
            "seed {seed}: {text:?}, path {path:?}"
        );
        matching += u32::from(does_match);
        let overlaps = match moq_net::Pattern::subtree(&path) {
            Ok(below) => theirs.overlaps(&below),
            Err(_) => continue,
        };
        ensure!(
            ours.may_match_below(&path) == overlaps,
            "seed {seed}: {text:?} below {path:?}"
        );
        let (Ok(our_other), Ok(their_other)) = (Pattern::below("", &other), other.parse::<moq_net::Pattern>()) else {
            continue;
        };
        let does_contain = theirs.contains(&their_other);
        let covers = Patterns::new(vec![ours]).cover(&Patterns::new(vec![our_other]));
        ensure!(covers == does_contain, "seed {seed}: {text:?}, {other:?}");
        containing += u32::from(does_contain);
    }
    ensure!(
        matching > CASES / 100 && containing > CASES / 100,
        "{matching} match, {containing} contain"
    );
    Ok(())
}

fn text(random: &mut Random, segments: &[&str]) -> String {
    let count = random.below(5);
    let chosen: Vec<&str> = (0..count).map(|_| segments[random.below(segments.len())]).collect();
    chosen.join("/")
}

/// The first ones are without stars.
const SEGMENTS: &[&str] = &[
    "a", "b", "ab", "aab", "a", "*", "*", "**", "**", "a*", "*b", "a*b", "*a*", "ab*b", "", "***",
];
const LITERALS: usize = 5;
const CASES: u32 = 100_000;
