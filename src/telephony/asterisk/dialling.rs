//! Numbers that are called: by a connection to a program, or by Asterisk, which is asked to connect to us.

use std::net::SocketAddr;
use std::rc::Rc;

use moqswitch_asterisk::{Format, Uuid};
use moqswitch_signalling::calls::Cause;
use moqswitch_signalling::{ChannelCall, ChannelEvent, ChannelId, ChannelOrder};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time;

use crate::limits::{ASTERISK_CALL_WAIT_MAX, ASTERISK_CONNECT_WAIT_MAX};

use super::accepting::prepare;
use super::ari;
use super::channel::Channel;
use super::hub::{Connection, Hub};
use super::mail;
use super::ways::codecs;
use super::wire;
use crate::directory::{AriWay, Way};

/// Calls, and serves the channel.
pub(super) async fn call(hub: Rc<Hub>, id: ChannelId, call: ChannelCall, mut inbox: mpsc::Receiver<ChannelOrder>) {
    let desk = mail::desk_of(&hub, &call.way);
    let way = hub.settings.ways.get(&call.way);
    let reached = async {
        if let Some(desk) = desk {
            return mail::connect(&hub, desk, call.clone());
        }
        match way.ok_or(Cause::Unreachable)? {
            Way::AudioSocket { address, format } => connect(&hub, *address, *format).await,
            Way::Ari(way) => ask(&hub, id, way, &call).await,
        }
    };
    let reached = tokio::select! {
        reached = reached => reached,
        // Before there is a channel nothing else is told.
        _ = inbox.recv() => return hub.leave(id),
    };
    match reached {
        Ok(connection) => {
            hub.counters.connected(connection.reader.spoken());
            let codecs = codecs(connection.format);
            hub.tell(id, ChannelEvent::Answered { codecs }).await;
            Channel::new(Rc::clone(&hub), id, inbox, connection).serve().await;
        }
        Err(cause) => hub.fail(id, cause).await,
    }
}

/// As Asterisk does.
async fn connect(hub: &Rc<Hub>, address: SocketAddr, format: Format) -> Result<Connection, Cause> {
    let uuid = draw()?;
    let place = Rc::new(hub.outgoing_place(address.ip()).ok_or(Cause::Congestion)?);
    let connecting = time::timeout(ASTERISK_CONNECT_WAIT_MAX, TcpStream::connect(address)).await;
    let stream = connecting.map_err(|_| Cause::Unreachable)?.map_err(|error| {
        tracing::info!(%address, %error, "Asterisk: nobody takes a connection of AudioSocket");
        Cause::Unreachable
    })?;
    prepare(&stream);
    let (reader, writer) = wire::audiosocket(stream, false, place.clone());
    if !writer.uuid(uuid) {
        return Err(Cause::Unreachable);
    }
    Ok(Connection {
        reader,
        writer,
        format,
        early: Vec::new(),
        place,
    })
}

/// Has Asterisk connect to us.
async fn ask(hub: &Rc<Hub>, id: ChannelId, way: &AriWay, call: &ChannelCall) -> Result<Connection, Cause> {
    let uuid = draw()?;
    let waiting = Waiting { hub, uuid };
    let connection = hub.wait_for(uuid);
    let mut asked = Asked {
        way: way.clone(),
        uuid,
        is_answered: false,
    };
    let answered = time::timeout(ASTERISK_CONNECT_WAIT_MAX, ari::originate(way, uuid, call)).await;
    answered.unwrap_or(Err(ari::Refusal::Nobody)).map_err(|refusal| {
        tracing::info!(host = way.host, %refusal, "Asterisk: ARI does not call");
        refusal.cause()
    })?;
    hub.tell(id, ChannelEvent::Ringing).await;
    let connected = time::timeout(ASTERISK_CALL_WAIT_MAX, connection).await;
    let connection = connected.ok().and_then(Result::ok).ok_or(Cause::Unreachable)?;
    asked.is_answered = true;
    drop(waiting);
    Ok(connection)
}

/// Nobody waits any more when it is dropped.
struct Waiting<'a> {
    hub: &'a Hub,
    uuid: Uuid,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.hub.stop_waiting(self.uuid);
    }
}

/// A channel of Asterisk's that is ended when it is not wanted any more.
struct Asked {
    way: AriWay,
    uuid: Uuid,
    is_answered: bool,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_answered {
            let (way, uuid) = (self.way.clone(), self.uuid);
            tokio::task::spawn_local(async move {
                let ended = ari::end(&way, uuid);
                // One that is not there needs no end.
                let _ = time::timeout(ASTERISK_CONNECT_WAIT_MAX, ended).await;
            });
        }
    }
}

fn draw() -> Result<Uuid, Cause> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Cause::Internal)?;
    Ok(Uuid(u128::from_be_bytes(bytes)))
}
