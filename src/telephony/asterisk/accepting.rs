//! Who connects: how it is let in, and what it wants. It has some seconds to say so.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use moqswitch_asterisk::uuid::Key;
use moqswitch_asterisk::{Format, Request, Uuid};
use moqswitch_signalling::calls::{Number, Text};
use moqswitch_signalling::{ChannelArrived, ChannelEvent};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{self, Duration};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as Asked, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::limits::{ASTERISK_EARLY_FRAMES_MAX, ASTERISK_HELLO_WAIT_MAX, ASTERISK_MESSAGES_PER_SECOND_MAX};

use super::channel::Channel;
use super::counters::Refused;
use super::hub::{Connection, Hub, Place};
use super::ways::codecs;
use super::wire::{self, Came, Reader, Writer};
use crate::directory::Announced;

/// Whom a connection calls.
struct Wish {
    to: Number,
    from: Option<Number>,
    name: Text,
}

/// What a connection turned out to be.
enum Hello {
    /// It calls.
    Calls(Wish),
    /// It was asked for.
    Awaited(Uuid),
}

/// Takes connections of AudioSocket.
pub(super) async fn serve_audiosocket(hub: Rc<Hub>, listener: TcpListener) {
    loop {
        let (stream, peer) = accept(&listener).await;
        let Some(place) = place(&hub, peer) else { continue };
        let hub = Rc::clone(&hub);
        tokio::task::spawn_local(async move {
            if let Err(reason) = greet_audiosocket(&hub, stream, place).await {
                hub.refuse(reason, peer.ip());
            }
        });
    }
}

/// Takes connections of `chan_websocket`.
pub(super) async fn serve_websocket(hub: Rc<Hub>, listener: TcpListener) {
    loop {
        let (stream, peer) = accept(&listener).await;
        let Some(place) = place(&hub, peer) else { continue };
        let hub = Rc::clone(&hub);
        tokio::task::spawn_local(async move {
            if let Err(reason) = greet_websocket(&hub, stream, place).await {
                hub.refuse(reason, peer.ip());
            }
        });
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                prepare(&stream);
                return (stream, peer);
            }
            // There are no more descriptors: others have to end first.
            Err(_) => time::sleep(ACCEPT_RETRY).await,
        }
    }
}

/// Small messages that are waited for; a host that is gone is found out.
pub(super) fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let alive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3)
        .with_retries(3);
    // Without them it goes on, later.
    let _ = stream.set_nodelay(true);
    let _ = socket.set_tcp_keepalive(&alive);
}

fn place(hub: &Rc<Hub>, peer: SocketAddr) -> Option<Place> {
    hub.place(peer.ip())
        .inspect_err(|reason| hub.refuse(*reason, peer.ip()))
        .ok()
}

async fn greet_audiosocket(hub: &Rc<Hub>, stream: TcpStream, place: Place) -> Result<(), Refused> {
    let place = Rc::new(place);
    let (mut reader, mut writer) = wire::audiosocket(stream, true, place.clone());
    let first = time::timeout(ASTERISK_HELLO_WAIT_MAX, reader.next(&mut writer)).await;
    let uuid = match first.map_err(|_| Refused::Silent)? {
        (Came::Uuid(uuid), _) => uuid,
        (Came::Over, _) => return Err(Refused::Silent),
        _ => return Err(Refused::Protocol),
    };
    let hello = match hub.awaited(uuid) {
        Some(awaited) => {
            let format = hub.settings.format;
            return hand_over(awaited, connection(reader, writer, format, Vec::new(), place));
        }
        None => of_uuid(hub, uuid)?,
    };
    let format = hub.settings.format;
    begin(hub, hello, connection(reader, writer, format, Vec::new(), place)).await;
    Ok(())
}

fn of_uuid(hub: &Hub, uuid: Uuid) -> Result<Wish, Refused> {
    let settings = &hub.settings;
    let announced = settings.announced.get(&uuid);
    let called = match (announced, &settings.key) {
        (Some(Announced { to, from }), _) => {
            return Ok(Wish {
                to: to.clone(),
                from: from.clone(),
                name: Text::default(),
            });
        }
        (None, Some(key)) => uuid.called(key),
        // Whoever reaches the address may call.
        (None, None) => uuid.called(&Key::default()),
    };
    let called = called.ok_or(Refused::Unknown)?;
    wish(Some(&called.to), called.from.as_deref(), None)
}

fn wish(to: Option<&str>, from: Option<&str>, name: Option<&str>) -> Result<Wish, Refused> {
    let to = to.and_then(|to| Number::new(to).ok()).ok_or(Refused::Number)?;
    Ok(Wish {
        to,
        // Who hides, or has a name that is no number, is somebody of Asterisk's.
        from: from.and_then(|from| Number::new(from).ok()),
        name: Text::new(name.unwrap_or_default()),
    })
}

async fn greet_websocket(hub: &Rc<Hub>, stream: TcpStream, place: Place) -> Result<(), Refused> {
    let shaken = time::timeout(ASTERISK_HELLO_WAIT_MAX, shake_hands(hub, stream)).await;
    let (stream, hello) = shaken.map_err(|_| Refused::Silent)??;
    let place = Rc::new(place);
    let (mut reader, mut writer) = wire::websocket(stream, place.clone());
    let mut early = Vec::new();
    let started = time::timeout(ASTERISK_HELLO_WAIT_MAX, started(&mut reader, &mut writer, &mut early)).await;
    let format = started.map_err(|_| Refused::Silent)??;
    let connection = connection(reader, writer, format, early, place);
    match hello {
        Hello::Awaited(uuid) => hand_over(hub.awaited(uuid).ok_or(Refused::Unknown)?, connection),
        Hello::Calls(wish) => {
            begin(hub, wish, connection).await;
            Ok(())
        }
    }
}

/// Until the channel is there. Audio may come before, and no more messages than there may be in a second.
async fn started(reader: &mut Reader, writer: &mut Writer, early: &mut Vec<Bytes>) -> Result<Format, Refused> {
    for _ in 0..ASTERISK_MESSAGES_PER_SECOND_MAX {
        match reader.next(writer).await.0 {
            Came::Start(start) => return start.format().ok_or(Refused::Protocol),
            Came::Audio(_, bytes) if early.len() < ASTERISK_EARLY_FRAMES_MAX => early.push(bytes),
            Came::Over => return Err(Refused::Silent),
            Came::Broken => return Err(Refused::Protocol),
            _ => {}
        }
    }
    Err(Refused::Flood)
}

async fn shake_hands(hub: &Hub, stream: TcpStream) -> Result<(WebSocketStream<TcpStream>, Hello), Refused> {
    let mut found = Err(Refused::Protocol);
    let mut limits = WebSocketConfig::default();
    limits.max_message_size = Some(MESSAGE_BYTES_MAX);
    limits.max_frame_size = Some(MESSAGE_BYTES_MAX);
    limits.max_write_buffer_size = WRITE_BYTES_MAX;
    #[expect(clippy::result_large_err, reason = "as the library wants it")]
    let look = |asked: &Asked, mut response: Response| -> Result<Response, ErrorResponse> {
        found = of_request(hub, asked);
        if let Err(reason) = &found {
            let status = match reason {
                Refused::Unknown => StatusCode::UNAUTHORIZED,
                Refused::Origin => StatusCode::FORBIDDEN,
                Refused::Number => StatusCode::NOT_FOUND,
                _ => StatusCode::BAD_REQUEST,
            };
            let mut refused = ErrorResponse::new(None);
            *refused.status_mut() = status;
            return Err(refused);
        }
        if offers_media(asked) {
            let media = HeaderValue::from_static(SUBPROTOCOL);
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, media);
        }
        Ok(response)
    };
    let shaken = tokio_tungstenite::accept_hdr_async_with_config(stream, look, Some(limits)).await;
    let hello = found?;
    Ok((shaken.map_err(|_| Refused::Protocol)?, hello))
}

fn of_request(hub: &Hub, asked: &Asked) -> Result<Hello, Refused> {
    let target = asked.uri().path_and_query().map_or("/", |target| target.as_str());
    let request = Request::read(target).map_err(|_| Refused::Protocol)?;
    // Nobody else knows its name.
    if let Some(channel) = &request.channel {
        let uuid: Uuid = channel.parse().map_err(|_| Refused::Unknown)?;
        let is_awaited = hub.is_awaited(uuid);
        return is_awaited.then_some(Hello::Awaited(uuid)).ok_or(Refused::Unknown);
    }
    // A browser says which page it is of, and opens it for any; Asterisk says nothing of the kind.
    if hub.settings.key.is_none() && asked.headers().contains_key(header::ORIGIN) {
        return Err(Refused::Origin);
    }
    if let Some(key) = &hub.settings.key {
        let password = password(asked);
        let said = password.as_deref().or(request.key.as_deref());
        if !said.is_some_and(|said| key.is(said)) {
            return Err(Refused::Unknown);
        }
    }
    let wish = wish(request.to.as_deref(), request.from.as_deref(), request.name.as_deref())?;
    Ok(Hello::Calls(wish))
}

/// Of HTTP's basic authentication, whoever the user is.
fn password(asked: &Asked) -> Option<String> {
    let said = asked.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let encoded = said.strip_prefix("Basic ")?;
    let text = String::from_utf8(super::base64::decode(encoded)?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

fn offers_media(asked: &Asked) -> bool {
    let offered = asked.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offered: BTreeSet<&str> = offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    offered.contains(SUBPROTOCOL)
}

fn connection(reader: Reader, writer: Writer, format: Format, early: Vec<Bytes>, place: Rc<Place>) -> Connection {
    Connection {
        reader,
        writer,
        format,
        early,
        place,
    }
}

/// It was asked for, and who has asked goes on with it.
fn hand_over(awaited: tokio::sync::oneshot::Sender<Connection>, connection: Connection) -> Result<(), Refused> {
    awaited.send(connection).map_err(|_| Refused::Unknown)
}

async fn begin(hub: &Rc<Hub>, wish: Wish, connection: Connection) {
    let id = hub.connected(connection.reader.spoken());
    let inbox = hub.enter(id);
    let arrived = ChannelArrived {
        to: wish.to,
        from: wish.from,
        name: wish.name,
        codecs: codecs(connection.format),
    };
    hub.tell(id, ChannelEvent::Arrived(Box::new(arrived))).await;
    Channel::new(Rc::clone(hub), id, inbox, connection).serve().await;
}

/// Of `chan_websocket` (its `protocols`).
const SUBPROTOCOL: &str = "media";
/// Asterisk takes no longer ones, and sends none.
const MESSAGE_BYTES_MAX: usize = 65_536;
/// What waits to be written, with one message behind it.
const WRITE_BYTES_MAX: usize = 1 << 18;
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
const KEEPALIVE: Duration = Duration::from_secs(30);
