//! The loop: what a shard does in a turn, and when it sleeps.
//!
//! Hot: the thread waits in its own ring and comes back to the glommio executor only now
//! and then. Cold: with nothing to do for a while it parks in glommio, which watches the
//! same sockets, and costs no CPU.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use moqswitch_proto::qmux;
use moqswitch_proto::session::SessionLimits;
use moqswitch_proto::wire::HopId;
use rustc_hash::FxHashMap;

use crate::auth::{Policy, is_of_a_call};
use crate::net::wake::WakeReceiver;
use crate::net::{self, RingConfig, UdpRing, Wait};
use crate::quic::{Endpoint, EndpointOptions, ReadArena, Secrets, TlsContext, TransportOptions};
use crate::ratelimit::{PrefixBuckets, RateLimit};
use crate::routing::{AnnounceTable, Announcer, PeerKey, ShardId, TrackLimits, Tracks};

use super::authority::{AdmissionRequests, Admissions};
use super::command::{Fetches, ShardCommand};
use super::contest::Contests;
use super::feed::{Feed, FeedWriter};
use super::gathering::{BatchWindow, Gathering};
use super::grants::Lapses;
use super::link::Doorbell;
use super::load::{Load, OverloadOptions};
use super::local::Locals;
use super::mail::{Mail, Mailbox, PostOffice};
use super::memory::{Memory, MemoryLimits};
use super::mesh::Links;
use super::peer::Peer;
use super::shares::Shares;
use super::statistics::{NetworkStatistics, ShardStatistics};
use super::strangers::Strangers;
use super::web::WebRequests;
use super::websockets::WebSocketConnections;

/// How a shard behaves.
#[derive(Clone)]
pub struct ShardOptions {
    /// Which shard it is.
    pub id: ShardId,
    /// The relay's hop id, one for all its shards.
    pub hop: HopId,
    /// What subscribing from this relay costs its peers (SETUP "Cost").
    pub cost: Option<u64>,
    /// How long receptions are gathered before a turn begins.
    pub batch_window: BatchWindow,
    /// Never sleep: lower latency for a whole core.
    pub spin: bool,
    /// Bounds of the shard's tracks and of its group cache.
    pub tracks: TrackLimits,
    /// Bounds of each session.
    pub sessions: SessionLimits,
    /// How the QUIC side behaves.
    pub endpoint: EndpointOptions,
    /// What WebSocket connections allow their peers.
    pub qmux: qmux::Options,
    /// Buffers of the ring.
    pub ring: RingConfig,
    /// There are other relays: what others publish is believed of those alone that may be one.
    pub mesh: bool,
    /// Gives each session its grant.
    pub policy: Policy,
    /// Signatures of wrong tokens that are checked in a second for one address prefix.
    pub token_checks: u32,
    /// When new sessions are refused because there is too much to do.
    pub overload: OverloadOptions,
    /// What sessions may hold.
    pub memory: MemoryLimits,
    /// Where GOAWAY sends sessions.
    pub drain_uri: Arc<str>,
    /// What one session may ask for in a second.
    pub operations_per_second: u32,
    /// What one session may announce in a second.
    pub announcements_per_second: u32,
}

/// Bounds of a shard that can be changed while it runs. What is there already keeps what it has.
#[derive(Clone, Debug)]
pub struct ShardLimits {
    /// QUIC connections held at once. Those beyond a lower bound stay.
    pub connections_max: usize,
    /// Bounds of each session that begins from then on.
    pub sessions: SessionLimits,
    /// What connections declare that begin from then on. The idle timeout of WebSockets is not among it.
    pub transport: TransportOptions,
    /// The same of WebSocket connections.
    pub qmux: qmux::Options,
}

/// What a shard is given of the things that all share or that were opened before it ran.
pub struct ShardParts {
    /// The UDP socket of this shard, one of a steered group.
    pub socket: std::net::UdpSocket,
    /// The address it is bound to.
    pub local: SocketAddr,
    /// What other threads wake the shard by.
    pub wake: WakeReceiver,
    /// The queues to and from the other shards.
    pub office: Arc<PostOffice>,
    /// Who publishes what, shared by all shards.
    pub table: Arc<AnnounceTable>,
    /// Commands from other threads.
    pub commands: Arc<ArrayQueue<ShardCommand>>,
    /// Where requests over HTTP/3 go, if anywhere.
    pub web_requests: Option<WebRequests>,
    /// Where sessions are decided on, if an auth server does.
    pub admissions: Option<AdmissionRequests>,
    /// Which WebSockets have news.
    pub doorbell: Arc<Doorbell>,
    /// Who hears of what happens, if anybody.
    pub feed: Option<FeedWriter>,
    /// What all shards of the process hold.
    pub memory: Arc<Memory>,
    /// Keys that all shards of the relay must have in common.
    pub secrets: Secrets,
    /// The certificates to accept connections with.
    pub tls: TlsContext,
}

/// One core's share of the relay.
pub struct Shard {
    pub(super) options: ShardOptions,
    pub(super) local: SocketAddr,
    pub(super) ring: UdpRing,
    pub(super) endpoint: Endpoint,
    pub(super) websockets: WebSocketConnections,
    pub(super) arena: ReadArena,
    pub(super) peers: FxHashMap<PeerKey, Peer>,
    /// Peers whose sessions have something to say because of what routing decided.
    pub(super) to_transmit: Vec<PeerKey>,
    pub(super) announcer: Announcer,
    pub(super) table: Arc<AnnounceTable>,
    pub(super) tracks: Tracks,
    pub(super) mailbox: Mailbox,
    pub(super) commands: Arc<ArrayQueue<ShardCommand>>,
    pub(super) web_requests: Option<WebRequests>,
    pub(super) fetches: Fetches,
    pub(super) statistics: ShardStatistics,
    pub(super) now: Instant,
    /// What timestamps of drafts without any count from.
    pub(super) started: Instant,
    pub(super) probes_due: Instant,
    pub(super) notices: RateLimit,
    pub(super) drain_deadline: Option<Instant>,
    /// Another process takes what comes.
    pub(super) is_retiring: bool,
    pub(super) lapses: Lapses,
    pub(super) admissions: Admissions,
    pub(super) token_checks: PrefixBuckets,
    pub(super) feed: Feed,
    pub(super) locals: Locals,
    pub(super) links: Links,
    pub(super) contests: Contests,
    pub(super) strangers: Strangers,
    pub(super) load: Load,
    pub(super) shares: Shares,
    pub(super) memory: Arc<Memory>,
    pub(super) is_memory_full: bool,
    /// Sessions that announce faster than they may.
    pub(super) paced: VecDeque<PeerKey>,
    last_busy: Instant,
    gathering: Gathering,
}

impl Shard {
    /// Builds a shard on the thread that will run it.
    pub fn new(options: ShardOptions, parts: ShardParts) -> anyhow::Result<Self> {
        let now = Instant::now();
        let ring = UdpRing::new(parts.socket, parts.wake, &options.ring)?;
        let endpoint = Endpoint::new(options.endpoint.clone(), &parts.secrets, Some(parts.tls))?;
        let gathering = Gathering::new(options.batch_window);
        let mut tracks = Tracks::new(options.id, options.tracks.clone());
        if options.policy.has_devices() {
            tracks.count_broadcasts(is_of_a_call);
        }
        Ok(Self {
            announcer: Announcer::new(parts.table.clone(), options.id, options.hop),
            tracks,
            mailbox: Mailbox::new(parts.office, options.id),
            table: parts.table,
            local: parts.local,
            ring,
            endpoint,
            websockets: WebSocketConnections::new(options.qmux.clone(), parts.doorbell),
            arena: ReadArena::default(),
            peers: FxHashMap::default(),
            to_transmit: Vec::new(),
            commands: parts.commands,
            web_requests: parts.web_requests,
            fetches: Fetches::default(),
            statistics: ShardStatistics {
                network: NetworkStatistics {
                    batch_window_us_now: gathering.window_us(),
                    ..NetworkStatistics::default()
                },
                ..ShardStatistics::default()
            },
            now,
            started: now,
            probes_due: now,
            notices: RateLimit::new(NOTICE_INTERVAL, NOTICE_BURST),
            drain_deadline: None,
            is_retiring: false,
            lapses: Lapses::default(),
            admissions: Admissions::new(parts.admissions),
            token_checks: PrefixBuckets::new(options.token_checks, now),
            feed: Feed::new(parts.feed),
            locals: Locals::default(),
            links: Links::default(),
            contests: Contests::default(),
            strangers: Strangers::default(),
            load: Load::new(options.overload, now),
            shares: Shares::new(now),
            memory: parts.memory,
            is_memory_full: false,
            paced: VecDeque::new(),
            last_busy: now,
            gathering,
            options,
        })
    }

    /// Runs until drained. `is_running` is set once the first turn can receive.
    pub async fn run(mut self, on_running: impl FnOnce()) -> anyhow::Result<()> {
        on_running();
        let mut executor_due = Instant::now() + EXECUTOR_INTERVAL;
        while !self.is_finished() {
            let wait = self.plan_wait();
            self.ring.turn(wait)?;
            self.turn();
            if self.now >= executor_due {
                glommio::executor().yield_task_queue_now().await;
                executor_due = self.now + EXECUTOR_INTERVAL;
            }
            if self.is_idle() {
                self.sleep_cold().await?;
                executor_due = self.now + EXECUTOR_INTERVAL;
            }
        }
        self.close_remaining();
        Ok(())
    }

    /// One turn. Each step takes from a budget, so that none starves another.
    fn turn(&mut self) {
        self.now = Instant::now();
        self.statistics.network.turns += 1;
        // 1. Datagrams into connections.
        let received = self.receive() + self.receive_on_sockets();
        // 2. Messages of other shards and of the control thread, WebSockets among them.
        let mail = self.read_mail();
        let commands = self.handle_commands();
        let rung = self.websockets.handle_rings();
        // 3. Timers.
        self.endpoint.handle_timeouts(self.now);
        self.tracks.handle_timeout(self.now);
        self.announcer.handle_time(self.now);
        self.check_periodically();
        self.end_lapsed_grants();
        self.publish_waiting();
        self.fetches.expire(self.now, &mut self.tracks);
        self.turn_applications();
        // 4. Connections with something to tell: streams into sessions, sessions into routing.
        self.service_connections();
        // 5. What routing decided, until it has nothing more to say.
        self.apply_actions();
        self.announce();
        // 6. Media to whoever can take it, the most important first.
        self.pump();
        let told = self.tell_applications();
        // 7. Packets, as trains; they leave with the next turn's one submission. Messages of WebSockets.
        self.endpoint.flush(&mut self.ring, self.now);
        self.websockets.flush();
        // 8. Others, last, so that they find everything that was sent to them.
        self.mailbox.flush_spill();
        self.mailbox.wake_receivers();
        self.report_losses();
        self.log_notices();
        self.note_turn();
        if received + mail + commands + rung + told > 0 {
            self.last_busy = self.now;
        }
        if self.gathering.is_due(self.now) {
            self.gathering.handle_cpu(self.now, net::thread_cpu_time());
            self.statistics.network.batch_window_us_now = self.gathering.window_us();
        }
    }

    /// Datagrams of connections first, whatever else comes: what strangers send waits for what is left of the turn, and
    /// then for the next.
    fn receive(&mut self) -> usize {
        let mut datagrams = 0;
        for _ in 0..RECEIVES_PER_TURN_MAX {
            if datagrams >= DATAGRAMS_PER_TURN_MAX {
                break;
            }
            let Some(mut received) = self.ring.poll_receive() else {
                break;
            };
            let local = SocketAddr::new(received.local, self.local.port());
            let source = received.source;
            for datagram in received.datagrams() {
                datagrams += 1;
                if !self.endpoint.handle_known(datagram, source, local, self.now) {
                    self.strangers.push(datagram, source, local);
                }
            }
        }
        self.receive_strangers();
        datagrams
    }

    fn receive_strangers(&mut self) {
        if self.strangers.is_empty() {
            return;
        }
        let until = self.now + STRANGERS_TIME_MAX;
        for served in 0..STRANGERS_PER_TURN_MAX {
            if served > 0 && Instant::now() >= until {
                break;
            }
            let Some((mut datagram, source, local)) = self.strangers.pop() else {
                break;
            };
            self.endpoint.handle_stranger(&mut datagram, source, local, self.now);
            self.strangers.give_back(datagram);
        }
    }

    fn read_mail(&mut self) -> usize {
        let mut messages = 0;
        for from in 0..self.mailbox.shards() {
            for _ in 0..MAIL_PER_TURN_MAX {
                let Some(mail) = self.mailbox.receive(from) else { break };
                messages += 1;
                match mail {
                    Mail::TableChanged(path) => {
                        self.route_changed(&path);
                    }
                    Mail::Track(message) => {
                        let from = ShardId(u8::try_from(from).unwrap_or(u8::MAX));
                        let may_serve = message
                            .asked()
                            .is_none_or(|(source, path)| self.may_serve(source, path));
                        if may_serve {
                            self.tracks.handle_remote(from, message, self.now);
                        } else {
                            self.tracks.refuse_remote(from, &message);
                        }
                    }
                }
            }
        }
        if self.mailbox.take_resync() {
            self.announcer.begin_resync();
        }
        for path in self.announcer.poll_resync(RESYNC_PATHS_PER_TURN_MAX) {
            self.route_changed(&path);
        }
        messages
    }

    /// How long the ring may wait, and how long it gathers once something came.
    fn plan_wait(&self) -> Wait {
        if self.options.spin || self.has_work() {
            return Wait::None;
        }
        let longest = if self.mailbox.has_spill() {
            SPILL_WAIT_MAX
        } else {
            HOT_WAIT_MAX
        };
        let batch_window = self.gathering.window();
        Wait::Until {
            // Timers are no more exact than the rest: a turn for each costs more than all they do.
            timeout: self.until_next_deadline().min(longest).max(batch_window),
            batch_window,
        }
    }

    /// Something was left for the next turn, or has come in since this one.
    fn has_work(&self) -> bool {
        self.endpoint.has_ready()
            || self.endpoint.has_dirty()
            || !self.strangers.is_empty()
            || self.websockets.has_work()
            || self.mailbox.has_mail()
            || self.announcer.has_ready()
            || self.announcer.is_resyncing()
            || self.announcer.has_rescans()
            || !self.commands.is_empty()
            || self.locals.has_work()
    }

    fn until_next_deadline(&self) -> Duration {
        let has_some = !self.peers.is_empty() || !self.links.is_empty();
        let probes = has_some.then_some(self.probes_due);
        [
            self.endpoint.next_deadline(),
            self.tracks.poll_timeout(),
            self.fetches.next_deadline(),
            self.drain_deadline,
            self.lapses.next(),
            self.locals.next_deadline(),
            self.publishing_due(),
            self.announcer.next_deadline(),
            probes,
        ]
        .into_iter()
        .flatten()
        .min()
        .map_or(COLD_WAIT_MAX, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        })
    }

    fn is_idle(&self) -> bool {
        !self.options.spin
            && self.now.duration_since(self.last_busy) >= COLD_AFTER
            && !self.has_work()
            && !self.mailbox.has_spill()
            && self.until_next_deadline() > COLD_DEADLINE_MIN
    }

    /// Parks in glommio until a datagram, a wake or the next deadline.
    async fn sleep_cold(&mut self) -> anyhow::Result<()> {
        match self.ring.pause() {
            Ok(()) => {}
            Err(error) if is_for_want_of_files(&error) => {
                self.stay_awake(&error);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        // What had arrived by then is there still, and is worth staying awake for.
        if self.receive() + self.receive_on_sockets() == 0 {
            self.statistics.network.parks += 1;
            let timeout = self.until_next_deadline().min(COLD_WAIT_MAX);
            if let Err(error) = self.ring.parked(timeout).await {
                self.stay_awake(&error);
            }
        }
        self.ring.resume();
        self.now = Instant::now();
        Ok(())
    }

    /// Parking takes a file or two. Without them the shard waits in its own ring, and tries later.
    fn stay_awake(&mut self, error: &io::Error) {
        self.statistics.network.parks_failed += 1;
        self.last_busy = Instant::now();
        if let Some(suppressed) = self.notices.allow(self.last_busy) {
            tracing::warn!(shard = self.options.id.0, %error, suppressed, "an idle shard stays awake");
        }
    }

    fn is_finished(&self) -> bool {
        self.drain_deadline.is_some_and(|deadline| {
            (self.endpoint.connection_count() == 0 && self.websockets.is_empty()) || self.now >= deadline
        })
    }

    fn log_notices(&mut self) {
        while let Some(notice) = self.endpoint.poll_notice() {
            if let Some(suppressed) = self.notices.allow(self.now) {
                tracing::info!(peer = %notice.peer, reason = notice.reason, suppressed, "refused");
            }
        }
    }
}

/// No file can be opened: by this process, by the host, or for want of memory.
fn is_for_want_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

/// The executor gets its turn at least this often while the shard is hot.
const EXECUTOR_INTERVAL: Duration = Duration::from_millis(10);

/// A hot shard looks around at least this often.
const HOT_WAIT_MAX: Duration = Duration::from_millis(10);

/// A shard whose messages wait for room at another one tries again this soon.
const SPILL_WAIT_MAX: Duration = Duration::from_millis(1);

/// Without a datagram, a message or a command for this long a shard parks in glommio.
const COLD_AFTER: Duration = Duration::from_millis(200);

/// Not worth parking for less.
const COLD_DEADLINE_MIN: Duration = Duration::from_millis(5);
const COLD_WAIT_MAX: Duration = Duration::from_secs(1);

/// Receptions handled in one turn; each holds up to 64 datagrams.
const RECEIVES_PER_TURN_MAX: usize = 256;

/// Datagrams handled in one turn, but for those of the last reception. The rest follows in the next, behind what has to
/// be sent.
const DATAGRAMS_PER_TURN_MAX: usize = 4096;

/// Datagrams of no connection that are looked at in one turn, and the time for them. The rest waits.
const STRANGERS_PER_TURN_MAX: usize = 512;
const STRANGERS_TIME_MAX: Duration = Duration::from_millis(2);
const MAIL_PER_TURN_MAX: usize = 1024;
const RESYNC_PATHS_PER_TURN_MAX: usize = 256;

/// Log lines about peers: a few at once, then one in an interval.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);
const NOTICE_BURST: u32 = 5;
