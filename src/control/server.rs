//! The thread, its runtime and the accept loops: of the public address, of the operators' and of control programs'. Connections are bounded in number, age and time to send a request;
//! each carries one request, so that an idle client holds no place. A connection that becomes a WebSocket gives its
//! place back, and has limits of its own.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use moqswitch_relay::auth::ClientIdentity;
use moqswitch_relay::ratelimit::RateLimit;
use moqswitch_relay::shard::{WebRequest, WebRequests};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time;

use crate::limits;

use super::connections::{Arrival, Connections};
use super::portions::Portions;
use super::remote::{Certified, Client, Remote};
use super::tls::Tls;
use super::websocket::WebSockets;
use super::{ControlState, routes, tls, web, whip};

/// Bound listeners; nothing is served before [`ControlServer::spawn`].
pub struct ControlServer {
    listener: TcpListener,
    admin: Option<TcpListener>,
    mediaswitch: Option<TcpListener>,
    runtime: Runtime,
    state: ControlState,
    web_requests: mpsc::Receiver<WebRequest>,
    accepting: watch::Sender<bool>,
}

/// The running control thread. Dropping it leaves the thread running; [`ControlHandle::stop`] ends it.
pub struct ControlHandle {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<io::Result<()>>,
}

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Serving {
    router: Router,
    tls: Option<Tls>,
    /// Those that are waited for at the end.
    websockets: Option<Arc<WebSockets>>,
    stopped: watch::Receiver<bool>,
    /// Another process accepts them when it is false.
    accepting: watch::Receiver<bool>,
    /// Connections whose request has not come, and those that are served.
    connections_max: (usize, usize),
}

impl Serving {
    /// On the public address.
    pub(super) fn new(state: ControlState, stopped: watch::Receiver<bool>, accepting: watch::Receiver<bool>) -> Self {
        Self {
            accepting,
            tls: state.tls.clone(),
            websockets: Some(Arc::clone(&state.websockets)),
            router: routes::public(state.clone()).merge(whip::router(state)),
            stopped,
            connections_max: (limits::HTTP_ARRIVING_MAX, limits::HTTP_CONNECTIONS_MAX),
        }
    }

    /// On the operators' address: without TLS, and with places that no client takes.
    fn operators(state: ControlState, stopped: watch::Receiver<bool>, accepting: watch::Receiver<bool>) -> Self {
        let router = routes::operators(state);
        Self::apart(router, limits::ADMIN_CONNECTIONS_MAX, stopped, accepting)
    }

    /// On the address of control programs, likewise.
    fn mediaswitch(router: Router, stopped: watch::Receiver<bool>, accepting: watch::Receiver<bool>) -> Self {
        let router = routes::mediaswitch(router);
        Self::apart(router, limits::MEDIASWITCH_CONNECTIONS_MAX, stopped, accepting)
    }

    fn apart(
        router: Router,
        connections_max: usize,
        stopped: watch::Receiver<bool>,
        accepting: watch::Receiver<bool>,
    ) -> Self {
        Self {
            accepting,
            tls: None,
            websockets: None,
            router,
            stopped,
            connections_max: (connections_max, connections_max),
        }
    }
}

/// Bound addresses, before there are shards to answer for.
pub struct ControlListener {
    listener: TcpListener,
    admin: Option<TcpListener>,
    mediaswitch: Option<TcpListener>,
    runtime: Runtime,
    requests: (WebRequests, mpsc::Receiver<WebRequest>),
    accepting: watch::Sender<bool>,
}

impl ControlListener {
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::new(bind(address)?)
    }

    /// On a listener that is there.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        Ok(Self {
            listener,
            admin: None,
            mediaswitch: None,
            runtime: runtime()?,
            requests: mpsc::channel(limits::HTTP3_REQUESTS_MAX),
            accepting: watch::channel(true).0,
        })
    }

    /// Answers operators at another address. They are answered nowhere else.
    pub fn answer_operators(&mut self, listener: TcpListener) {
        self.admin = Some(listener);
    }

    /// Answers control programs at an address of their own.
    pub fn answer_programs(&mut self, listener: TcpListener) {
        self.mediaswitch = Some(listener);
    }

    /// The listeners, for another process: the public one, the operators' and that of control programs.
    pub fn listeners(&self) -> io::Result<[Option<TcpListener>; 3]> {
        let others = [&self.admin, &self.mediaswitch].map(|one| one.as_ref().map(TcpListener::try_clone).transpose());
        let [admin, mediaswitch] = others;
        Ok([Some(self.listener.try_clone()?), admin?, mediaswitch?])
    }

    /// Whether connections are accepted: false while another process does.
    pub fn accepting(&self) -> watch::Sender<bool> {
        self.accepting.clone()
    }

    /// Where shards send requests that come to them by HTTP/3.
    pub fn web_requests(&self) -> WebRequests {
        self.requests.0.clone()
    }

    /// The server that answers from `state`.
    pub fn serve(self, state: ControlState) -> ControlServer {
        ControlServer {
            listener: self.listener,
            admin: self.admin,
            mediaswitch: self.mediaswitch,
            runtime: self.runtime,
            state,
            web_requests: self.requests.1,
            accepting: self.accepting,
        }
    }
}

impl ControlServer {
    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Starts the thread. `background` runs beside the HTTP server on the thread's runtime, for signals and
    /// other slow affairs, and is dropped when the thread stops.
    pub fn spawn(self, background: impl Future<Output = ()> + Send + 'static) -> io::Result<ControlHandle> {
        let address = self.address()?;
        let admin = self.admin.as_ref().map(TcpListener::local_addr).transpose()?;
        let runtime = self.runtime;
        let (stop, stopped) = watch::channel(false);
        let shards = self.state.shards.clone();
        let accepting = || self.accepting.subscribe();
        let operators = Serving::operators(self.state.clone(), stopped.clone(), accepting());
        let router = self.state.mediaswitch.clone().unwrap_or_default();
        let programs = Serving::mediaswitch(router, stopped.clone(), accepting());
        // What tells pages from programs does not come with those requests: calls are not for them.
        let over_http3 = routes::relay(self.state.clone());
        let serving = Serving::new(self.state, stopped, self.accepting.subscribe());
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(self.listener)?;
                let admin = self.admin.map(tokio::net::TcpListener::from_std).transpose()?;
                let mediaswitch = self.mediaswitch.map(tokio::net::TcpListener::from_std).transpose()?;
                tokio::spawn(background);
                tokio::spawn(web::answer(self.web_requests, over_http3, shards));
                let admin = async {
                    if let Some(admin) = admin {
                        serve(admin, operators).await;
                    }
                };
                let mediaswitch = async {
                    if let Some(mediaswitch) = mediaswitch {
                        serve(mediaswitch, programs).await;
                    }
                };
                tokio::join!(serve(listener, serving), admin, mediaswitch);
                Ok(())
            })
        })?;
        Ok(ControlHandle {
            address,
            admin,
            stop,
            thread,
        })
    }
}

impl ControlHandle {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators are answered, if anywhere.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Ends accepting, lets requests in progress finish for a moment, and joins the thread.
    pub fn stop(self) -> io::Result<()> {
        self.stop.send_replace(true);
        self.thread
            .join()
            .map_err(|_| io::Error::other("the control thread panicked"))?
    }
}

/// Made early, while there are files to be had. A runtime that finds none for its signals panics, so it is tried before.
fn runtime() -> io::Result<Runtime> {
    let (one, other) = UnixStream::pair()?;
    drop((one.try_clone()?, other.try_clone()?));
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// A listener for [`ControlListener::new`].
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

pub(super) async fn serve(listener: tokio::net::TcpListener, mut serving: Serving) {
    let (arriving_max, served_max) = serving.connections_max;
    let mut connections = Connections::new(arriving_max, served_max);
    let mut complaints = RateLimit::new(COMPLAINT_PERIOD, 1);
    loop {
        let is_accepting = *serving.accepting.borrow_and_update();
        let (stream, remote) = tokio::select! {
            accepted = listener.accept(), if is_accepting => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely; the backlog waits meanwhile.
                    if let Some(suppressed) = complaints.allow(Instant::now()) {
                        tracing::warn!(%error, suppressed, "accepting an HTTP connection failed");
                    }
                    time::sleep(ACCEPT_RETRY_INTERVAL).await;
                    continue;
                }
            },
            () = connections.changed() => continue,
            () = changed(&mut serving.accepting) => continue,
            () = stop_requested(&mut serving.stopped) => break,
        };
        let serving = serving.clone();
        connections.spawn(|arrival| handle(stream, remote, serving, arrival));
    }
    drop(listener);
    let ended = async {
        connections.ended().await;
        if let Some(websockets) = &serving.websockets {
            websockets.ended().await;
        }
    };
    let _ = time::timeout(limits::HTTP_STOP_WAIT_MAX, ended).await;
}

/// Serves one connection, over TLS if it begins with that. A client's failure is its own affair.
async fn handle(stream: TcpStream, remote: SocketAddr, serving: Serving, arrival: Arrival) {
    tls::tune(&stream);
    let Some(tls) = &serving.tls else {
        return handle_http(stream, remote, None, serving, arrival).await;
    };
    if tls::begins_with_tls(&stream).await {
        if let Some(stream) = tls.accept(stream).await {
            let certificate = stream
                .ssl()
                .peer_certificate()
                .and_then(|certificate| certificate.to_der().ok());
            let identity = certificate.and_then(|der| ClientIdentity::of(&der));
            handle_http(stream, remote, identity, serving, arrival).await;
        }
    } else if !tls.is_required {
        handle_http(stream, remote, None, serving, arrival).await;
    }
}

async fn handle_http(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    remote: SocketAddr,
    identity: Option<ClientIdentity>,
    mut serving: Serving,
    arrival: Arrival,
) {
    let service = TowerToHyperService::new(serving.router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        arrival.announce();
        request.extensions_mut().insert(Remote(remote));
        request.extensions_mut().insert(Client(remote));
        if let Some(identity) = &identity {
            request.extensions_mut().insert(Certified(identity.clone()));
        }
        service.call(request)
    });
    let connection = http1::Builder::new()
        .serve_connection(TokioIo::new(Portions::new(stream)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop_requested(&mut serving.stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn changed(accepting: &mut watch::Receiver<bool>) {
    if accepting.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn stop_requested(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);
const COMPLAINT_PERIOD: Duration = Duration::from_secs(10);
