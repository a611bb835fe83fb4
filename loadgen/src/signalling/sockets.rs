//! A socket for each phone. They are served by one thread beside the shard, on its core, since a shard waits in its ring.
//!
//! Times are taken here: when a message was read, and when one was written that was to be said at a time. How late this
//! thread is by itself is told, too.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use crossbeam_queue::ArrayQueue;
use futures_util::{SinkExt, StreamExt};
use moqswitch_relay::net::wake::Waker;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;
use tokio::time;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::message::{UNREGISTER, Word, register};

/// What the sockets are opened for.
#[derive(Clone, Debug)]
pub(crate) struct SocketsPlan {
    /// Addresses with their URLs, `ws://host:port/path`. The phones are at them in turn.
    pub(crate) switches: Vec<(SocketAddr, String)>,
    pub(crate) numbers: Vec<String>,
    pub(crate) password: Option<String>,
}

/// Something to be said by a phone.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) message: Value,
    /// When it was to be said.
    pub(crate) due: Instant,
}

/// Something that happened, in the order in which it did.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) phone: usize,
    pub(crate) at: Instant,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// So long after it began to open its socket it was registered.
    Registered {
        took: Duration,
    },
    Word(Word),
    /// Something was said, or the thread came to its turn, so much later than it was to.
    Late(Duration),
    /// The socket is gone, and why. The last that is heard of it.
    Gone(String),
}

/// All sockets of a shard.
pub(crate) struct Sockets {
    switches: usize,
    phones: Vec<mpsc::Sender<Said>>,
    news: Arc<ArrayQueue<News>>,
    thread: Option<JoinHandle<()>>,
}

impl Sockets {
    /// Opens them, and registers each number. `wake` is rung for what is to be looked at.
    pub(crate) fn start(plan: SocketsPlan, core: usize, wake: Waker) -> anyhow::Result<Self> {
        let (phones, inboxes): (Vec<_>, Vec<_>) = plan.numbers.iter().map(|_| mpsc::channel(SAID_MAX)).unzip();
        let switches = plan.switches.len();
        let news = Arc::new(ArrayQueue::new(NEWS_MAX + plan.numbers.len() * 2));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bell = Bell {
            news: news.clone(),
            wake,
        };
        let thread = std::thread::Builder::new()
            .name("callers-phones".to_owned())
            .spawn(move || {
                core_affinity::set_for_current(core_affinity::CoreId { id: core });
                LocalSet::new().block_on(&runtime, serve_all(plan, inboxes, bell));
            })
            .context("no thread for the sockets of phones")?;
        Ok(Self {
            switches,
            phones,
            news,
            thread: Some(thread),
        })
    }

    /// Says something; false when the phone's socket is gone, or does not take it.
    pub(crate) fn say(&self, phone: usize, said: Said) -> bool {
        self.phones[phone].try_send(said).is_ok()
    }

    /// How many switches they are at, in turn.
    pub(crate) fn switches(&self) -> usize {
        self.switches
    }

    pub(crate) fn poll(&self) -> Option<News> {
        self.news.pop()
    }

    /// Closes them all, with a word to the switch. Without room nobody looks at the news any more.
    #[expect(clippy::disallowed_methods, reason = "the load is over")]
    pub(crate) fn finish(&mut self) {
        self.phones.clear();
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() {
            while self.news.pop().is_some() {}
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[derive(Clone)]
struct Bell {
    news: Arc<ArrayQueue<News>>,
    wake: Waker,
}

impl Bell {
    /// Waits for room: nothing is lost.
    async fn tell(&self, phone: usize, at: Instant, what: What) {
        let is_urgent = !matches!(what, What::Late(_));
        let mut news = News { phone, at, what };
        while let Err(back) = self.news.push(news) {
            news = back;
            self.wake.wake();
            time::sleep(Duration::from_millis(1)).await;
        }
        if is_urgent {
            self.wake.wake();
        }
    }
}

async fn serve_all(plan: SocketsPlan, inboxes: Vec<mpsc::Receiver<Said>>, bell: Bell) {
    let plan = Rc::new(plan);
    let places = Rc::new(Semaphore::new(OPENING_MAX));
    let mut served = tokio::task::JoinSet::new();
    for (phone, inbox) in inboxes.into_iter().enumerate() {
        let (plan, places, bell) = (plan.clone(), places.clone(), bell.clone());
        served.spawn_local(async move {
            if let Err(error) = serve(phone, &plan, inbox, &places, &bell).await {
                bell.tell(phone, Instant::now(), What::Gone(format!("{error:#}"))).await;
            }
        });
    }
    let mut beat = time::interval(BEAT);
    beat.set_missed_tick_behavior(time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            ended = served.join_next() => if ended.is_none() { return },
            due = beat.tick() => {
                let late = time::Instant::now().saturating_duration_since(due);
                bell.tell(0, Instant::now(), What::Late(late)).await;
            }
        }
    }
}

/// Serves a phone's socket until nobody wants it any more. An error when it ends before.
async fn serve(
    phone: usize,
    plan: &SocketsPlan,
    mut inbox: mpsc::Receiver<Said>,
    places: &Semaphore,
    bell: &Bell,
) -> anyhow::Result<()> {
    let place = places.acquire().await?;
    let began = Instant::now();
    let mut socket = time::timeout(OPEN_MAX, open(&plan.switches[phone % plan.switches.len()]))
        .await
        .context("no socket in time")??;
    let registers = register(&plan.numbers[phone], plan.password.as_deref());
    socket.send(Message::text(registers)).await?;
    let mut place = Some(place);
    let mut has_seen = None;
    loop {
        tokio::select! {
            said = inbox.recv() => {
                let Some(Said { mut message, due }) = said else {
                    // Who does not answer is not waited for.
                    let _ = time::timeout(CLOSE_MAX, async {
                        socket.send(Message::text(UNREGISTER)).await?;
                        socket.close(None).await
                    })
                    .await;
                    return Ok(());
                };
                // What came is not kept for this phone's return.
                if let Some(seq) = has_seen.take() {
                    message["ack"] = Value::from(seq);
                }
                socket.send(Message::text(message.to_string())).await.context("a socket was lost")?;
                bell.tell(phone, Instant::now(), What::Late(due.elapsed())).await;
            }
            message = socket.next() => {
                let at = Instant::now();
                let text = match message {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(Message::Close(frame))) => match frame {
                        Some(frame) => bail!("closed: {} {}", u16::from(frame.code), frame.reason),
                        None => bail!("closed"),
                    },
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => return Err(error).context("a socket was lost"),
                    None => bail!("a socket was lost"),
                };
                let (word, seq) = Word::read(&text).context("the switch said what is no JSON")?;
                has_seen = seq.or(has_seen);
                if let Some(Word::Registered { .. }) = word && place.take().is_some() {
                    bell.tell(phone, at, What::Registered { took: began.elapsed() }).await;
                }
                if let Some(word) = word {
                    bell.tell(phone, at, What::Word(word)).await;
                }
            }
        }
    }
}

async fn open((address, url): &(SocketAddr, String)) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("no switch answers at {url}"))?;
    stream.set_nodelay(true)?;
    // There may be ten thousand of them.
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE_BYTES_MAX));
    let opened = tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await;
    let (socket, _) = opened.with_context(|| format!("no WebSocket at {url}"))?;
    Ok(socket)
}

/// Messages that wait to be said by one phone. It has one call at a time.
const SAID_MAX: usize = 16;
/// News that wait for the shard, beside two for each phone.
const NEWS_MAX: usize = 4096;
/// Sockets that are being opened at once: a switch takes some hundreds.
const OPENING_MAX: usize = 64;
const OPEN_MAX: Duration = Duration::from_secs(10);
const CLOSE_MAX: Duration = Duration::from_millis(500);
/// How often this thread looks how late it is.
const BEAT: Duration = Duration::from_millis(5);
const BUFFER_BYTES: usize = 2048;
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
