//! What the HTTP tests share: applications that answer as a test says, clients that speak through the gate, and raw bytes where a client of good
//! manners would not do.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{PATIENCE, Peer};

pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// A whole body.
pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// A request as an application saw it, its body read to the end.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
    /// The number of the connection that it came on, from 0.
    pub(crate) connection: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// An application behind the gate.
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

impl Application {
    /// One that answers every request with 200 and `hello`, over HTTP/1.1 and HTTP/2 with prior knowledge alike.
    pub(crate) async fn start() -> Self {
        Self::answering(|_| Box::pin(async { Response::new(full("hello")) })).await
    }

    /// One that answers as `answer` says.
    pub(crate) async fn answering(answer: impl Fn(Seen) -> Answering + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let all = seen.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (answer, all) = (answer.clone(), all.clone());
                let service = service_fn(move |request| {
                    let (answer, all) = (answer.clone(), all.clone());
                    async move {
                        let seen = read(request, connection).await?;
                        all.lock().unwrap().push(seen.clone());
                        Ok::<_, hyper::Error>(answer(seen).await)
                    }
                });
                tokio::spawn(async move {
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, seen }
    }

    /// Its address as a TOML value.
    pub(crate) fn target(&self) -> String {
        format!("\"{}\"", self.address)
    }

    /// All that it has seen.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The only request that it has seen.
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen[0].clone()
    }
}

async fn read(request: Request<Incoming>, connection: usize) -> Result<Seen, hyper::Error> {
    let (parts, body) = request.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned();
    Ok(Seen {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: collected.to_bytes(),
        trailers,
        connection,
    })
}

/// An answer with its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) async fn of(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (parts, body) = response.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        Ok(Self { status: parts.status, headers: parts.headers, body: collected.to_bytes(), trailers })
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The member `class` of a problem of ours (RFC 9457).
    pub(crate) fn class(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["id"], self.header("svidgate-id").unwrap());
        problem["class"].as_str().unwrap().to_owned()
    }
}

/// A client's connection that speaks HTTP/1.1 or HTTP/2.
pub(crate) enum Client {
    Http1(hyper::client::conn::http1::SendRequest<Body>),
    Http2(hyper::client::conn::http2::SendRequest<Body>),
}

impl Client {
    /// HTTP/1.1 on any stream.
    pub(crate) async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self::Http1(sender)
    }

    /// HTTP/2 on any stream.
    pub(crate) async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    /// A peer's connection to an inbound listener, HTTP/1.1.
    pub(crate) async fn of_peer(peer: &Peer, address: SocketAddr) -> Self {
        Self::http1(peer.clone().offering("http/1.1").connect(address).await.unwrap()).await
    }

    /// A peer's connection to an inbound listener, HTTP/2.
    pub(crate) async fn of_peer_http2(peer: &Peer, address: SocketAddr) -> Self {
        Self::http2(peer.clone().offering("h2").connect(address).await.unwrap()).await
    }

    /// An application's connection to an outbound listener, HTTP/1.1.
    pub(crate) async fn plain(address: SocketAddr) -> Self {
        Self::http1(TcpStream::connect(address).await.unwrap()).await
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        let sent = async {
            match self {
                Self::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Self::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        tokio::time::timeout(PATIENCE, sent).await.expect("no answer at all")
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: Request<Body>) -> Answer {
        let answered = async { Answer::of(self.send(request).await?).await };
        tokio::time::timeout(PATIENCE, answered).await.expect("the answer does not end").unwrap()
    }

    /// GETs a path of the host `orders.example`.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = self.request("GET", path);
        self.ask(request).await
    }

    /// A request without a body for the host `orders.example`.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request<Body> {
        let builder = Request::builder().method(method);
        let builder = match self {
            Self::Http1(_) => builder.uri(path).header("host", "orders.example"),
            Self::Http2(_) => builder.uri(format!("https://orders.example{path}")),
        };
        builder.body(full("")).unwrap()
    }
}

/// Says raw bytes and reads all that comes back until the end, or until nothing more can come.
pub(crate) async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, said: &[u8]) -> String {
    let _ = stream.write_all(said).await;
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("the connection does not end");
    String::from_utf8_lossy(&heard).into_owned()
}

/// One inbound HTTP listener named `orders` that lets the web frontend in. `listener` and `rules` are more lines, `limits` those of
/// `[limits.http]`.
pub(crate) fn inbound_http(
    identity: &std::path::Path,
    target: &str,
    listener: &str,
    rules: &str,
    limits: &str,
) -> String {
    format!(
        r#"
        [identity]
        dir = "{}"
        [[inbound]]
        name = "orders"
        listen = "127.0.0.1:0"
        protocol = "http"
        target = {target}
        {listener}
        [[inbound.rule]]
        name = "callers"
        peers = ["{}"]
        {rules}
        [limits.http]
        {limits}
        "#,
        identity.display(),
        super::WEB,
    )
}
