//! Channels of RTP that a control program opens by mediaswitch's HTTP, in the program.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_containers::{Encoding, WavWriter};
use moqswitch_interop::Relay;
use moqswitch_interop::relay::RelayKind;
use moqswitch_media::rtp::Packet;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn two_channels_are_mixed_and_say_how_many_there_are() -> Result<()> {
    let programs = free_address()?;
    let listen = programs.to_string();
    let settings = [
        ("MOQSWITCH_MEDIASWITCH_LISTEN", listen.as_str()),
        // Of an address that nobody else binds ports of.
        ("MOQSWITCH_RTP_ADDRESS", "127.0.78.1"),
        ("MOQSWITCH_RTP_PORTS", "20000-20005"),
    ];
    let relay = Relay::start_with(2, &settings).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let mut telephones = Vec::new();
    for _ in 0..2 {
        let (status, channel) = ask(programs, "POST", "/", "{}").await?;
        ensure!(
            status == 200 && channel["uuid"] == channel["channel"],
            "{status} {channel}"
        );
        let uuid = channel["uuid"].as_str().context("no name")?.to_owned();
        let port = u16::try_from(channel["port"].as_u64().context("no port")?)?;
        let at: SocketAddr = format!("{}:{port}", channel["ip"].as_str().context("no address")?).parse()?;
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let own = socket.local_addr()?;
        let target = json!({"ip": own.ip(), "port": own.port(), "audio": {"payloads": [8, 0]}});
        let (status, _) = ask(programs, "PUT", &format!("/channel/{uuid}"), &target.to_string()).await?;
        ensure!(status == 200, "the target: {status}");
        telephones.push((uuid, at, socket));
    }
    let (status, third) = ask(programs, "POST", "/channel/", "{}").await?;
    ensure!(
        status == 200 && third["channels"] == json!({"active": 3, "available": 0}),
        "{third}"
    );
    let (status, _) = ask(programs, "POST", "/", "{}").await?;
    ensure!(status == 503, "one more than there are ports: {status}");

    let [(one, at_one, first), (two, at_two, second)] = &telephones[..] else {
        anyhow::bail!("two were opened");
    };
    // Nobody transcodes: who takes nothing that the other takes is not mixed with it.
    let third = third["uuid"].as_str().context("no name")?;
    let target = json!({"ip": "127.0.0.1", "port": 9, "audio": {"payloads": [9]}}).to_string();
    let (status, _) = ask(programs, "PUT", &format!("/channel/{third}"), &target).await?;
    ensure!(status == 200, "the third's target: {status}");
    let (status, _) = ask(programs, "PUT", &format!("/channel/{one}/mix/{third}"), "{}").await?;
    ensure!(status == 501, "mixed with another codec: {status}");
    let (status, _) = ask(programs, "PUT", &format!("/channel/{one}/mix/{two}"), "{}").await?;
    ensure!(status == 200, "mix: {status}");
    ensure!(speak(first, *at_one, second, 1).await? == *at_two, "from elsewhere");
    ensure!(speak(second, *at_two, first, 2).await? == *at_one, "from elsewhere");
    let (status, _) = ask(programs, "PUT", &format!("/channel/{one}/unmix"), "{}").await?;
    ensure!(status == 200, "unmix: {status}");

    for (uuid, ..) in &telephones {
        let (status, closed) = ask(programs, "DELETE", &format!("/channel/{uuid}"), "").await?;
        // Their ports rest.
        ensure!(status == 200 && closed["channels"]["available"] == 0, "{closed}");
        let (status, _) = ask(programs, "DELETE", &format!("/channel/{uuid}"), "").await?;
        ensure!(status == 404, "closed twice: {status}");
    }
    Ok(())
}

/// A file is heard once by a channel, and its control server is told of both ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_played_once_and_its_ends_are_told() -> Result<()> {
    let programs = free_address()?;
    let listen = programs.to_string();
    let folder = std::env::temp_dir().join(format!("moqswitch-channels-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut wav = WavWriter::new(File::create(folder.join("hello.wav"))?, Encoding::Mulaw, 1, 8000)?;
    wav.write(&[0x20; 160 * 25])?;
    wav.finish()?;
    // Longer than anything here takes.
    let mut wav = WavWriter::new(File::create(folder.join("long.wav"))?, Encoding::Mulaw, 1, 8000)?;
    wav.write(&vec![0x20; 8000 * 120])?;
    wav.finish()?;
    let prompts = folder.display().to_string();
    let settings = [
        ("MOQSWITCH_MEDIASWITCH_LISTEN", listen.as_str()),
        ("MOQSWITCH_MEDIA_PROMPTS", prompts.as_str()),
        ("MOQSWITCH_RTP_ADDRESS", "127.0.78.2"),
        ("MOQSWITCH_RTP_PORTS", "20000-20003"),
    ];
    let relay = Relay::start_with(1, &settings).await?;
    if relay.kind() != RelayKind::Moqswitch {
        return Ok(());
    }
    let control = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", control.local_addr()?);
    let (status, channel) = ask(programs, "POST", "/", &json!({ "control": url }).to_string()).await?;
    ensure!(status == 200, "{status} {channel}");
    let uuid = channel["uuid"].as_str().context("no name")?.to_owned();
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let own = socket.local_addr()?;
    let target = json!({"ip": own.ip(), "port": own.port(), "audio": {"payloads": [0]}});
    let (status, _) = ask(programs, "PUT", &format!("/channel/{uuid}"), &target.to_string()).await?;
    ensure!(status == 200, "the target: {status}");
    let play = format!("/channel/{uuid}/play");
    let hello = json!({"files": [{"wav": "hello.wav"}]}).to_string();
    // Until it is read and encoded there is none of that name.
    loop {
        let (status, _) = ask(programs, "PUT", &play, &hello).await?;
        ensure!(status == 200, "play: {status}");
        ensure!(told(&control).await? == ("start".to_owned(), "new".to_owned()));
        let (event, reason) = told(&control).await?;
        ensure!(event == "end", "{event} {reason}");
        if reason == "completed" {
            break;
        }
        ensure!(reason == "doesntexist", "{reason}");
    }
    // By now it has come: half a second of it, but for what a busy shard left out.
    let (mut packets, mut heard) = (0, [0; 2000]);
    while let Ok(received) = timeout(Duration::from_millis(500), socket.recv_from(&mut heard)).await {
        let (length, _) = received?;
        packets += usize::from(Packet::parse(&heard[..length]).is_ok_and(|packet| packet.payload.len() == 160));
    }
    ensure!((1..=25).contains(&packets), "{packets} packets of 25");
    // What takes its place ends it.
    let long = json!({"files": [{"wav": "long.wav"}]}).to_string();
    loop {
        ask(programs, "PUT", &play, &long).await?;
        let (status, _) = ask(programs, "PUT", &format!("/channel/{uuid}/unmix"), "{}").await?;
        ensure!(status == 200, "unmix: {status}");
        ensure!(told(&control).await?.1 == "new");
        let (_, reason) = told(&control).await?;
        if reason == "replaced" {
            break;
        }
        // Not read yet.
        ensure!(reason == "doesntexist", "{reason}");
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// What a control server is told next of something that is played.
async fn told(control: &TcpListener) -> Result<(String, String)> {
    let (mut stream, _) = timeout(Duration::from_secs(60), control.accept()).await??;
    let mut text = Vec::new();
    loop {
        let mut more = [0; 2000];
        let read = stream.read(&mut more).await?;
        text.extend_from_slice(&more[..read]);
        let said = std::str::from_utf8(&text)?;
        let body = said.split_once("\r\n\r\n").map(|(_, body)| body);
        if let Some(Ok(body)) = body.map(serde_json::from_str::<Value>) {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await?;
            let word = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
            return Ok((word("event"), word("reason")));
        }
        ensure!(read > 0, "{said}");
    }
}

/// Says something until it is heard. Where it came from.
async fn speak(from: &UdpSocket, to: SocketAddr, hearer: &UdpSocket, ssrc: u32) -> Result<SocketAddr> {
    let payload: Vec<u8> = (0..160).collect();
    let mut heard = [0; 2000];
    for sequence in 0..500 {
        let mut datagram = Vec::new();
        let packet = Packet {
            marker: false,
            payload_type: 8,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc,
            payload: &payload,
        };
        packet.write(&mut datagram);
        from.send_to(&datagram, to).await?;
        if let Ok(received) = timeout(Duration::from_millis(20), hearer.recv_from(&mut heard)).await {
            let (length, source) = received?;
            let packet = Packet::parse(&heard[..length])?;
            ensure!(packet.payload == payload && packet.payload_type == 8);
            return Ok(source);
        }
    }
    anyhow::bail!("nothing was heard")
}

async fn ask(programs: SocketAddr, method: &str, path: &str, body: &str) -> Result<(u16, Value)> {
    let mut stream = TcpStream::connect(programs).await?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {programs}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}

/// A port that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
