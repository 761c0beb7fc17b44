//! Back-pressure from end to end: whoever reads slowly slows down whoever writes, and nothing piles up between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt as _;
use svidgate::metrics::{Outcome, RequestOutcome};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::frames::{Frames, GET, HEADERS, RST_STREAM};
use super::scene::{Played, Raw, Scene, patiently, written};
use crate::harness::http::{Application, Client};
use crate::harness::until;

const INITIAL_WINDOW_SIZE: u16 = 4;
const WINDOW_UPDATE: u8 = 8;

const BODY: usize = 64 << 20;

/// What sockets of this machine take on their own, four of them in a row at most, and what the gate may hold.
const BETWEEN: usize = 28 << 20;

/// How long nothing moves where nothing can.
const STILL: Duration = Duration::from_millis(300);

/// Waits until a count has stopped.
async fn stopped(count: &AtomicUsize) -> usize {
    let mut last = count.load(Ordering::SeqCst);
    patiently(async {
        loop {
            tokio::time::sleep(STILL).await;
            let now = count.load(Ordering::SeqCst);
            if now == last && now > 0 {
                return now;
            }
            last = now;
        }
    })
    .await
}

/// An application that answers with as much as is taken of it, and the count of that.
async fn generous() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::<AtomicUsize>::default();
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            socket2::SockRef::from(&stream).set_send_buffer_size(64 << 10).unwrap();
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut app = Raw::of(stream);
                app.head().await;
                app.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n")).await;
                let mut stream = app.into_inner();
                let piece = vec![b'a'; 64 << 10];
                let mut all = 0;
                while all < BODY {
                    let written = stream.write(&piece).await?;
                    all += written;
                    counted.fetch_add(written, Ordering::SeqCst);
                }
                stream.shutdown().await
            });
        }
    });
    (address, count)
}

/// A connection that buffers little of what is not read, and sends at once what it is given.
async fn small(scene: &Scene, protocol: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let stream = socket.connect(scene.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    scene.peer.clone().offering(protocol).handshake(stream).await.unwrap()
}

async fn reads_slowly(mut client: Client, count: Arc<AtomicUsize>) {
    let request = client.request("GET", "/");
    let mut body = client.send(request).await.unwrap().into_body();
    let taken = stopped(&count).await;
    assert!(taken < BETWEEN, "the gate took {taken} bytes of which the client has read none");
    let mut read = 0;
    while let Some(frame) = patiently(body.frame()).await {
        read += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(read, BODY);
}

#[tokio::test]
async fn a_client_of_http1_that_does_not_read_stops_the_application() {
    let (address, count) = generous().await;
    let scene = Scene::before(&format!("\"{address}\""), "", "", "").await;
    reads_slowly(Client::http1(small(&scene, "http/1.1").await).await, count).await;
}

#[tokio::test]
async fn a_client_of_http2_that_does_not_read_stops_the_application() {
    let (address, count) = generous().await;
    let scene = Scene::before(&format!("\"{address}\""), "", "", "stream_buffer = \"64KiB\"").await;
    reads_slowly(Client::http2(small(&scene, "h2").await).await, count).await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_does_not_stop_the_others_of_its_connection() {
    let (address, count) = generous().await;
    let scene = Scene::before(&format!("\"{address}\""), "", "", "stream_buffer = \"64KiB\"").await;
    let mut client = scene.http2().await;
    let request = client.request("GET", "/");
    let unread = client.send(request).await.unwrap();
    stopped(&count).await;
    let hello = Application::start().await;
    let toml = crate::harness::http::inbound_http(&scene.world.path("orders"), &hello.target(), "", "", "");
    scene.gate.apply(&toml).await;
    assert_eq!(client.get("/").await.text(), "hello");
    drop(unread);
}

/// Sends a body to an application that does not read it.
async fn writes_to_nobody(mut client: Client, application: Played) {
    let (pen, body) = written();
    let mut request = client.request("POST", "/");
    *request.body_mut() = body;
    let count = Arc::<AtomicUsize>::default();
    let counted = count.clone();
    let writing: JoinHandle<()> = tokio::spawn(async move {
        while counted.load(Ordering::SeqCst) < BODY && pen.try_write(vec![b'a'; 64 << 10]).await {
            counted.fetch_add(64 << 10, Ordering::SeqCst);
        }
    });
    let asked = tokio::spawn(async move { client.ask(request).await });
    let mut app = application.accept().await;
    app.head().await;
    let taken = stopped(&count).await;
    assert!(taken < BETWEEN, "the gate took {taken} bytes of which the application has read none");
    app.skip_past("\r\n0\r\n\r\n").await;
    app.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    patiently(writing).await.unwrap();
    assert_eq!(patiently(asked).await.unwrap().status, 200);
    assert_eq!(count.load(Ordering::SeqCst), BODY);
}

#[tokio::test]
async fn an_application_that_does_not_read_stops_a_client_of_http1() {
    let (scene, application) = Scene::played("").await;
    writes_to_nobody(Client::http1(small(&scene, "http/1.1").await).await, application).await;
}

#[tokio::test]
async fn an_application_that_does_not_read_stops_a_client_of_http2() {
    let (scene, application) = Scene::played("stream_buffer = \"64KiB\"").await;
    writes_to_nobody(Client::http2(small(&scene, "h2").await).await, application).await;
}

#[tokio::test]
async fn the_streams_of_a_client_that_does_not_read_do_not_each_hold_what_one_may() {
    const STREAMS: u32 = 100;
    let (address, count) = generous().await;
    let scene = Scene::before(&format!("\"{address}\""), "", "", "connection_buffer = \"2MiB\"").await;
    let mut frames = Frames::open(&scene, &[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]).await;
    frames.say(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()).await;
    for stream in 0..STREAMS {
        frames.ask(1 + 2 * stream, &GET).await;
    }
    // `stream_buffer` is 1 MiB. The sockets between hold some, too.
    let taken = stopped(&count).await;
    assert!(taken < 100 << 20, "the gate took {taken} bytes of which the client has read none");
}

#[tokio::test]
async fn a_client_of_http1_that_never_reads_its_answer_is_cut() {
    let (address, _count) = generous().await;
    let scene = Scene::before(&format!("\"{address}\""), "", "", "[limits]\nidle_timeout = \"1s\"").await;
    let mut raw = Raw::of(small(&scene, "http/1.1").await);
    raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.head().await;
    until("it is counted", || scene.requests(RequestOutcome::Cut) == 1 && scene.closed(Outcome::Idle) == 1).await;
}

#[tokio::test]
async fn a_stream_of_http2_that_is_never_read_is_reset_and_its_connection_goes_on() {
    let (address, _count) = generous().await;
    let scene = Scene::before(&format!("\"{address}\""), "", "", "[limits]\nidle_timeout = \"1s\"").await;
    let mut frames = Frames::open(&scene, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    frames.ask(1, &GET).await;
    frames.ask(3, &GET).await;
    for _ in 0..2 {
        frames.until(&[RST_STREAM]).await;
    }
    until("both are counted", || scene.requests(RequestOutcome::Cut) == 2).await;
    frames.ask(5, &GET).await;
    assert_eq!(frames.until(&[HEADERS]).await.stream, 5);
}
