//! Telephones that are told by a tone that they are recorded: with what they hear, and where they hear nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_audio::g711;
use moqswitch_legs::LegCodec;
use moqswitch_relay::shard::local::Delivery;
use tokio::time::{Instant, sleep, timeout};

use super::rtp::{Came, EVENTS, LIMIT, Telephone, start, stop};

#[tokio::test(flavor = "multi_thread")]
async fn who_is_recorded_hears_a_tone_again_and_again_and_the_speech_besides() -> Result<()> {
    let relay = start()?;
    let talker = Telephone::new(&relay, 0, "call/7/a", Delivery::Datagram, 1).await?;
    let listener = Telephone::new(&relay, 1, "call/7/b", Delivery::Datagram, 2).await?;
    listener.hear("call/7/a")?;
    talker.until_heard().await?;
    let listening = listener.packets();
    listener.port.announce(listener.leg, Some(Duration::from_secs(1)))?;
    // The same again does not begin it anew.
    listener.port.announce(listener.leg, Some(Duration::from_secs(1)))?;
    let began = Instant::now();
    let mut number = 0_u16;
    while began.elapsed() < Duration::from_millis(1600) {
        talker.send(number, u32::from(number) * 160, 0, &SPEECH).await?;
        number += 1;
        sleep(Duration::from_millis(20)).await;
    }
    listener.port.announce(listener.leg, None)?;
    let heard = timeout(LIMIT, listening).await.context("it does not end")???;
    let tones = tones(&heard);
    // Two of 200 ms, or a third where the machine took so long.
    ensure!((2..=3).contains(&tones.len()), "{tones:?}");
    ensure!(tones.iter().all(|packets| (8..=10).contains(packets)), "{tones:?}");
    let speech = heard.iter().filter(|packet| packet.payload == SPEECH).count();
    ensure!(
        speech + tones.iter().sum::<usize>() == heard.len(),
        "what else is speech"
    );
    ensure!(speech > 20, "{speech}");
    let is_in_order = |pair: &[Came]| pair[1].sequence == pair[0].sequence.wrapping_add(1);
    ensure!(heard.windows(2).all(is_in_order), "a number is missing");
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_recorded_and_hears_nobody_hears_the_tone_alone() -> Result<()> {
    let relay = start()?;
    for (codec, payload_type) in [(LegCodec::Pcma, 8), (LegCodec::G722, 9), (LegCodec::Opus, 111)] {
        let telephone = Telephone::new(&relay, 0, &format!("call/8/{payload_type}"), Delivery::Datagram, 3).await?;
        let mut settings = telephone.settings.clone();
        (settings.codec, settings.payload_type) = (codec, payload_type);
        telephone.port.change(telephone.leg, settings.clone(), None)?;
        let listening = telephone.packets();
        telephone.port.announce(telephone.leg, Some(Duration::from_secs(60)))?;
        let heard = timeout(LIMIT, listening).await.context("it does not end")???;
        ensure!(heard.len() == 10, "{} packets of {codec:?}", heard.len());
        ensure!(heard[0].marker && heard[1..].iter().all(|packet| !packet.marker));
        ensure!(heard.iter().all(|packet| packet.payload_type == payload_type));
        let step = codec.clock_hz() / 50;
        let is_next = |pair: &[Came]| pair[1].timestamp.wrapping_sub(pair[0].timestamp) == step;
        ensure!(heard.windows(2).all(is_next), "timestamps of {codec:?}");
        // A key is sent at once, and what is left of a tone is not.
        let listening = telephone.packets();
        telephone.port.announce(telephone.leg, None)?;
        telephone.port.announce(telephone.leg, Some(Duration::from_secs(60)))?;
        telephone.port.press(telephone.leg, '5', 100)?;
        let heard = timeout(LIMIT, listening).await.context("it does not end")???;
        let first_key = heard.iter().position(|packet| packet.payload_type == EVENTS);
        let first_key = first_key.context("no key came")?;
        let is_key = |packet: &Came| packet.payload_type == EVENTS;
        let last_key = heard.iter().rposition(is_key).context("no key came")?;
        ensure!(
            heard[first_key..=last_key].iter().all(is_key),
            "a tone in the middle of a key"
        );
        telephone.close().await?;
    }
    stop(relay).await
}

/// How many packets each tone has.
fn tones(heard: &[Came]) -> Vec<usize> {
    let is_loud = |packet: &Came| {
        let mut samples = [0; 160];
        g711::decode_ulaw(&packet.payload, &mut samples);
        samples.iter().any(|sample| sample.unsigned_abs() > 5000)
    };
    let runs = heard.chunk_by(|one, next| is_loud(one) == is_loud(next));
    runs.filter(|run| is_loud(&run[0])).map(<[Came]>::len).collect()
}

/// Silence: what else is heard is the tone.
const SPEECH: [u8; 160] = [0xff; 160];
