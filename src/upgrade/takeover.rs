//! The process that is started: takes what it is given, and joins its media with that of the process before by a link.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use moqswitch_relay::auth::token::Key;
use moqswitch_relay::quic::Trust;
use moqswitch_relay::shard::{LinkDial, LinkView, ShardCommand, ShardPort};
use moqswitch_relay::{Heritage, RelayHandle};
use ring::rand::SystemRandom;
use tokio::sync::oneshot;

use crate::limits;

use super::offer::{self, Keepsake, Kind, Offer, STANDARD_INPUT, Said, VARIABLE};

/// What was given.
pub struct Takeover {
    offer: Offer,
    pub(super) keepsake: Keepsake,
    channel: UnixStream,
    answers: BufReader<UnixStream>,
    commands: Option<UnixListener>,
    lives: Vec<OwnedFd>,
    listeners: Vec<(Kind, TcpListener)>,
    heritage: Heritage,
    /// The process before has died meanwhile.
    is_alone: bool,
}

/// What is left of it when this process serves.
pub(crate) struct Taken {
    pub(crate) commands: UnixListener,
    /// Signs of life of generations that have not ended yet.
    pub(crate) lives: Vec<(usize, OwnedFd)>,
}

impl Takeover {
    /// `None`: this process follows no other.
    ///
    /// # Errors
    ///
    /// It is to follow one, and what that gives is not understood.
    pub fn find() -> anyhow::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none_or(|by| by != STANDARD_INPUT) {
            return Ok(None);
        }
        let channel = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        let outcome = Self::receive(channel.try_clone()?).context("taking over");
        if let Err(error) = &outcome {
            let reason = format!("{error:#}");
            // Who offered may have gone.
            let _ = (&channel).write_all(Said::Failed { reason }.line().as_bytes());
        }
        outcome.map(Some)
    }

    pub(super) fn receive(channel: UnixStream) -> anyhow::Result<Self> {
        channel.set_read_timeout(Some(limits::UPGRADE_WORD_WAIT_MAX))?;
        let (offer, keepsake, descriptors) = offer::receive(&channel)?;
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().context("a descriptor is missing");
        let commands = UnixListener::from(next()?);
        let lives = offer.lives.iter().map(|_| next()).collect::<anyhow::Result<Vec<_>>>()?;
        let listeners = offer
            .listeners
            .iter()
            .map(|(kind, _)| Ok((*kind, TcpListener::from(next()?))));
        let listeners = listeners.collect::<anyhow::Result<Vec<_>>>()?;
        let sockets = (0..offer.sockets).map(|_| next()).collect::<anyhow::Result<Vec<_>>>()?;
        let guard = offer.has_guard.then(&mut next).transpose()?;
        let secrets = keepsake.secrets()?;
        let heritage = Heritage::new(sockets, offer.shards, offer.generation, guard, secrets);
        Ok(Self {
            heritage: heritage.context("the sockets of the process before cannot be used")?,
            answers: BufReader::new(channel.try_clone()?),
            offer,
            keepsake,
            channel,
            commands: Some(commands),
            lives,
            listeners,
            is_alone: false,
        })
    }

    /// What the relay takes over. The addresses must be those of the configuration.
    pub(crate) fn heritage(&self, listen: SocketAddr) -> anyhow::Result<Heritage> {
        let local = self.heritage.local();
        let is_same = local.ip() == listen.ip() && (listen.port() == 0 || local.port() == listen.port());
        anyhow::ensure!(is_same, "`listen` was {local} and is {listen}: restart instead");
        Ok(self.heritage.clone())
    }

    /// By which the process before knew devices.
    pub(crate) fn key_of_devices(&self) -> Option<&str> {
        self.keepsake.devices.as_deref()
    }

    /// One of the listeners of the process before, if it had one there.
    pub(crate) fn listener(&mut self, kind: Kind, address: SocketAddr) -> Option<TcpListener> {
        let is_it = |(one, listener): &(Kind, TcpListener)| {
            let local = listener.local_addr().ok();
            let is_at = |local: SocketAddr| {
                local.ip() == address.ip() && (address.port() == 0 || local.port() == address.port())
            };
            *one == kind && local.is_some_and(is_at)
        };
        let found = self.listeners.iter().position(is_it)?;
        Some(self.listeners.swap_remove(found).1)
    }

    /// Tells the process before why it is not followed.
    pub(crate) fn say_failed(channel: &UnixStream, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        // It may have gone.
        let mut channel = channel;
        let _ = channel.write_all(Said::Failed { reason }.line().as_bytes());
    }

    pub(crate) fn channel(&self) -> std::io::Result<UnixStream> {
        self.channel.try_clone()
    }

    /// Joins the media of both processes, and waits until each knows what is published at the other. Packets of this process
    /// are for it from here on.
    ///
    /// With `calls` the process before gives up their sockets then, from where there is no way back.
    pub(crate) fn join(&mut self, relay: &RelayHandle, calls: bool) -> anyhow::Result<()> {
        self.link(relay)?;
        if calls {
            self.take_calls();
        }
        Ok(())
    }

    fn link(&mut self, relay: &RelayHandle) -> anyhow::Result<()> {
        let succession = relay.succession();
        let (before, others) = self.offer.lives.split_first().context("nobody offers")?;
        let mut lives = others.to_vec();
        lives.push(self.offer.generation);
        succession.steer(*before, &lives)?;
        let port = relay.ports().first().context("a relay without shards")?;
        port_of(port, ShardCommand::Dial(Box::new(self.dial(relay.address())?)))?;
        let deadline = Instant::now() + limits::UPGRADE_LINK_WAIT_MAX;
        loop {
            let link = links(port)?.into_iter().find(|link| link.name.as_deref() == Some(LINK));
            match link {
                Some(link) if link.is_up && link.announced >= self.offer.announced => return Ok(()),
                Some(link) if link.is_up && Instant::now() >= deadline => {
                    // Names that went meanwhile are not missing.
                    tracing::warn!(
                        announced = link.announced,
                        expected = self.offer.announced,
                        "not all that the process before had announced is known"
                    );
                    return Ok(());
                }
                _ if self.is_left_alone() => return Ok(()),
                _ if Instant::now() >= deadline => {
                    anyhow::bail!(
                        "no link to the process before within {:?}",
                        limits::UPGRADE_LINK_WAIT_MAX
                    )
                }
                _ => std::thread::park_timeout(LOOK_INTERVAL),
            }
        }
    }

    /// To this host's own address: the kernel gives the first packets to the process before.
    fn dial(&self, address: SocketAddr) -> anyhow::Result<LinkDial> {
        let key = Key::parse(&self.keepsake.kin).context("the key of processes that follow each other")?;
        let token = key.sign(KIN_CLAIMS, &SystemRandom::new())?;
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        // Nobody waits for the end: of a link to a process that ends there is nothing to be done.
        let (ended, _) = oneshot::channel();
        Ok(LinkDial {
            name: LINK.into(),
            remote: SocketAddr::new(ip, address.port()),
            local: ip,
            server_name: "localhost".to_owned(),
            target: format!("/?jwt={token}"),
            authority: None,
            // Nobody but these processes has sockets of the address.
            trust: Trust::Anyone,
            certificate: None,
            cost: Some(1),
            is_kin: true,
            ended,
        })
    }

    fn take_calls(&mut self) {
        if self.is_alone {
            return;
        }
        let asked = self.channel.write_all(Said::Calls.line().as_bytes());
        let mut answer = String::new();
        let is_told = asked.is_ok() && self.answers.read_line(&mut answer).is_ok_and(|bytes| bytes > 0);
        if !is_told {
            self.is_alone = true;
        }
    }

    /// From here on new connections are this process's, and those of the process before are asked to follow.
    pub(crate) fn finish(mut self, relay: &RelayHandle) -> anyhow::Result<()> {
        relay.succession().steer(self.offer.generation, &self.offer.lives)?;
        if self.channel.write_all(Said::Ready.line().as_bytes()).is_err() {
            self.is_alone = true;
        }
        if self.is_alone {
            tracing::warn!("the process before has died: its sessions are lost");
        }
        Ok(())
    }

    /// For who is asked to hand it all on the next time. Once.
    pub(crate) fn take(&mut self) -> Option<Taken> {
        let lives = self.offer.lives.iter().copied().zip(&self.lives);
        let lives = lives.map(|(generation, life)| Some((generation, life.try_clone().ok()?)));
        Some(Taken {
            lives: lives.collect::<Option<_>>()?,
            commands: self.commands.take()?,
        })
    }

    /// Whether the process before has died: its sign of life has come to its end.
    fn is_left_alone(&mut self) -> bool {
        let is_over = self.lives.first().is_some_and(is_over);
        self.is_alone |= is_over;
        self.is_alone
    }
}

/// The other end of a sign of life is closed.
fn is_over(life: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polled = [PollFd::new(life, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

fn links(port: &ShardPort) -> anyhow::Result<Vec<LinkView>> {
    let (reply, answer) = oneshot::channel();
    port_of(port, ShardCommand::ListLinks(reply))?;
    answer.blocking_recv().context("the shard is gone")
}

/// Waits for room.
fn port_of(port: &ShardPort, mut command: ShardCommand) -> anyhow::Result<()> {
    let deadline = Instant::now() + limits::UPGRADE_WORD_WAIT_MAX;
    while let Err(refused) = port.offer(command) {
        command = refused;
        anyhow::ensure!(Instant::now() < deadline, "a shard's command queue is full");
        std::thread::park_timeout(LOOK_INTERVAL);
    }
    Ok(())
}

/// How the link is called in reports.
const LINK: &str = "the process before";
/// It carries everything.
const KIN_CLAIMS: &str = r#"{"put":[""],"get":[""],"cluster":true}"#;
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
