//! A channel of Asterisk and a phone in a browser, by the bytes: AudioSocket on one side, signalling and a session of the
//! peer crates on the other.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use moqswitch_audio::g711;
use moqswitch_interop::peer::{read_group, write_group};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{PlannedGroup, Relay};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

use crate::phone::{Phone, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_and_a_browser_talk_and_keys_cross_once() -> Result<()> {
    for shards in [1, 2] {
        let place = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
        let relay = Relay::start_with(shards, &[("MOQSWITCH_ASTERISK_AUDIOSOCKET", &place)]).await?;
        if relay.kind() != RelayKind::Moqswitch {
            return Ok(());
        }
        talk(&relay, &place).await.with_context(|| format!("{shards} shards"))?;
    }
    Ok(())
}

async fn talk(relay: &Relay, place: &str) -> Result<()> {
    let mut phone = Phone::register(relay, "5001").await?;
    let (speaks, mut hears) = phone.connect("https").await?;
    let mut channel = TcpStream::connect(place).await?;
    // 5001 is called by 4711.
    let uuid = [0x50, 0x01, 0xe4, 0x71, 0x1f].iter().copied().chain([0xff; 11]);
    let hello: Vec<u8> = [0x01, 0x00, 0x10].into_iter().chain(uuid).collect();
    channel.write_all(&hello).await?;

    let incoming = phone.expect("incomingCall").await?;
    ensure!(incoming["from"] == "4711", "{incoming}");
    phone.send("answer", json!({"callId": incoming["callId"]})).await?;
    let own = text(&phone.expect("callAccepted").await?["media"]["publish"])?;
    let theirs = format!("{}/1", own.rsplit_once('/').context("a path")?.0);

    hears.until_announced(&theirs, true).await?;
    let mut audio = hears.subscribe(&theirs, "audio").await?;
    let mut keys = hears.subscribe(&theirs, "dtmf").await?;
    // The library subscribes when it is read.
    let listening = tokio::spawn(async move { read_group(&mut keys).await });
    let mut catalog = hears.subscribe(&theirs, "catalog.json").await?;
    let catalog: Value = serde_json::from_slice(&read_group(&mut catalog).await?.frames[0])?;
    ensure!(catalog["audio"]["renditions"]["audio"]["codec"] == "pcmu", "{catalog}");

    let level = |number: u8| -> Vec<u8> {
        let mut samples = [0; 160];
        g711::decode_ulaw(&[number; 160], &mut samples);
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    };
    let mut ticks = interval(Duration::from_millis(20));
    let group = |sequence: u64| PlannedGroup {
        sequence,
        frames: vec![Bytes::from_static(&[40; 160])],
    };
    let voice = speaks.publish(&own, "audio", &group(0))?;
    let (mut said, mut heard, mut is_heard) = (0_u64, Vec::new(), false);
    let mut came = Vec::new();
    let (tell, mut frames) = mpsc::channel(64);
    let _listening = tokio::spawn(async move {
        // As telephones' audio, it comes by datagrams.
        while let Some(frame) = audio.recv_datagram().await? {
            tell.send((frame.sequence, frame.payload)).await?;
        }
        anyhow::Ok(())
    });
    let talking = async {
        while heard.len() < 20 || !is_heard {
            tokio::select! {
                _ = ticks.tick() => {
                    said += 1;
                    let message = [&[0x10, 0x01, 0x40][..], &level(30)].concat();
                    channel.write_all(&message).await?;
                    write_group(&voice.track, &group(said))?;
                }
                Some(frame) = frames.recv() => heard.push(frame),
                read = channel.read_buf(&mut came) => {
                    ensure!(read? > 0, "the channel is over");
                    let wanted = [&[0x10, 0x01, 0x40][..], &level(40)].concat();
                    is_heard |= came.windows(wanted.len()).any(|part| part == wanted);
                }
            }
        }
        anyhow::Ok(())
    };
    match timeout(LIMIT, talking).await {
        Ok(talked) => talked?,
        Err(_) => bail!(
            "{} groups are heard of the channel; is it heard: {is_heard}; {} bytes",
            heard.len(),
            came.len()
        ),
    }
    ensure!(heard.iter().all(|(_, payload)| payload[..] == [30; 160]));
    ensure!(heard.windows(2).all(|pair| pair[1].0 > pair[0].0));

    channel.write_all(&[0x03, 0x00, 0x01, b'5']).await?;
    let told = phone.expect("dtmf").await?;
    ensure!(told["digit"] == "5", "{told}");
    let key: Value = serde_json::from_slice(&listening.await??.frames[0])?;
    ensure!(key["digit"] == "5", "{key}");

    phone.send("hangup", json!({"callId": incoming["callId"]})).await?;
    let ending = async {
        loop {
            let before = came.len();
            match channel.read_buf(&mut came).await {
                Ok(0) | Err(_) => return came.ends_with(&[0, 0, 0]),
                Ok(_) if came.len() == before => return false,
                Ok(_) => {}
            }
        }
    };
    match timeout(LIMIT, ending).await {
        Ok(true) => Ok(()),
        Ok(false) => bail!("it is over without a word"),
        Err(_) => bail!("the channel goes on"),
    }
}

const LIMIT: Duration = Duration::from_secs(30);
