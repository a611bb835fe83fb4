//! The control thread: HTTP for operators, browsers and tools.
//! It reaches shards only by bounded queues and waits for them; a shard never waits for it.
#![forbid(unsafe_code)]

mod asking;
mod audio_metrics;
mod call_metrics;
mod connections;
mod mesh;
mod metrics;
mod music_metrics;
mod permit;
mod portions;
mod remote;
mod routes;
mod server;
mod socket;
mod tls;
mod web;
mod websocket;
mod whip;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use moqswitch_proto::wire::HopId;
use moqswitch_relay::auth::Policy;
use moqswitch_relay::{Announcements, Routes};
use moqswitch_services::Pool;
use moqswitch_signalling::SignallingHandle;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::mesh::Board;
use crate::music::Music;

pub use moqswitch_relay::shard::{FetchError, FetchGroup, FetchReply, FetchRequest, ShardCommand, ShardPort};
pub use permit::TokenChecks;
pub use server::{ControlHandle, ControlListener, ControlServer, bind};
pub use tls::{StreamContext, StreamTls, Tls};
pub use websocket::WebSockets;
pub use whip::Endpoints;

/// What the routes answer from.
#[derive(Clone)]
pub struct ControlState {
    /// Index is the shard's number.
    pub shards: Vec<ShardPort>,
    /// Fingerprint of the first certificate; changes when certificates are reloaded.
    pub certificate_sha256: watch::Receiver<Arc<str>>,
    pub lifecycle: Arc<Lifecycle>,
    pub announcements: Arc<Announcements>,
    /// What HTTP clients may see and fetch; changes when keys of tokens are reloaded.
    pub policy: watch::Receiver<Policy>,
    /// Who decides on HTTP clients in place of `policy`.
    pub authority: Option<Arc<Authority>>,
    pub token_checks: Arc<TokenChecks>,
    pub websockets: Arc<WebSockets>,
    /// `None`: plain HTTP and nothing else.
    pub tls: Option<Tls>,
    /// The routes of telephone calls. `None`: there are none.
    pub calls: Option<axum::Router>,
    /// Those of control programs, at their own address. `None`: there are none.
    pub mediaswitch: Option<axum::Router>,
    /// WHIP and WHEP. `None`: there is no WebRTC.
    pub endpoints: Option<Endpoints>,
    /// Other relays.
    pub mesh: MeshState,
    /// For the figures of calls.
    pub signalling: Option<SignallingHandle>,
    /// What transcodes and mixes.
    pub audio: Option<Pool>,
    /// For the figures of music and prompts.
    pub music: Option<Music>,
}

/// What is told of other relays.
#[derive(Clone)]
pub struct MeshState {
    /// The hop id of this one.
    pub hop: HopId,
    /// How links that are dialled stand, and the list of whom to dial.
    pub board: Arc<Board>,
    pub routes: Arc<Routes>,
}

/// Where a request to the public address came from.
pub(crate) fn client_of(request: &axum::extract::Request) -> Option<std::net::SocketAddr> {
    request.extensions().get::<remote::Client>().map(|client| client.0)
}

/// Where the process stands; read by `/readyz`.
#[derive(Debug, Default)]
pub struct Lifecycle(AtomicU8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ready,
    Draining,
}

impl ControlState {
    /// Whether every shard comes to the end of a turn, within the time that it has for a snapshot; or which does not.
    pub async fn are_shards_turning(&self) -> Result<(), String> {
        routes::snapshots(self).await.map(drop)
    }

    /// Sessions of clients: of all but other relays. `None`: a shard does not answer.
    pub async fn clients(&self) -> Option<u64> {
        let snapshots = routes::snapshots(self).await.ok()?;
        let of_clients = |snapshot: &moqswitch_relay::shard::statistics::ShardSnapshot| {
            let statistics = &snapshot.statistics;
            statistics.sessions.open_now.saturating_sub(statistics.links.up_now)
        };
        Some(snapshots.iter().map(of_clients).sum())
    }

    /// Turns `/readyz` to 503 and has every shard drain until `grace` has passed.
    /// Keeps trying while a command queue is full, so a busy shard is not forgotten.
    pub async fn drain(&self, grace: Duration) {
        self.lifecycle.set(Phase::Draining);
        let deadline = Instant::now() + grace;
        for port in &self.shards {
            while port.send(ShardCommand::Drain { deadline }).is_err() && Instant::now() < deadline {
                tokio::time::sleep(DRAIN_RETRY_INTERVAL).await;
            }
        }
    }
}

impl Lifecycle {
    /// Phases only advance: a drain that begins during start-up is not undone by `Ready`.
    pub fn set(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// Whoever was to follow is gone: it goes on.
    pub fn resume(&self) {
        self.0.store(Phase::Ready as u8, Ordering::Release);
    }

    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

const DRAIN_RETRY_INTERVAL: Duration = Duration::from_millis(5);
