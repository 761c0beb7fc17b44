//! HTTP/2 frame by frame (RFC 9113 §4, RFC 7541 without tables): for what a client of good manners would not send.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::scene::{Scene, patiently};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;

/// A GET of `/` at the host `orders.example`.
pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "orders.example"), (":path", "/")];

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM and GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection of HTTP/2.
pub(crate) struct Frames<S = TlsStream<TcpStream>> {
    stream: S,
    pub(crate) answers_pings: bool,
}

impl Frames {
    /// Says the preface and `settings`, each a number and a value.
    pub(crate) async fn open(scene: &Scene, settings: &[(u16, u32)]) -> Self {
        Self::with(scene.stream_http2().await, settings).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// The client's side of `stream`, with settings that change nothing.
    pub(crate) async fn on(stream: S) -> Self {
        Self::with(stream, &[]).await
    }

    async fn with(stream: S, settings: &[(u16, u32)]) -> Self {
        let mut frames = Self { stream, answers_pings: true };
        let payload: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        // Who takes no HTTP/2 may have hung up before the settings.
        frames.say_raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.say(SETTINGS, 0, 0, &payload).await;
        frames
    }

    /// The server's side: hears the preface, and says settings that change nothing.
    pub(crate) async fn serve(mut stream: S) -> Self {
        let mut preface = [0; 24];
        patiently(stream.read_exact(&mut preface)).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut frames = Self { stream, answers_pings: true };
        assert!(frames.say(SETTINGS, 0, 0, &[]).await);
        frames
    }

    /// Whether anybody was there to take it.
    pub(crate) async fn say(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.say_raw(&frame).await
    }

    pub(crate) async fn say_raw(&mut self, bytes: &[u8]) -> bool {
        let said = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        patiently(said).await.is_ok()
    }

    /// A whole request without a body.
    pub(crate) async fn ask(&mut self, stream: u32, headers: &[(&str, &str)]) -> bool {
        self.say(HEADERS, END_HEADERS | END_STREAM, stream, &block(headers)).await
    }

    /// The next frame; `None` at the end, clean or not.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        patiently(self.stream.read_exact(&mut head)).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        patiently(self.stream.read_exact(&mut payload)).await.ok()?;
        if kind == PING && flags & ACK == 0 && self.answers_pings {
            self.say(PING, ACK, 0, &payload).await;
        }
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame of one of these kinds.
    pub(crate) async fn until(&mut self, kinds: &[u8]) -> Frame {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("it ended without one of {kinds:?}"));
            if kinds.contains(&frame.kind) {
                return frame;
            }
        }
    }
}

/// A header block of literals that nobody remembers.
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

fn text(block: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length @ ..127) => block.push(length),
        _ => {
            block.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap());
        }
    }
    block.extend(text.as_bytes());
}
