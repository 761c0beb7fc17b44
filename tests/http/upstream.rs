//! What stands behind an outbound listener in these tests: services that speak HTTP over mutual TLS, and servers that a test plays byte by byte.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::Response;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use svidgate::metrics::{RequestEnded, RequestOutcome};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::harness::http::{Body, Seen, full};
use crate::harness::{Gate, ORDERS, PATIENCE, Peer, WEB, World};

/// The one listener of an outbound gate in these tests.
pub(crate) const EGRESS: &str = "egress";

/// An outbound HTTP listener of the web frontend's. `onward` are more lines of its table, and tables beside it.
pub(crate) fn egress_toml(world: &World, onward: &str) -> String {
    let identity = world.path("web");
    format!(
        "[identity]\ndir = \"{}\"\n[[outbound]]\nname = \"{EGRESS}\"\nlisten = \"127.0.0.1:0\"\nprotocol = \"http\"\n{onward}\n",
        identity.display()
    )
}

/// A gate with that listener.
pub(crate) async fn egress(world: &World, onward: &str) -> Gate {
    world.identity("web", WEB);
    Gate::start(&egress_toml(world, onward)).await
}

/// One that sends every request to `target`, where the orders service is expected.
pub(crate) async fn egress_to(world: &World, target: SocketAddr, more: &str) -> Gate {
    egress(world, &to_orders(target, more)).await
}

pub(crate) fn to_orders(target: SocketAddr, more: &str) -> String {
    format!("target = \"{target}\"\nexpect = [\"{ORDERS}\"]\n{more}")
}

/// How many requests of the outbound listener ended so.
pub(crate) fn ended(gate: &Gate, outcome: RequestOutcome) -> u64 {
    let label = RequestEnded { listener: EGRESS.into(), outcome };
    gate.handle.metrics().requests.get(&label).map_or(0, |count| count.get())
}

pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it waits for ever")
}

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A service that speaks HTTP over mutual TLS, in the versions that its peer offers.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    opened: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Service {
    /// The orders service: both versions, and `hello` for every request.
    pub(crate) async fn orders(world: &World) -> Self {
        Self::of(both_versions(world.peer(ORDERS))).await
    }

    /// One that says `hello` to every request.
    pub(crate) async fn of(peer: Peer) -> Self {
        Self::answering(peer, |_| Box::pin(async { Response::new(full("hello")) })).await
    }

    /// One that answers as `answer` says; requests reach it when their head does.
    pub(crate) async fn answering(
        peer: Peer,
        answer: impl Fn(Seen) -> Answering + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::serving(Server::of(&peer).await, answer)
    }

    /// One that says `hello` to every request, on a listener that the test has made.
    pub(crate) fn at(listener: TcpListener, peer: &Peer) -> Self {
        Self::serving(Server::on(listener, peer), |_| Box::pin(async { Response::new(full("hello")) }))
    }

    fn serving(raw: Server, answer: impl Fn(Seen) -> Answering + Clone + Send + Sync + 'static) -> Self {
        let (address, seen) = (raw.address, Arc::<Mutex<Vec<Seen>>>::default());
        let (opened, open) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (all, opening, opens) = (seen.clone(), opened.clone(), open.clone());
        tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = raw.listener.accept().await else { return };
                let connection = opening.fetch_add(1, Ordering::SeqCst);
                let (answer, all, acceptor) = (answer.clone(), all.clone(), raw.acceptor.clone());
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let (answer, all) = (answer.clone(), all.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = http_body_util::BodyExt::collect(body).await?;
                        let seen = Seen {
                            method: parts.method.to_string(),
                            target: parts.uri.to_string(),
                            headers: parts.headers,
                            trailers: body.trailers().cloned(),
                            body: body.to_bytes(),
                            connection,
                        };
                        all.lock().unwrap().push(seen.clone());
                        Ok::<_, hyper::Error>(answer(seen).await)
                    }
                });
                let counted = Counted::one_of(&opens);
                tokio::spawn(async move {
                    let _counted = counted;
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                        let _ = builder.serve_connection_with_upgrades(TokioIo::new(tls), service).await;
                    }
                });
            }
        });
        Self { address, seen, opened, open }
    }

    /// All requests that it has seen.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The versions in which they came: in HTTP/2 the target is said with its scheme.
    pub(crate) fn versions(&self) -> Vec<u8> {
        self.seen().iter().map(|seen| if seen.target.starts_with("https://") { 2 } else { 1 }).collect()
    }

    /// How many connections were made to it.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// How many of them are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_of(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::SeqCst);
        Self(all.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The same peer, with both versions of HTTP in ALPN.
pub(crate) fn both_versions(mut peer: Peer) -> Peer {
    peer.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    peer
}

/// A server that the test plays itself, within TLS.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Server {
    /// The orders service, without a word in ALPN: what it is sent is HTTP/1.1.
    pub(crate) async fn orders(world: &World) -> Self {
        Self::of(&world.peer(ORDERS)).await
    }

    pub(crate) async fn of(peer: &Peer) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), peer)
    }

    fn on(listener: TcpListener, peer: &Peer) -> Self {
        let address = listener.local_addr().unwrap();
        Self { address, listener, acceptor: TlsAcceptor::from(Arc::new(peer.server_config())) }
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> TlsStream<TcpStream> {
        let (tcp, _) = soon(self.listener.accept()).await.unwrap();
        soon(self.acceptor.accept(tcp)).await.unwrap()
    }

    /// The next connection, before its handshake.
    pub(crate) async fn accept_tcp(&self) -> TcpStream {
        soon(self.listener.accept()).await.unwrap().0
    }

    pub(crate) async fn secure(&self, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        soon(self.acceptor.accept(tcp)).await
    }
}

/// Lets a unix socket lead to a TCP service.
pub(crate) fn behind_unix_socket(path: &std::path::Path, service: SocketAddr) {
    let listener = tokio::net::UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut unix, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut tcp = TcpStream::connect(service).await?;
                tokio::io::copy_bidirectional(&mut unix, &mut tcp).await
            });
        }
    });
}

/// An address of this machine at which nobody listens.
pub(crate) fn deserted() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Reads up to the end of a head, and gives it.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.expect("the stream ends before the head does"));
    }
    String::from_utf8(head).unwrap()
}
