//! What the tests of inbound listeners share: a gate in front of an application, both ends of it as raw bytes, and applications that stream.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use svidgate::metrics::{Outcome, RequestEnded, RequestOutcome};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

use crate::harness::http::{Application, Body, Client, converse, inbound_http};
use crate::harness::{Gate, ORDERS, PATIENCE, Peer, WEB, World};

/// A gate that lets the web frontend in, and that frontend.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) gate: Gate,
    pub(crate) peer: Peer,
    target: String,
}

impl Scene {
    /// In front of `target`, a TOML value. The other texts are lines of the listener's table, its rule and those after it, and
    /// `[limits.http]`.
    pub(crate) async fn before(target: &str, listener: &str, rules: &str, limits: &str) -> Self {
        let world = World::new();
        let identity = world.identity("orders", ORDERS);
        let gate = Gate::start(&inbound_http(&identity, target, listener, rules, limits)).await;
        let peer = world.peer(WEB);
        Self { world, gate, peer, target: target.to_owned() }
    }

    /// In front of an application that says `hello`.
    pub(crate) async fn with(listener: &str, rules: &str, limits: &str) -> (Self, Application) {
        let application = Application::start().await;
        (Self::before(&application.target(), listener, rules, limits).await, application)
    }

    /// In front of an application of which the test plays the part.
    pub(crate) async fn played(limits: &str) -> (Self, Played) {
        let application = Played::start().await;
        (Self::before(&application.target(), "", "", limits).await, application)
    }

    /// Gives the gate another configuration.
    pub(crate) async fn apply(&self, listener: &str, rules: &str, limits: &str) {
        self.gate.apply(&inbound_http(&self.world.path("orders"), &self.target, listener, rules, limits)).await;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gate.address(0)
    }

    pub(crate) async fn http1(&self) -> Client {
        Client::of_peer(&self.peer, self.address()).await
    }

    pub(crate) async fn http2(&self) -> Client {
        Client::of_peer_http2(&self.peer, self.address()).await
    }

    /// A client of each version.
    pub(crate) async fn both(&self) -> [Client; 2] {
        [self.http1().await, self.http2().await]
    }

    /// The frontend's connection as it is, for HTTP/1.1.
    pub(crate) async fn stream(&self) -> TlsStream<TcpStream> {
        self.peer.clone().offering("http/1.1").connect(self.address()).await.unwrap()
    }

    /// The same, for HTTP/2.
    pub(crate) async fn stream_http2(&self) -> TlsStream<TcpStream> {
        self.peer.clone().offering("h2").connect(self.address()).await.unwrap()
    }

    /// The frontend's bytes, and what comes back.
    pub(crate) async fn raw(&self) -> Raw<TlsStream<TcpStream>> {
        Raw::of(self.stream().await)
    }

    /// Says bytes and hears all that comes back until the end.
    pub(crate) async fn say(&self, said: &[u8]) -> String {
        converse(self.stream().await, said).await
    }

    pub(crate) fn requests(&self, outcome: RequestOutcome) -> u64 {
        let label = RequestEnded { listener: "orders".into(), outcome };
        self.gate.handle.metrics().requests.get(&label).map_or(0, |count| count.get())
    }

    pub(crate) fn closed(&self, outcome: Outcome) -> u64 {
        self.gate.handle.metrics().closed(&"orders".into(), outcome)
    }
}

/// One end of a connection, byte by byte.
pub(crate) struct Raw<S> {
    stream: S,
    heard: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub(crate) fn of(stream: S) -> Self {
        Self { stream, heard: Vec::new() }
    }

    pub(crate) async fn say(&mut self, said: impl AsRef<[u8]>) {
        patiently(self.try_say(said)).await.unwrap();
    }

    /// Says something to somebody who may not listen any more.
    pub(crate) async fn try_say(&mut self, said: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(said.as_ref()).await?;
        self.stream.flush().await
    }

    /// Ends this side of it.
    pub(crate) async fn finish(&mut self) {
        patiently(self.stream.shutdown()).await.unwrap();
    }

    /// Reads up to `end` and takes it in.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            let found = self.heard.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(position) = found {
                let rest = self.heard.split_off(position + end.len());
                return String::from_utf8(std::mem::replace(&mut self.heard, rest)).unwrap();
            }
            let heard = String::from_utf8_lossy(&self.heard).into_owned();
            let more = patiently(self.stream.read_buf(&mut self.heard)).await;
            assert!(matches!(more, Ok(1..)), "{more:?} instead of {end:?}, after {heard:?}");
        }
    }

    /// Reads up to `end`, however much that is, and forgets it.
    pub(crate) async fn skip_past(&mut self, end: &str) {
        while !self.heard.ends_with(end.as_bytes()) {
            let forgotten = self.heard.len().saturating_sub(end.len());
            self.heard.drain(..forgotten);
            assert!(
                matches!(patiently(self.stream.read_buf(&mut self.heard)).await, Ok(1..)),
                "it ended without {end:?}"
            );
        }
        self.heard.clear();
    }

    /// Reads one head, its empty line included.
    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// Reads so many bytes.
    pub(crate) async fn take(&mut self, length: usize) -> String {
        while self.heard.len() < length {
            let more = patiently(self.stream.read_buf(&mut self.heard)).await;
            assert!(matches!(more, Ok(1..)), "{more:?} after {:?}", String::from_utf8_lossy(&self.heard));
        }
        let rest = self.heard.split_off(length);
        String::from_utf8(std::mem::replace(&mut self.heard, rest)).unwrap()
    }

    /// Reads one answer with a length.
    pub(crate) async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let body = self.take(length).await;
        (head, body)
    }

    /// Reads to the end: what still came, and whether it was a clean one.
    pub(crate) async fn end(&mut self) -> (String, io::Result<()>) {
        let end = patiently(self.stream.read_to_end(&mut self.heard)).await.map(|_| ());
        (String::from_utf8_lossy(&std::mem::take(&mut self.heard)).into_owned(), end)
    }

    /// The stream, where nothing was heard that was not taken.
    pub(crate) fn into_inner(self) -> S {
        assert!(self.heard.is_empty(), "{:?}", String::from_utf8_lossy(&self.heard));
        self.stream
    }
}

/// The value of a header in a head as it was written.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n").skip(1);
    let mut found = lines.filter_map(|line| line.split_once(':')).filter(|(found, _)| found.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim())
}

/// Waits for what must happen.
pub(crate) async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it never happens")
}

/// An application whose part is played by the test.
pub(crate) struct Played {
    listener: TcpListener,
}

impl Played {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn target(&self) -> String {
        format!("\"{}\"", self.listener.local_addr().unwrap())
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> Raw<TcpStream> {
        Raw::of(patiently(self.listener.accept()).await.unwrap().0)
    }
}

/// Serves every request as `answer` says, body and all, over HTTP/1.1 and HTTP/2 with prior knowledge alike.
pub(crate) async fn served<F, A>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, hyper::Error>(answered.await) }
            });
            tokio::spawn(async move {
                let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                builder.http2().enable_connect_protocol();
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// A body that a test writes piece by piece.
pub(crate) struct Written(mpsc::Receiver<Frame<Bytes>>);

/// Where it is written.
#[derive(Clone)]
pub(crate) struct Pen(mpsc::Sender<Frame<Bytes>>);

impl Pen {
    pub(crate) async fn write(&self, data: impl Into<Bytes>) {
        patiently(self.0.send(Frame::data(data.into()))).await.unwrap();
    }

    /// Writes to somebody who may have gone.
    pub(crate) async fn try_write(&self, data: impl Into<Bytes>) -> bool {
        self.0.send(Frame::data(data.into())).await.is_ok()
    }

    /// The end, with trailers.
    pub(crate) async fn end_with(self, trailers: HeaderMap) {
        patiently(self.0.send(Frame::trailers(trailers))).await.unwrap();
    }
}

/// A body of unknown length, and its pen.
pub(crate) fn written() -> (Pen, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (Pen(sender), Written(receiver).map_err(|never| match never {}).boxed())
}

impl hyper::body::Body for Written {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// The next piece of a body's data; `None` at its end.
pub(crate) async fn piece(body: &mut Incoming) -> Option<String> {
    loop {
        let frame = patiently(body.frame()).await?.unwrap();
        let data = frame.into_data().unwrap();
        // HTTP/2 may say its end with a frame of nothing.
        if !data.is_empty() {
            return Some(String::from_utf8(data.to_vec()).unwrap());
        }
    }
}
