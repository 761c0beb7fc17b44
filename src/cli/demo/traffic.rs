//! The old application, and the clients that keep calling it through both proxies.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const CLIENTS: usize = 4;
/// Requests on one connection before a client comes back with a new one.
const REQUESTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(10);

/// An application that speaks HTTP and knows nothing of TLS.
pub(super) async fn application() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(|_| async {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"the old application answers\n"))))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    Ok(address)
}

/// What the clients have met with.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) served: u64,
    pub(super) failed: u64,
    pub(super) connections: u64,
    pub(super) last_failure: Option<String>,
}

/// The clients.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    served: AtomicU64,
    failed: AtomicU64,
    /// How often each client has connected.
    connected: [AtomicU64; CLIENTS],
    last_failure: std::sync::Mutex<Option<String>>,
    stop: AtomicBool,
}

impl Traffic {
    /// Starts the clients; they call `entrance`.
    pub(super) fn start(entrance: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(call_on(entrance, number, shared.clone()));
        }
        Self { shared, clients }
    }

    pub(super) fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Waits until every client has come back with a connection made after this call.
    pub(super) async fn all_reconnected(&self) {
        // The next connection may already be half made with what was valid before: the one after it is not.
        let before = self.shared.connected.each_ref().map(|count| count.load(Ordering::Relaxed));
        let all_later =
            || self.shared.connected.iter().zip(before).all(|(now, then)| now.load(Ordering::Relaxed) > then + 1);
        while !all_later() {
            sleep(PAUSE).await;
        }
    }

    /// Lets each client finish the request it is at.
    pub(super) async fn stop(mut self) -> Counts {
        self.shared.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        self.shared.counts()
    }
}

impl Shared {
    fn counts(&self) -> Counts {
        Counts {
            served: self.served.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            connections: self.connected.iter().map(|count| count.load(Ordering::Relaxed)).sum(),
            last_failure: self.last_failure.lock().ok().and_then(|failure| failure.clone()),
        }
    }

    fn failure(&self, failure: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut last) = self.last_failure.lock() {
            *last = Some(failure);
        }
    }
}

async fn call_on(entrance: SocketAddr, number: usize, shared: Arc<Shared>) {
    while !shared.stop.load(Ordering::Relaxed) {
        match timeout(PATIENCE, call(entrance, number, &shared)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => shared.failure(failure),
            Err(_elapsed) => shared.failure("no answer in time".into()),
        }
    }
}

/// One connection, kept alive over its requests.
async fn call(entrance: SocketAddr, number: usize, shared: &Shared) -> Result<(), String> {
    let stream = TcpStream::connect(entrance).await.map_err(|error| format!("cannot connect: {error}"))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    if let Some(connected) = shared.connected.get(number) {
        connected.fetch_add(1, Ordering::Relaxed);
    }
    for _ in 0..REQUESTS {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let request = Request::get("/").header(hyper::header::HOST, "orders").body(Empty::<Bytes>::new());
        let answer = sender.send_request(request.map_err(|error| error.to_string())?).await;
        let answer = answer.map_err(|error| format!("the request failed: {error}"))?;
        let is_good = answer.status().is_success();
        answer.into_body().collect().await.map_err(|error| format!("the answer broke off: {error}"))?;
        if !is_good {
            return Err("the application did not say yes".into());
        }
        shared.served.fetch_add(1, Ordering::Relaxed);
        sleep(PAUSE).await;
    }
    Ok(())
}
