//! Upstream connections carry one request after the other, or many at once, and never an answer to somebody who did not ask for it.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use hyper::Response;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::harness::http::{Application, Client, full};
use crate::harness::process::{Running, free_address, until_open};
use crate::harness::{BATCH, ORDERS, WEB, World, until};
use crate::scene::Scene;
use crate::upstream::{Server, Service, both_versions, egress_to, egress_toml, head, soon, to_orders};

/// A service whose answers wait for leave.
async fn waiting(world: &World) -> (Service, Arc<Semaphore>) {
    let leave = Arc::new(Semaphore::new(0));
    let given = leave.clone();
    let service = Service::answering(both_versions(world.peer(ORDERS)), move |_| {
        let given = given.clone();
        Box::pin(async move {
            given.acquire().await.unwrap().forget();
            Response::new(full("hello"))
        })
    });
    (service.await, leave)
}

#[tokio::test]
async fn requests_of_many_clients_one_after_the_other_share_a_connection() {
    let world = World::new();
    let service = Service::orders(&world).await;
    let gate = egress_to(&world, service.address, "").await;
    for number in 0..20 {
        let mut client = Client::plain(gate.address(0)).await;
        let mut request = client.request(if number % 2 == 0 { "GET" } else { "POST" }, "/");
        *request.body_mut() = full("x".repeat(number * 1000));
        assert_eq!(client.ask(request).await.text(), "hello");
    }
    assert_eq!((service.seen().len(), service.opened()), (20, 1));
}

#[tokio::test]
async fn a_hundred_requests_at_once_are_streams_of_one_http_2_connection() {
    let world = World::new();
    let (service, leave) = waiting(&world).await;
    let gate = egress_to(&world, service.address, "").await;
    let Client::Http2(sender) = Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await else {
        unreachable!()
    };
    let asked = (0..100).map(|_| {
        let mut client = Client::Http2(sender.clone());
        tokio::spawn(async move { client.get("/").await })
    });
    let asked = asked.collect::<Vec<_>>();
    until("all are there at once", || service.seen().len() == 100).await;
    leave.add_permits(100);
    for one in asked {
        assert_eq!(soon(one).await.unwrap().text(), "hello");
    }
    assert_eq!(service.opened(), 1);
}

#[tokio::test]
async fn no_more_connections_wait_than_may() {
    let world = World::new();
    for (may, wait) in [(0, 0), (2, 2)] {
        let (service, leave) = waiting(&world).await;
        let limits = format!("[limits.http]\nmax_idle_upstream = {may}");
        let gate = egress_to(&world, service.address, &limits).await;
        let mut asked = Vec::new();
        for _ in 0..5 {
            let mut client = Client::plain(gate.address(0)).await;
            asked.push(tokio::spawn(async move { client.get("/").await }));
        }
        until("all are there at once", || service.seen().len() == 5).await;
        leave.add_permits(5);
        for one in asked {
            assert_eq!(soon(one).await.unwrap().text(), "hello");
        }
        until("the rest is closed", || service.open() == wait).await;
    }
}

#[tokio::test]
async fn connections_that_wait_give_their_descriptors_up_to_new_clients() {
    let (world, address) = (World::new(), free_address());
    let (service, leave) = waiting(&world).await;
    world.identity("web", WEB);
    let config = world.path("svidgate.toml");
    let toml = egress_toml(&world, &to_orders(service.address, ""));
    std::fs::write(&config, toml.replace("127.0.0.1:0", &address.to_string())).unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 96; exec \"$0\" run --config \"$1\"", env!("CARGO_BIN_EXE_svidgate")]);
    let mut gate = Running::start(limited.arg(&config));
    gate.says(&["new credentials are in use"]);
    until_open(address);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::plain(address).await;
        clients.push(tokio::spawn(async move {
            assert_eq!(soon(client.get("/")).await.text(), "hello");
            client
        }));
    }
    until("all are there at once", || service.seen().len() == 20).await;
    leave.add_permits(1000);
    let mut kept = Vec::new();
    for client in clients {
        kept.push(client.await.unwrap());
    }
    let taken = std::fs::read_dir(format!("/proc/{}/fd", gate.id())).unwrap().count();
    for _ in taken..96 + 10 {
        let mut client = Client::plain(address).await;
        assert_eq!(soon(client.get("/")).await.text(), "hello");
        kept.push(client);
    }
    assert!(!gate.printed().contains("cannot accept"), "{}", gate.printed());
    assert!(service.open() <= 10);
}

#[tokio::test]
async fn the_idle_connections_of_one_caller_do_not_keep_out_anothers() {
    let application = Application::start().await;
    let rules = format!("[[inbound.rule]]\npeers = [\"{BATCH}\"]");
    let scene = Scene::before(&application.target(), "", &rules, "max_idle_upstream = 1").await;
    let mut first = scene.http1().await;
    assert_eq!(first.get("/").await.status, 200);
    let mut second = Client::of_peer(&scene.world.peer(BATCH), scene.address()).await;
    for _ in 0..5 {
        assert_eq!(second.get("/").await.status, 200);
    }
    let connections: BTreeSet<_> = application.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections.len(), 2);
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_stop_the_others_on_its_upstream_connection() {
    let world = World::new();
    let service = Service::answering(both_versions(world.peer(ORDERS)), |seen| {
        let size = if seen.target.ends_with("/large") { 4 << 20 } else { 5 };
        Box::pin(async move { Response::new(full(vec![b'x'; size])) })
    })
    .await;
    let gate = egress_to(&world, service.address, "").await;
    let mut client = Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await;
    let mut unread = Vec::new();
    // More than `connection_buffer` has room for, each of them stopped by its window.
    for _ in 0..12 {
        let request = client.request("GET", "/large");
        unread.push(soon(client.send(request)).await.unwrap());
    }
    let mut other = Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await;
    for _ in 0..20 {
        assert_eq!(soon(other.get("/small")).await.text(), "xxxxx");
    }
    assert_eq!((service.opened(), unread.len()), (1, 12));
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_after_its_time() {
    let world = World::new();
    let service = Service::orders(&world).await;
    let gate = egress_to(&world, service.address, "[limits.http]\nupstream_keep_alive = \"1s\"").await;
    let mut clients =
        [Client::plain(gate.address(0)).await, Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await];
    for client in &mut clients {
        assert_eq!(client.get("/").await.text(), "hello");
    }
    assert_eq!((service.opened(), service.open()), (2, 2));
    until("both are closed", || service.open() == 0).await;
    for client in &mut clients {
        assert_eq!(client.get("/").await.text(), "hello");
    }
}

#[tokio::test]
async fn a_long_answer_is_no_idle_time() {
    let world = World::new();
    let (service, leave) = waiting(&world).await;
    let gate = egress_to(&world, service.address, "[limits.http]\nupstream_keep_alive = \"1s\"").await;
    let mut slow = Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await;
    let asked = tokio::spawn(async move { slow.get("/").await });
    until("it is there", || service.seen().len() == 1).await;
    // By then a connection that waits from now on is closed.
    let mut other = Client::plain(gate.address(0)).await;
    leave.add_permits(1);
    let _ = soon(asked).await.unwrap();
    let second = tokio::spawn(async move { other.get("/").await });
    until("the other is there", || service.seen().len() == 2).await;
    until("the first is closed", || service.open() == 1).await;
    leave.add_permits(1);
    assert_eq!(soon(second).await.unwrap().text(), "hello");
}

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

#[tokio::test]
async fn what_a_server_says_beyond_its_answer_is_nobodys_answer() {
    let world = World::new();
    let (begun, rest) = POISON.split_at(20);
    // The method, what comes with the answer, and what comes after the client has it.
    let cases = [
        ("GET", format!("{HELLO}{POISON}"), String::new()),
        ("GET", HELLO.to_owned(), POISON.to_owned()),
        ("GET", HELLO.to_owned(), "HTTP/1.1 4".to_owned()),
        ("GET", HELLO.to_owned(), "\r\n".to_owned()),
        ("GET", format!("{HELLO}{begun}"), rest.to_owned()),
        ("HEAD", HELLO.to_owned(), String::new()),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n".to_owned(),
            "Content-Length: 0\r\n\r\n".to_owned(),
        ),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 38\r\n\r\n".to_owned(), String::new()),
        ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), String::new()),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 38\r\n\r\n{POISON}"), String::new()),
        ("GET", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{POISON}"), String::new()),
    ];
    for (method, answer, after) in cases {
        let server = Server::orders(&world).await;
        let gate = egress_to(&world, server.address, "").await;
        let mut client = Client::plain(gate.address(0)).await;
        let request = client.request(method, "/");
        let asked = tokio::spawn(async move {
            let answer = client.ask(request).await;
            (answer, client)
        });
        let mut stream = server.accept().await;
        head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let (told, mut client) = soon(asked).await.unwrap();
        assert!(!told.text().contains("poison"), "{told:?}");
        let _ = stream.write_all(after.as_bytes()).await;
        let _ = stream.flush().await;
        let asked = tokio::spawn(async move { client.get("/next").await });
        let mut next = server.accept().await;
        assert!(head(&mut next).await.starts_with("GET /next "));
        next.write_all(HELLO.as_bytes()).await.unwrap();
        assert_eq!(soon(asked).await.unwrap().text(), "hello", "{method} {answer:?} {after:?}");
    }
}

#[tokio::test]
async fn a_server_that_wants_to_close_its_connection_gets_no_further_request_on_it() {
    let world = World::new();
    let server = Server::orders(&world).await;
    let gate = egress_to(&world, server.address, "").await;
    let mut client = Client::plain(gate.address(0)).await;
    for answer in [HELLO.replace("OK\r\n", "OK\r\nConnection: close\r\n"), HELLO.replace("1.1", "1.0")] {
        let asked = tokio::spawn(async move {
            let answer = client.get("/").await;
            (answer, client)
        });
        let mut stream = server.accept().await;
        head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (told, back) = soon(asked).await.unwrap();
        // What the server wants of us is nothing to the client.
        assert_eq!((told.text(), told.header("connection")), ("hello", None));
        client = back;
    }
}
