//! The process that is asked: it starts the one that follows, gives it what it has, and sends its sessions there. If the other
//! dies it goes on as before; if not, it ends when its sessions have gone.

use std::ffi::OsString;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream as StdUnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use moqswitch_relay::shard::ShardCommand;
use moqswitch_relay::{RelayHandle, Succession};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time;

use crate::control::{ControlState, Phase};
use crate::limits;
use crate::notify::Notifier;

use super::command::{self, ASKED, DONE, FAILED};
use super::offer::{self, Keepsake, Kind, Offer, STANDARD_INPUT, Said, VARIABLE, VERSION};
use super::takeover::Taken;

/// Hands the relay on when it is asked to.
pub(crate) struct Keeper {
    parts: Parts,
    succession: Succession,
    commands: UnixListener,
    /// Others see by the end of the first that this process, which has the second, is gone.
    sign_of_life: (OwnedFd, OwnedFd),
    /// Of generations that came before and still end their sessions.
    lives: Vec<(usize, OwnedFd)>,
    /// Calls were given up, and nobody has them.
    has_lost_calls: bool,
}

/// What a process has to hand on.
pub(crate) struct Parts {
    pub(crate) state: ControlState,
    pub(crate) listeners: Vec<(Kind, TcpListener)>,
    /// Whether HTTP connections are accepted.
    pub(crate) accepting: watch::Sender<bool>,
    pub(crate) keepsake: Keepsake,
    pub(crate) notifier: Notifier,
    /// How long sessions may stay that do not follow.
    pub(crate) longest: Duration,
    /// The program file, and how it was called.
    pub(crate) program: (PathBuf, Vec<OsString>),
}

/// The process that follows.
struct Successor {
    child: Offspring,
    said: Says,
    answers: OwnedWriteHalf,
}

/// Line after line.
type Says = Lines<BufReader<OwnedReadHalf>>;

/// What has become of this process after it was followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its sessions have gone, or their time has.
    Ends,
    /// The other is gone.
    GoesOn,
}

/// Why it waited no longer.
enum News {
    Asked(UnixStream),
    /// The place of a generation that has ended among those that live.
    Ended(usize),
}

impl Keeper {
    /// `None`: nobody can follow this process, which is logged.
    pub(crate) fn new(parts: Parts, relay: &RelayHandle, taken: Option<Taken>) -> Option<Self> {
        let succession = relay.succession();
        if succession.generations() < 2 {
            tracing::info!("there is no upgrade without a gap: so many shards leave no sockets for another process");
            return None;
        }
        let made = Self::make(parts, succession, relay.address(), taken);
        let logged = made.inspect_err(|error| tracing::warn!("there is no upgrade without a gap: {error:#}"));
        logged.ok()
    }

    fn make(parts: Parts, succession: Succession, address: SocketAddr, taken: Option<Taken>) -> anyhow::Result<Self> {
        let (commands, lives) = match taken {
            Some(taken) => (taken.commands, taken.lives),
            None => (UnixListener::bind_addr(&command::address(address)?)?, Vec::new()),
        };
        commands.set_nonblocking(true)?;
        Ok(Self {
            parts,
            succession,
            commands,
            sign_of_life: pipe_with(PipeFlags::CLOEXEC)?,
            lives,
            has_lost_calls: false,
        })
    }

    /// Answers for as long as the process lives, or until it has been followed.
    pub(crate) async fn serve(mut self) {
        let mut watched = Vec::new();
        for (generation, descriptor) in &self.lives {
            match watch_life(descriptor) {
                Ok(life) => watched.push((*generation, life)),
                Err(error) => tracing::error!(%error, generation, "an earlier process is taken for dead"),
            }
        }
        self.lives
            .retain(|(generation, _)| watched.iter().any(|(known, _)| known == generation));
        self.steer();
        loop {
            match self.news(&mut watched).await {
                Ok(News::Ended(place)) => {
                    self.forget(&mut watched, place);
                    self.steer();
                }
                Ok(News::Asked(asker)) => {
                    if self.answer(asker, &mut watched).await == Fate::Ends {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a request for an upgrade was not understood");
                    time::sleep(limits::UPGRADE_RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// New connections are this process's, and those of the earlier ones theirs.
    fn steer(&self) {
        let others: Vec<usize> = self.lives.iter().map(|(generation, _)| *generation).collect();
        if let Err(error) = self.succession.steer(self.succession.generation(), &others) {
            tracing::error!(%error, "packets go where they went before");
        }
    }

    fn forget(&mut self, watched: &mut Vec<(usize, pipe::Receiver)>, place: usize) {
        let (generation, _) = watched.remove(place);
        self.lives.retain(|(known, _)| *known != generation);
        tracing::info!(generation, "an earlier process has ended");
    }

    async fn news(&self, watched: &mut [(usize, pipe::Receiver)]) -> std::io::Result<News> {
        let commands = tokio::net::UnixListener::from_std(self.commands.try_clone()?)?;
        tokio::select! {
            accepted = commands.accept() => Ok(News::Asked(accepted?.0)),
            place = ended(watched) => Ok(News::Ended(place)),
        }
    }

    async fn answer(&mut self, mut asker: UnixStream, watched: &mut Vec<(usize, pipe::Receiver)>) -> Fate {
        // Anybody here can connect: who may not ask makes no line.
        if let Err(error) = check(&mut asker).await {
            tracing::debug!("a request for an upgrade is refused: {error:#}");
            say(&mut asker, &format!("{FAILED}{error:#}; the process that ran goes on")).await;
            return Fate::GoesOn;
        }
        match self.hand_on().await {
            Ok(successor) => {
                let process = successor.child.id();
                tracing::info!(
                    process,
                    "another process has taken over; this one ends when its sessions have gone"
                );
                say(
                    &mut asker,
                    &format!("{DONE}process {process} serves; the one before ends its sessions"),
                )
                .await;
                drop(asker);
                self.retire(successor, watched).await
            }
            Err(error) if self.has_lost_calls => {
                tracing::error!(
                    "no other process has taken over; this one goes on without telephone calls: start it anew: {error:#}"
                );
                self.parts.state.lifecycle.set(Phase::Draining);
                let what = "the process that ran goes on, but it has no telephone calls any more: start it anew";
                say(&mut asker, &format!("{FAILED}{error:#}; {what}")).await;
                self.steer();
                Fate::GoesOn
            }
            Err(error) => {
                tracing::error!("no other process has taken over, this one goes on: {error:#}");
                say(&mut asker, &format!("{FAILED}{error:#}; the process that ran goes on")).await;
                self.steer();
                Fate::GoesOn
            }
        }
    }

    /// The process that follows, when it serves. If it comes to nothing it is ended, and all is as it was.
    async fn hand_on(&mut self) -> anyhow::Result<Successor> {
        let mut successor = self.start()?;
        let ready = time::timeout(limits::UPGRADE_START_MAX, self.wait_until_ready(&mut successor));
        let outcome = match ready.await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow::anyhow!(
                "it does not serve within {:?}",
                limits::UPGRADE_START_MAX
            )),
        };
        outcome?;
        successor.child.serves = true;
        Ok(successor)
    }

    fn start(&self) -> anyhow::Result<Successor> {
        let own = self.succession.generation();
        let lives = || std::iter::once(own).chain(self.lives.iter().map(|(generation, _)| *generation));
        let generation = (0..self.succession.generations()).find(|free| lives().all(|lives| lives != *free));
        let generation = generation.with_context(|| {
            let count = self.lives.len();
            format!("{count} earlier processes still end their sessions: wait until one has ended")
        })?;
        let (ours, theirs) = StdUnixStream::pair()?;
        let (program, arguments) = &self.parts.program;
        let child = Command::new(program)
            .args(arguments)
            .env(VARIABLE, STANDARD_INPUT)
            // It would be for another process.
            .env_remove("WATCHDOG_PID")
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let child = Offspring { child, serves: false };
        let (said, answers) = self.hand_over(ours, generation)?;
        Ok(Successor { child, said, answers })
    }

    /// Gives the process that follows what there is. What it says, and the way to answer.
    fn hand_over(&self, ours: StdUnixStream, generation: usize) -> anyhow::Result<(Says, OwnedWriteHalf)> {
        let own = self.succession.generation();
        let lives = std::iter::once(own).chain(self.lives.iter().map(|(generation, _)| *generation));
        let (sockets, guard) = self.succession.descriptors()?;
        let listeners = &self.parts.listeners;
        let addresses = listeners
            .iter()
            .map(|(kind, listener)| Ok((*kind, listener.local_addr()?)));
        let mut announced = 0;
        (self.parts.state.announcements)("", &mut |_| {
            announced += 1;
            std::ops::ControlFlow::Continue(())
        });
        let offer = Offer {
            version: VERSION,
            shards: self.succession.shards(),
            generation,
            lives: lives.collect(),
            listeners: addresses.collect::<std::io::Result<_>>()?,
            sockets: sockets.len(),
            has_guard: guard.is_some(),
            announced,
        };
        let descriptors: Vec<BorrowedFd<'_>> = std::iter::once(self.commands.as_fd())
            .chain(std::iter::once(self.sign_of_life.0.as_fd()))
            .chain(self.lives.iter().map(|(_, life)| life.as_fd()))
            .chain(listeners.iter().map(|(_, listener)| listener.as_fd()))
            .chain(sockets.iter().map(AsFd::as_fd))
            .chain(guard.iter().map(AsFd::as_fd))
            .collect();
        ours.set_write_timeout(Some(limits::UPGRADE_WORD_WAIT_MAX))?;
        offer::send(&ours, &offer, &self.parts.keepsake, &descriptors).context("handing over")?;
        ours.set_nonblocking(true)?;
        let (said, answers) = UnixStream::from_std(ours)?.into_split();
        Ok((BufReader::new(said).lines(), answers))
    }

    async fn wait_until_ready(&mut self, successor: &mut Successor) -> anyhow::Result<()> {
        loop {
            match successor.next().await {
                Some(Said::Ready) => return Ok(()),
                Some(Said::Failed { reason }) => anyhow::bail!("it says: {reason}"),
                Some(Said::Calls) => {
                    if let Some(signalling) = &self.parts.state.signalling {
                        self.has_lost_calls = true;
                        signalling.hand_on();
                        // If it takes longer, the other finds the sockets taken and says so.
                        let _ = time::timeout(limits::CALLS_STOP_WAIT_MAX, signalling.ended()).await;
                    }
                    successor.answers.write_all(Said::Released.line().as_bytes()).await?;
                }
                Some(Said::Released) => {}
                None => anyhow::bail!("it has ended"),
            }
        }
    }

    /// Sends sessions away, and waits until they have gone, or the other has.
    async fn retire(&mut self, mut successor: Successor, watched: &mut Vec<(usize, pipe::Receiver)>) -> Fate {
        self.parts.accepting.send_replace(false);
        self.parts.state.lifecycle.set(Phase::Draining);
        self.succession.set_handed_on(true);
        self.tell_shards(|| ShardCommand::Retire).await;
        let (begun, mut is_manager_told, mut quiet) = (Instant::now(), false, 0);
        loop {
            tokio::select! {
                said = successor.next() => if said.is_none() {
                    break;
                },
                place = ended(watched) => self.forget(watched, place),
                () = time::sleep(limits::UPGRADE_LOOK_INTERVAL) => {
                    if begun.elapsed() >= limits::UPGRADE_TRIAL && !std::mem::replace(&mut is_manager_told, true) {
                        self.parts.notifier.followed_by(successor.child.id());
                    }
                    // Who is on its way from one connection to another is seen a moment later.
                    let is_left = self.parts.state.clients().await == Some(0) && self.lives.is_empty();
                    quiet = if is_left { quiet + 1 } else { 0 };
                    if quiet > limits::UPGRADE_QUIET_LOOKS || begun.elapsed() >= self.parts.longest {
                        tracing::info!(left = !is_left, "this process ends, another has taken over");
                        self.parts.notifier.followed_by(successor.child.id());
                        self.parts.state.drain(limits::UPGRADE_LAST_WORDS).await;
                        return Fate::Ends;
                    }
                }
            }
        }
        // It may have closed the link only: two that serve are too many.
        let status = successor
            .child
            .end()
            .map_or_else(|error| error.to_string(), |status| status.to_string());
        tracing::error!(status, "the process that had taken over has ended: this one goes on");
        self.steer();
        self.go_on().await;
        Fate::GoesOn
    }

    async fn go_on(&mut self) {
        self.succession.set_handed_on(false);
        self.tell_shards(|| ShardCommand::Resume).await;
        self.parts.accepting.send_replace(true);
        self.parts.notifier.followed_by(std::process::id());
        if self.has_lost_calls {
            tracing::error!("there are no telephone calls until this process is followed by another or started again");
        } else {
            self.parts.state.lifecycle.resume();
        }
    }

    /// All of them together have so long, and one that takes nothing keeps none of the others from it.
    async fn tell_shards(&self, command: impl Fn() -> ShardCommand) {
        let deadline = Instant::now() + limits::UPGRADE_WORD_WAIT_MAX;
        let mut left: Vec<_> = self.parts.state.shards.iter().collect();
        loop {
            left.retain(|port| port.send(command()).is_err());
            if left.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                return tracing::error!(
                    shards = left.len(),
                    "shards take no commands: their sessions are not told"
                );
            }
            time::sleep(limits::UPGRADE_RETRY_INTERVAL).await;
        }
    }
}

impl Successor {
    /// `None`: it has ended.
    async fn next(&mut self) -> Option<Said> {
        loop {
            let line = self.said.next_line().await.ok()??;
            match serde_json::from_str(&line) {
                Ok(said) => return Some(said),
                Err(error) => tracing::warn!(%error, "the process that follows says what is not understood"),
            }
        }
    }
}

/// Who asks must be the user of this process, or root, and ask for what there is.
async fn check(asker: &mut UnixStream) -> anyhow::Result<()> {
    let (own, _) = UnixStream::pair()?;
    let (own, user) = (own.peer_cred()?.uid(), asker.peer_cred()?.uid());
    anyhow::ensure!(user == own || user == 0, "user {user} may not ask for it");
    let mut asked = vec![0; ASKED.len() + 1];
    let read = time::timeout(limits::UPGRADE_WORD_WAIT_MAX, asker.read_exact(&mut asked));
    read.await.context("nothing was asked for")??;
    anyhow::ensure!(asked.starts_with(ASKED.as_bytes()), "something else was asked for");
    Ok(())
}

/// A process of ours. It is ended with this, unless it serves.
struct Offspring {
    child: Child,
    serves: bool,
}

impl Offspring {
    fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, by itself or by this.
    fn end(&mut self) -> std::io::Result<ExitStatus> {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        self.child.wait()
    }
}

impl Drop for Offspring {
    fn drop(&mut self) {
        if !self.serves {
            let _ = self.end();
        }
    }
}

async fn say(asker: &mut UnixStream, line: &str) {
    // It may have gone.
    let _ = asker.write_all(format!("{line}\n").as_bytes()).await;
}

fn watch_life(descriptor: &OwnedFd) -> std::io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(descriptor.try_clone()?)
}

/// The place of one whose process has ended. Nothing is ever written to them.
async fn ended(watched: &mut [(usize, pipe::Receiver)]) -> usize {
    let looks = watched.iter().map(|(_, life)| Box::pin(life.readable()));
    let mut looks: Vec<_> = looks.collect();
    poll_fn(|context| {
        let over = looks.iter_mut().position(|look| look.as_mut().poll(context).is_ready());
        over.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    })
    .await
}
