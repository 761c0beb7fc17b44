//! The way out for an application: plaintext HTTP from it, mutual TLS to the service, in the version that it asked in; and what it is told where
//! that cannot be.

use std::io;
use std::time::Duration;

use hyper::Response;
use svidgate::metrics::RequestOutcome;
use svidgate::mint::{Issue, bundle_map};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::harness::http::{Application, Client, full, inbound_http};
use crate::harness::{BATCH, Gate, ORDERS, WEB, World, authority, id, until};
use crate::logged::Logged;
use crate::upstream::{
    Server, Service, both_versions, deserted, egress, egress_to, egress_toml, ended, head, soon, to_orders,
};

#[tokio::test]
async fn a_request_goes_on_in_the_version_that_it_came_in() {
    let world = World::new();
    let service = Service::orders(&world).await;
    let gate = egress_to(&world, service.address, "").await;
    let http1 = Client::plain(gate.address(0)).await;
    let http2 = Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await;
    let mut clients = [http1, http2];
    for turn in [0, 1, 0, 1] {
        let answer = clients[turn].get("/orders/5?full=1").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello"));
        assert!(answer.header("via").is_some_and(|via| via.contains("svidgate")), "{answer:?}");
    }
    assert_eq!(service.versions(), [1, 2, 1, 2]);
    for seen in service.seen() {
        assert!(seen.target.ends_with("/orders/5?full=1"), "{seen:?}");
        assert_eq!(seen.header("host").unwrap_or("orders.example"), "orders.example");
        assert_eq!(seen.header("x-forwarded-client-cert"), None);
    }
    // One connection for each version.
    assert_eq!(service.opened(), 2);
    assert_eq!(ended(&gate, RequestOutcome::Answered), 4);
}

#[tokio::test]
async fn what_the_application_says_of_identities_goes_no_further() {
    let world = World::new();
    let service = Service::orders(&world).await;
    let gate = egress_to(&world, service.address, "").await;
    let mut client = Client::plain(gate.address(0)).await;
    let mut request = client.request("GET", "/");
    for name in ["x-forwarded-client-cert", "client-cert", "client-cert-chain", "x-spiffe-id", "x_spiffe_id"] {
        request.headers_mut().insert(name, "By=spiffe://prod.example/root".parse().unwrap());
    }
    assert_eq!(client.ask(request).await.status, 200);
    let seen = &service.seen()[0];
    assert!(!format!("{:?}", seen.headers).contains("prod.example"), "{seen:?}");
}

#[tokio::test]
async fn http_2_goes_on_as_http_1_1_where_the_peer_agrees_to_nothing_else() {
    let world = World::new();
    for peer in [world.peer(ORDERS).offering("http/1.1"), world.peer(ORDERS)] {
        let service = Service::of(peer).await;
        let gate = egress_to(&world, service.address, "").await;
        let client = Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await;
        let Client::Http2(sender) = client else { unreachable!() };
        let many = (0..20).map(|_| {
            let mut client = Client::Http2(sender.clone());
            tokio::spawn(async move { client.get("/").await })
        });
        for one in many.collect::<Vec<_>>() {
            assert_eq!(soon(one).await.unwrap().text(), "hello");
        }
        assert!(service.versions().iter().all(|version| *version == 1));
        assert_eq!(service.seen()[0].header("host"), Some("orders.example"));
    }
}

#[tokio::test]
async fn with_h2_alone_in_alpn_every_request_goes_on_as_http_2() {
    let world = World::new();
    let service = Service::orders(&world).await;
    let gate = egress_to(&world, service.address, "alpn = [\"h2\"]").await;
    let mut client = Client::plain(gate.address(0)).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "hello");
    }
    assert_eq!((service.versions(), service.opened()), (vec![2; 3], 1));

    let old = Service::of(world.peer(ORDERS).offering("http/1.1")).await;
    let gate = egress_to(&world, old.address, "alpn = [\"h2\"]").await;
    let answer = Client::plain(gate.address(0)).await.get("/").await;
    assert_eq!((answer.status.as_u16(), &*answer.class()), (502, "upstream_failed"));
    assert!(old.seen().is_empty());
}

#[tokio::test]
async fn a_server_of_another_id_gets_no_byte_of_a_request() {
    let world = World::new();
    let other = authority("other.example");
    let wrong = [world.peer(BATCH), crate::harness::Peer::issued_by(&other, ORDERS)];
    for peer in wrong {
        let log = Logged::begin();
        let raw = Server::of(&peer).await;
        let gate = egress_to(&world, raw.address, "").await;
        let asked = tokio::spawn(async move {
            let mut client = Client::plain(gate.address(0)).await;
            let mut request = client.request("POST", "/secret");
            *request.body_mut() = full("a secret");
            client.ask(request).await
        });
        let mut said = Vec::new();
        let tcp = raw.accept_tcp().await;
        // Either the handshake ends with the alert, or in TLS 1.3 the server thinks itself done and reads it.
        if let Ok(mut tls) = raw.secure(tcp).await {
            let _ = soon(tls.read_to_end(&mut said)).await;
        }
        assert_eq!(said, b"");
        let answer = soon(asked).await.unwrap();
        assert_eq!((answer.status.as_u16(), &*answer.class()), (502, "upstream_failed"));
        let line = log.only().await;
        assert!(line.contains("outcome=\"upstream_failed\"") && line.contains("no mutual TLS with"), "{line}");
        assert!(line.contains(answer.header("svidgate-id").unwrap()), "{line}");
        assert!(!answer.text().contains("TLS") && !answer.text().contains("spiffe"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_request_without_credentials_is_answered_503_and_the_next_with_them_goes_through() {
    let world = World::new();
    let service = Service::orders(&world).await;
    std::fs::create_dir_all(world.path("web")).unwrap();
    let gate = Gate::start_waiting(&egress_toml(&world, &to_orders(service.address, "")));
    let mut client = Client::plain(gate.address(0)).await;
    let answer = client.get("/").await;
    assert_eq!((answer.status.as_u16(), &*answer.class()), (503, "overloaded"));
    assert_eq!(service.opened(), 0);
    world.identity("web", WEB);
    soon(gate.handle.ready()).await;
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn with_an_expired_certificate_of_our_own_requests_are_answered_503_and_no_server_is_blamed() {
    let world = World::new();
    let log = Logged::begin();
    let service = Service::orders(&world).await;
    let write = |lifetime: Duration| {
        let issued = world.prod.issue_as(&id(WEB), Issue::lasting(lifetime)).unwrap();
        world.write_identity("web", &issued, &bundle_map(&[&world.prod]));
    };
    write(Duration::from_secs(2));
    let gate = Gate::start(&egress_toml(&world, &to_orders(service.address, ""))).await;
    let mut client = Client::plain(gate.address(0)).await;
    assert_eq!(client.get("/").await.status, 200);
    until("it is expired", || {
        let current = gate.handle.credentials().current().unwrap();
        current.usable_at(svidgate::spiffe::UnixTime::now()).is_err()
    })
    .await;
    for _ in 0..5 {
        let answer = client.get("/").await;
        assert_eq!((answer.status.as_u16(), &*answer.class()), (503, "overloaded"));
    }
    let lines = log.requests();
    assert!(lines[0].contains("expired") && lines[0].contains("outcome=\"overloaded\""), "{lines:#?}");
    write(Duration::from_secs(3600));
    let mut renewed = false;
    while !renewed {
        renewed = client.get("/").await.status == 200;
    }
}

#[tokio::test]
async fn a_target_that_nobody_answers_at_is_a_502_whose_reason_only_the_log_has() {
    let (world, log) = (World::new(), Logged::begin());
    let free = deserted();
    let gate = egress_to(&world, free, "").await;
    let answer = Client::plain(gate.address(0)).await.get("/orders").await;
    assert_eq!((answer.status.as_u16(), &*answer.class()), (502, "upstream_failed"));
    assert!(!answer.text().contains(&free.port().to_string()), "{answer:?}");
    let line = log.only().await;
    assert!(line.contains(&format!("{free} cannot be reached")) && line.contains("refused"), "{line}");
    assert!(line.contains(&format!("network.peer.address=\"{free}\"")), "{line}");
    assert!(!line.contains("resend_count"), "there was nobody else to try: {line}");
    assert_eq!(ended(&gate, RequestOutcome::UpstreamFailed), 1);
}

#[tokio::test]
async fn grpc_learns_of_a_dead_target_by_its_own_status() {
    let world = World::new();
    let free = deserted();
    let gate = egress_to(&world, free, "").await;
    let mut client = Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await;
    let mut request = client.request("POST", "/orders.Orders/Get");
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let answer = client.ask(request).await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, Some("14")));
}

/// What a server says before it hangs up, and what its client makes of it.
#[tokio::test]
async fn a_server_that_hangs_up_before_the_head_is_whole_is_a_502() {
    let world = World::new();
    for said in ["", "HTTP/1.1 200 OK\r\nContent-Le", "SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 200 OK\r\nA B: c\r\n\r\n"] {
        let raw = Server::orders(&world).await;
        let gate = egress_to(&world, raw.address, "").await;
        let asked = tokio::spawn(async move { Client::plain(gate.address(0)).await.get("/").await });
        let mut stream = raw.accept().await;
        head(&mut stream).await;
        stream.write_all(said.as_bytes()).await.unwrap();
        let _ = stream.shutdown().await;
        let answer = soon(asked).await.unwrap();
        assert_eq!((answer.status.as_u16(), &*answer.class()), (502, "upstream_failed"), "{said:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_in_its_body_never_ends_cleanly() {
    let world = World::new();
    let framings = ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "\r\nhalf"];
    for (framing, is_http2) in framings.iter().flat_map(|framing| [(framing, false), (framing, true)]) {
        let raw = Server::orders(&world).await;
        let gate = egress_to(&world, raw.address, "").await;
        let tcp = TcpStream::connect(gate.address(0)).await.unwrap();
        let mut client = if is_http2 { Client::http2(tcp).await } else { Client::http1(tcp).await };
        let request = client.request("GET", "/");
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let asked = tokio::spawn(async move {
            let response = client.send(request).await.unwrap();
            begun.send(response.status().as_u16()).unwrap();
            (http_body_util::BodyExt::collect(response.into_body()).await.is_err(), client)
        });
        let mut stream = raw.accept().await;
        head(&mut stream).await;
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(soon(has_begun).await.unwrap(), 200);
        // Without close_notify: an end that anybody on the way could have made.
        drop(stream.into_inner().0);
        let (is_broken, _client) = soon(asked).await.unwrap();
        assert!(is_broken, "{framing:?}, HTTP/2: {is_http2}");
        until("it is counted", || ended(&gate, RequestOutcome::UpstreamBroken) == 1).await;
    }
}

#[tokio::test]
async fn an_answer_to_an_old_client_that_breaks_off_ends_with_a_reset() {
    let world = World::new();
    let raw = Server::orders(&world).await;
    let gate = egress_to(&world, raw.address, "").await;
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    client.write_all(b"GET / HTTP/1.0\r\nHost: orders.example\r\n\r\n").await.unwrap();
    let mut stream = raw.accept().await;
    head(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await.unwrap();
    drop(stream.into_inner().0);
    let error = soon(client.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_early_answer_from_a_server_is_passed_on_and_its_connection_given_up() {
    let world = World::new();
    let raw = Server::orders(&world).await;
    let gate = egress_to(&world, raw.address, "").await;
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: orders.example\r\nContent-Length: 1000\r\n\r\nbegun").await.unwrap();
    let mut stream = raw.accept().await;
    head(&mut stream).await;
    stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nno!").await.unwrap();
    let told = head(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
    let mut body = [0; 3];
    soon(client.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"no!");
    // A connection with half a request on it takes no further one.
    let mut said = Vec::new();
    let _ = soon(stream.read_to_end(&mut said)).await;
    assert_eq!(said, b"begun");
}

/// An application that changes to a protocol which echoes.
async fn echoing_after_upgrade() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let asked = head(&mut tcp).await.to_lowercase();
                assert!(asked.contains("upgrade: echo\r\n") && asked.contains("connection: upgrade\r\n"), "{asked}");
                // The first bytes of the new protocol together with the head.
                let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nready ";
                tcp.write_all(agreed.as_bytes()).await?;
                let (mut reader, mut writer) = tcp.split();
                tokio::io::copy(&mut reader, &mut writer).await?;
                writer.shutdown().await
            });
        }
    });
    address
}

#[tokio::test]
async fn an_upgrade_goes_through_both_proxies_and_carries_bytes_and_ends_both_ways() {
    let world = World::new();
    let target = format!("\"{}\"", echoing_after_upgrade().await);
    let inbound = Gate::start(&inbound_http(&world.identity("orders", ORDERS), &target, "", "", "")).await;
    let gate = egress_to(&world, inbound.address(0), "").await;
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    let asks = "GET /chat HTTP/1.1\r\nHost: orders.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    client.write_all(asks.as_bytes()).await.unwrap();
    let agreed = head(&mut client).await;
    assert!(agreed.starts_with("HTTP/1.1 101 ") && agreed.to_lowercase().contains("upgrade: echo"), "{agreed}");
    let mut heard = [0; 10];
    client.write_all(b"ping").await.unwrap();
    soon(client.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"ready ping");
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon(client.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"last");
    until("it is counted", || ended(&gate, RequestOutcome::Tunnelled) == 1).await;
}

#[tokio::test]
async fn an_upgrade_that_the_application_declines_is_an_ordinary_answer() {
    let world = World::new();
    let application = Application::start().await;
    let inbound = inbound_http(&world.identity("orders", ORDERS), &application.target(), "", "", "");
    let inbound = Gate::start(&inbound).await;
    let gate = egress_to(&world, inbound.address(0), "").await;
    let mut client = Client::plain(gate.address(0)).await;
    for _ in 0..2 {
        let mut request = client.request("GET", "/chat");
        request.headers_mut().insert("connection", "upgrade".parse().unwrap());
        request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
        assert_eq!(client.ask(request).await.text(), "hello");
    }
}

#[tokio::test]
async fn requests_in_flight_are_answered_while_the_gate_drains() {
    let world = World::new();
    let leave: &'static Semaphore = Box::leak(Box::new(Semaphore::new(0)));
    let service = Service::answering(both_versions(world.peer(ORDERS)), |_| {
        Box::pin(async {
            let _leave = leave.acquire().await.unwrap();
            Response::new(full("after all"))
        })
    })
    .await;
    let gate = egress_to(&world, service.address, "").await;
    let mut asked = Vec::new();
    for is_http2 in [false, true, false, true] {
        let tcp = TcpStream::connect(gate.address(0)).await.unwrap();
        let mut client = if is_http2 { Client::http2(tcp).await } else { Client::http1(tcp).await };
        asked.push(tokio::spawn(async move { client.get("/").await }));
    }
    until("all are there", || service.seen().len() == 4).await;
    let idle = Client::plain(gate.address(0)).await;
    let address = gate.address(0);
    let stopped = tokio::spawn(gate.stop());
    until("nobody new is let in", || std::net::TcpStream::connect(address).is_err()).await;
    leave.add_permits(4);
    for one in asked {
        let answer = soon(one).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "after all"));
    }
    drop(idle);
    assert_eq!(soon(stopped).await.unwrap(), svidgate::app::Drained::Clean);
}

#[tokio::test]
async fn a_listener_without_routes_takes_every_host() {
    let world = World::new();
    let service = Service::orders(&world).await;
    let gate = egress(&world, &to_orders(service.address, "")).await;
    let mut client = Client::plain(gate.address(0)).await;
    for host in ["127.0.0.1:8080", "orders", "[::1]:9", "Other.Example."] {
        let mut request = client.request("GET", "/");
        request.headers_mut().insert("host", host.parse().unwrap());
        assert_eq!(client.ask(request).await.status, 200, "{host}");
    }
    let hosts = service.seen().iter().map(|seen| seen.header("host").unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(hosts, ["127.0.0.1:8080", "orders", "[::1]:9", "other.example"]);
}
