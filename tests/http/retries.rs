//! A request is sent once more only where nothing can be lost by it, and the client of one that is does not notice.

use svidgate::metrics::RequestOutcome;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

use crate::frames::{END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM};
use crate::harness::http::{Answer, Client, full};
use crate::harness::{Gate, ORDERS, World};
use crate::logged::Logged;
use crate::upstream::{Server, egress_to, ended, head, soon};

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A client that sends requests one by one: method, and body if any.
struct Asking {
    ask: mpsc::UnboundedSender<(&'static str, &'static str)>,
    answers: mpsc::UnboundedReceiver<Answer>,
    _client: JoinHandle<()>,
}

impl Asking {
    async fn on(gate: &Gate, is_http2: bool) -> Self {
        let tcp = TcpStream::connect(gate.address(0)).await.unwrap();
        let mut client = if is_http2 { Client::http2(tcp).await } else { Client::http1(tcp).await };
        let (ask, mut asked) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel();
        let _client = tokio::spawn(async move {
            while let Some((method, body)) = asked.recv().await {
                let mut request = client.request(method, "/");
                *request.body_mut() = full(body);
                answer.send(client.ask(request).await).unwrap();
            }
        });
        Self { ask, answers, _client }
    }

    fn ask(&self, method: &'static str, body: &'static str) {
        self.ask.send((method, body)).unwrap();
    }

    async fn answer(&mut self) -> Answer {
        soon(self.answers.recv()).await.unwrap()
    }

    async fn is_told_that_the_upstream_failed(&mut self) {
        let answer = self.answer().await;
        assert_eq!((answer.status.as_u16(), &*answer.class()), (502, "upstream_failed"));
    }
}

/// A server with a connection on which one request was answered, and the client that asked it.
async fn reused(world: &World) -> (Gate, Asking, Server, TlsStream<TcpStream>) {
    let server = Server::orders(world).await;
    let gate = egress_to(world, server.address, "[log]\nrequests = \"all\"").await;
    let mut client = Asking::on(&gate, false).await;
    client.ask("GET", "");
    let mut stream = server.accept().await;
    head(&mut stream).await;
    stream.write_all(HELLO.as_bytes()).await.unwrap();
    assert_eq!(client.answer().await.text(), "hello");
    (gate, client, server, stream)
}

/// Answers the next request on a new connection.
async fn answered_anew(server: &Server) -> String {
    let mut stream = server.accept().await;
    let asked = head(&mut stream).await;
    stream.write_all(HELLO.as_bytes()).await.unwrap();
    asked
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_waited_costs_no_request() {
    let world = World::new();
    for (method, body) in [("GET", ""), ("POST", "an order")] {
        let (gate, mut client, server, stream) = reused(&world).await;
        drop(stream);
        client.ask(method, body);
        answered_anew(&server).await;
        assert_eq!(client.answer().await.text(), "hello");
        assert_eq!(ended(&gate, RequestOutcome::UpstreamFailed), 0);
    }
}

#[tokio::test]
async fn what_means_the_same_twice_is_sent_again_when_a_reused_connection_dies_under_it() {
    let world = World::new();
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let log = Logged::begin();
        let (_gate, mut client, server, mut stream) = reused(&world).await;
        client.ask(method, "");
        let first = head(&mut stream).await;
        drop(stream);
        assert_eq!(answered_anew(&server).await, first);
        assert_eq!(client.answer().await.status, 200);
        let lines = log.requests();
        assert!(!lines[0].contains("resend_count"), "{lines:#?}");
        assert!(lines[1].contains("http.request.resend_count=1 "), "{lines:#?}");
    }
}

#[tokio::test]
async fn what_may_have_been_done_is_not_sent_again() {
    let world = World::new();
    // The method, a body, and what the server says before it dies.
    let cases = [
        ("POST", "", ""),
        ("POST", "an order", ""),
        ("PATCH", "", ""),
        ("PUT", "with a body", ""),
        ("GET", "", "H"),
        ("GET", "", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"),
        ("GET", "", "HTTP/1.1 103 Early Hints\r\n\r\n"),
    ];
    for (method, body, said) in cases {
        let (gate, mut client, server, mut stream) = reused(&world).await;
        client.ask(method, body);
        head(&mut stream).await;
        stream.write_all(said.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let _ = stream.shutdown().await;
        drop(stream);
        client.is_told_that_the_upstream_failed().await;
        assert_eq!(ended(&gate, RequestOutcome::UpstreamFailed), 1, "{method} {body:?} {said:?}");
        // The next connection carries the next request, and nothing was on it before.
        client.ask("GET", "");
        assert!(answered_anew(&server).await.starts_with("GET / "), "{method} {body:?} {said:?}");
        assert_eq!(client.answer().await.text(), "hello");
    }
}

#[tokio::test]
async fn a_new_connection_that_dies_is_not_tried_again() {
    let world = World::new();
    let server = Server::orders(&world).await;
    let gate = egress_to(&world, server.address, "").await;
    let mut client = Asking::on(&gate, false).await;
    client.ask("GET", "");
    let mut stream = server.accept().await;
    head(&mut stream).await;
    drop(stream);
    client.is_told_that_the_upstream_failed().await;
}

#[tokio::test]
async fn several_dead_connections_in_a_row_do_not_make_a_request_fail() {
    let world = World::new();
    let server = Server::orders(&world).await;
    let gate = egress_to(&world, server.address, "").await;
    let (mut clients, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let client = Asking::on(&gate, false).await;
        client.ask("GET", "");
        let mut stream = server.accept().await;
        head(&mut stream).await;
        clients.push(client);
        streams.push(stream);
    }
    for (client, stream) in clients.iter_mut().zip(&mut streams) {
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        assert_eq!(client.answer().await.text(), "hello");
    }
    clients[0].ask("GET", "");
    // The one used last goes first.
    head(&mut streams[2]).await;
    streams.clear();
    answered_anew(&server).await;
    assert_eq!(clients[0].answer().await.text(), "hello");
}

/// The HTTP/2 server's side of a connection on which one request was answered.
async fn reused_http2(world: &World) -> (Gate, Asking, Server, Frames<TlsStream<TcpStream>>) {
    let server = Server::of(&world.peer(ORDERS).offering("h2")).await;
    let gate = egress_to(world, server.address, "").await;
    let mut client = Asking::on(&gate, true).await;
    client.ask("GET", "");
    let mut frames = Frames::serve(server.accept().await).await;
    answer(&mut frames).await;
    assert_eq!(client.answer().await.status, 204);
    (gate, client, server, frames)
}

/// Answers the next request, and gives the number of its stream.
async fn answer(frames: &mut Frames<TlsStream<TcpStream>>) -> u32 {
    let stream = frames.until(&[HEADERS]).await.stream;
    // `:status: 204` of the static table (RFC 7541 appendix A).
    assert!(frames.say(HEADERS, END_HEADERS | END_STREAM, stream, &[0x89]).await);
    stream
}

#[tokio::test]
async fn what_an_http_2_server_refused_to_look_at_is_sent_again_whatever_it_is() {
    const REFUSED_STREAM: [u8; 4] = 7_u32.to_be_bytes();
    let world = World::new();
    for method in ["GET", "POST"] {
        let (gate, mut client, _server, mut frames) = reused_http2(&world).await;
        client.ask(method, "");
        let stream = frames.until(&[HEADERS]).await.stream;
        assert!(frames.say(RST_STREAM, 0, stream, &REFUSED_STREAM).await);
        answer(&mut frames).await;
        assert_eq!(client.answer().await.status, 204);
        assert_eq!(ended(&gate, RequestOutcome::Answered), 2);
    }
}

#[tokio::test]
async fn what_came_after_the_last_stream_of_a_goaway_is_sent_again_whatever_it_is() {
    let world = World::new();
    for method in ["GET", "POST"] {
        let (_gate, mut client, server, mut frames) = reused_http2(&world).await;
        client.ask(method, "");
        frames.until(&[HEADERS]).await;
        // The last stream that it looked at was the first, without an error.
        assert!(frames.say(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).await);
        let mut next = Frames::serve(server.accept().await).await;
        answer(&mut next).await;
        assert_eq!(client.answer().await.status, 204);
    }
}

#[tokio::test]
async fn what_an_http_2_server_reset_for_another_reason_is_not_sent_again() {
    let world = World::new();
    let (_gate, mut client, _server, mut frames) = reused_http2(&world).await;
    client.ask("GET", "");
    let stream = frames.until(&[HEADERS]).await.stream;
    assert!(frames.say(RST_STREAM, 0, stream, &2_u32.to_be_bytes()).await);
    client.is_told_that_the_upstream_failed().await;
    client.ask("GET", "");
    answer(&mut frames).await;
    assert_eq!(client.answer().await.status, 204);
}

#[tokio::test]
async fn a_get_is_sent_again_when_its_http_2_connection_dies_and_a_post_is_not() {
    let world = World::new();
    let (_gate, mut client, server, mut frames) = reused_http2(&world).await;
    client.ask("GET", "");
    frames.until(&[HEADERS]).await;
    drop(frames);
    let mut frames = Frames::serve(server.accept().await).await;
    answer(&mut frames).await;
    assert_eq!(client.answer().await.status, 204);
    client.ask("POST", "");
    frames.until(&[HEADERS]).await;
    drop(frames);
    client.is_told_that_the_upstream_failed().await;
}
