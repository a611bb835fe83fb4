//! The thread, its runtime and the accept loop. Connections are bounded in number, age and time to send a request;
//! each carries one request, so that an idle client holds no slot.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time,
};

use super::{ControlState, routes, web};
use crate::{
    limits,
    ratelimit::RateLimit,
    shard::{WebRequest, WebRequests},
};

/// A bound listener; nothing is served before [`ControlServer::spawn`].
pub struct ControlServer {
    listener: TcpListener,
    state: ControlState,
    web_requests: Option<mpsc::Receiver<WebRequest>>,
}

/// The running control thread. Dropping it leaves the thread running; [`ControlHandle::stop`] ends it.
pub struct ControlHandle {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<io::Result<()>>,
}

impl ControlServer {
    pub fn bind(address: SocketAddr, state: ControlState) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            state,
            web_requests: None,
        })
    }

    /// Where shards send requests that come to them by HTTP/3.
    pub fn take_web_requests(&mut self) -> WebRequests {
        let (sender, receiver) = mpsc::channel(limits::HTTP3_REQUESTS_MAX);
        self.web_requests = Some(receiver);
        sender
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Starts the thread. `background` runs beside the HTTP server on the thread's runtime, for signals and
    /// other slow affairs, and is dropped when the thread stops.
    pub fn spawn(self, background: impl Future<Output = ()> + Send + 'static) -> io::Result<ControlHandle> {
        let address = self.address()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(self.listener)?;
                tokio::spawn(background);
                let shards = self.state.shards.clone();
                let router = routes::router(self.state);
                if let Some(requests) = self.web_requests {
                    tokio::spawn(web::answer(requests, router.clone(), shards));
                }
                serve(listener, router, stopped).await;
                Ok(())
            })
        })?;
        Ok(ControlHandle { address, stop, thread })
    }
}

impl ControlHandle {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends accepting, lets requests in progress finish for a moment, and joins the thread.
    pub fn stop(self) -> io::Result<()> {
        self.stop.send_replace(true);
        self.thread
            .join()
            .map_err(|_| io::Error::other("the control thread panicked"))?
    }
}

pub(super) async fn serve(listener: tokio::net::TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut complaints = RateLimit::new(COMPLAINT_PERIOD, 1);
    loop {
        let (stream, slot) = tokio::select! {
            accepted = accept(&listener, &slots) => match accepted {
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
            () = stop_requested(&mut stopped) => break,
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HTTP_HEADER_WAIT_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client's failure or slowness is its own affair.
            let _ = time::timeout(limits::HTTP_CONNECTION_AGE_MAX, connection).await;
            drop(slot);
        });
    }
    drop(listener);
    let _ = time::timeout(limits::HTTP_STOP_WAIT_MAX, graceful.shutdown()).await;
}

/// Takes a slot first, so that connections beyond the limit wait in the kernel.
async fn accept(
    listener: &tokio::net::TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

async fn stop_requested(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);
const COMPLAINT_PERIOD: Duration = Duration::from_secs(10);
