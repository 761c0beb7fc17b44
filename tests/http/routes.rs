//! One way out to many services: routes by host, the application's forward proxy, and tunnels that it asks for with CONNECT.

use hyper::Request;
use svidgate::metrics::RequestOutcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::http::{Client, full};
use crate::harness::{BATCH, Gate, ORDERS, WEB, World, echo_application, inbound_toml, until};
use crate::logged::Logged;
use crate::upstream::{
    Server, Service, behind_unix_socket, both_versions, deserted, egress, egress_toml, ended, head, soon, to_orders,
};

/// A route as TOML. `target` and `expect` without quotes.
fn route(hosts: &str, target: &impl ToString, expect: &str) -> String {
    let target = target.to_string();
    format!("[[outbound.route]]\nhosts = [\"{hosts}\"]\ntarget = \"{target}\"\nexpect = [\"{expect}\"]\n")
}

async fn ask_host(client: &mut Client, host: &str) -> crate::harness::http::Answer {
    let mut request = client.request("GET", "/");
    match client {
        Client::Http1(_) => _ = request.headers_mut().insert("host", host.parse().unwrap()),
        Client::Http2(_) => *request.uri_mut() = format!("http://{host}/").parse().unwrap(),
    }
    client.ask(request).await
}

#[tokio::test]
async fn of_the_routes_that_match_a_host_the_most_specific_takes_it() {
    let world = World::new();
    let mut services = Vec::new();
    for _ in 0..5 {
        services.push(Service::orders(&world).await);
    }
    let patterns = ["*", "*.svc", "*.shop.svc", "{0}.shop.svc", "orders.shop.svc"];
    let routes = patterns.iter().zip(&services).map(|(hosts, service)| route(hosts, &service.address, ORDERS));
    let gate = egress(&world, &routes.collect::<String>()).await;
    let mut clients =
        [Client::plain(gate.address(0)).await, Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await];
    for client in &mut clients {
        let hosts = ["elsewhere.example", "a.b.svc", "a.b.shop.svc", "batch.shop.svc", "orders.shop.svc"];
        for (index, host) in hosts.iter().enumerate() {
            let before = services[index].seen().len();
            assert_eq!(ask_host(client, host).await.status, 200, "{host}");
            assert_eq!(services[index].seen().len(), before + 1, "{host} is for {}", patterns[index]);
        }
    }
}

#[tokio::test]
async fn the_case_of_a_host_its_closing_dot_and_its_port_choose_no_other_route() {
    let world = World::new();
    let service = Service::orders(&world).await;
    let gate = egress(&world, &route("Orders.Example.", &service.address, ORDERS)).await;
    let mut client = Client::plain(gate.address(0)).await;
    for host in ["orders.example", "ORDERS.example", "orders.example.", "orders.example:8080", "Orders.Example.:1"] {
        assert_eq!(ask_host(&mut client, host).await.status, 200, "{host}");
    }
    for host in ["orders.example.org", "xorders.example", "orders.example..", "a.orders.example"] {
        assert_ne!(ask_host(&mut client, host).await.status, 200, "{host}");
    }
    assert_eq!(service.seen().len(), 5);
}

#[tokio::test]
async fn a_host_without_a_route_is_refused_logged_and_counted_and_nothing_leaves() {
    let (world, log) = (World::new(), Logged::begin());
    let service = Service::orders(&world).await;
    let gate = egress(&world, &route("orders.example", &service.address, ORDERS)).await;
    let mut clients =
        [Client::plain(gate.address(0)).await, Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await];
    for client in &mut clients {
        let answer = ask_host(client, "evil.example:443").await;
        assert_eq!((answer.status.as_u16(), &*answer.class()), (403, "no_route"));
    }
    assert_eq!(ended(&gate, RequestOutcome::NoRoute), 2);
    let lines = log.requests();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for line in lines {
        assert!(line.contains("WARN") && line.contains("outcome=\"no_route\""), "{line}");
        assert!(line.contains("server.address=\"evil.example\""), "{line}");
    }
    assert_eq!(service.opened(), 0);
}

#[tokio::test]
async fn a_host_gives_a_templates_target_and_who_must_be_there() {
    let world = World::new();
    let (orders, liar) = (Service::orders(&world).await, Service::orders(&world).await);
    behind_unix_socket(&world.path("orders-shop.sock"), orders.address);
    behind_unix_socket(&world.path("batch-shop.sock"), liar.address);
    let target = format!("unix:{}", world.path("{0}-{1}.sock").display());
    let gate = egress(&world, &route("{0}.{1}.svc", &target, "spiffe://prod.example/ns/{1}/sa/{0}")).await;
    let mut client = Client::plain(gate.address(0)).await;
    for host in ["orders.shop.svc", "ORDERS.shop.svc.:80"] {
        assert_eq!(ask_host(&mut client, host).await.status, 200, "{host}");
    }
    assert_eq!(orders.seen().len(), 2);
    // Where the orders service answers for another, it is not believed.
    let answer = ask_host(&mut client, "batch.shop.svc").await;
    assert_eq!((answer.status.as_u16(), &*answer.class()), (502, "upstream_failed"));
    assert!(liar.seen().is_empty());
    for host in ["shop.svc", "a.orders.shop.svc", "orders.shop.svc.example"] {
        let answer = ask_host(&mut client, host).await;
        assert_eq!((answer.status.as_u16(), &*answer.class()), (403, "no_route"), "{host}");
    }
}

#[tokio::test]
async fn a_connection_is_never_shared_between_the_hosts_of_a_template() {
    let world = World::new();
    let service = Service::orders(&world).await;
    behind_unix_socket(&world.path("all.sock"), service.address);
    let target = format!("unix:{}", world.path("all.sock").display());
    let expect = format!("{ORDERS}\", \"spiffe://prod.example/ns/{{1}}/sa/{{0}}");
    let gate = egress(&world, &route("{0}.{1}.svc", &target, &expect)).await;
    let mut client = Client::plain(gate.address(0)).await;
    for host in ["a.b.svc", "c.d.svc", "a.b.svc", "c.d.svc"] {
        assert_eq!(ask_host(&mut client, host).await.status, 200);
    }
    let connections = service.seen().iter().map(|seen| seen.connection).collect::<Vec<_>>();
    assert_eq!(connections, [0, 1, 0, 1]);
}

#[tokio::test]
async fn a_forward_proxys_client_says_the_whole_url_and_the_service_hears_the_path() {
    let world = World::new();
    let service = Service::orders(&world).await;
    let gate = egress(&world, &route("orders.example", &service.address, ORDERS)).await;
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    let asks = "GET http://orders.example/orders/5?full=1 HTTP/1.1\r\nHost: orders.example\r\nProxy-Connection: keep-alive\r\n\
                Proxy-Authorization: Basic c2VjcmV0\r\n\r\n";
    for _ in 0..2 {
        client.write_all(asks.as_bytes()).await.unwrap();
        let told = head(&mut client).await;
        assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
        soon(client.read_exact(&mut [0; 5])).await.unwrap();
    }
    let seen = &service.seen()[1];
    assert_eq!((&*seen.target, seen.header("host")), ("/orders/5?full=1", Some("orders.example")));
    assert!(seen.header("proxy-connection").is_none() && seen.header("proxy-authorization").is_none(), "{seen:?}");
    // What the two disagree on is nobody's host.
    client.write_all(b"GET http://orders.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 400 "));
    assert_eq!(service.seen().len(), 2);
}

/// A TCP service behind a gate, as it is reached by CONNECT.
async fn tcp_service(world: &World) -> Gate {
    let target = format!("\"{}\"", echo_application().await);
    Gate::start(&inbound_toml(&world.identity("orders", ORDERS), &target, &format!("\"{WEB}\""), "", "")).await
}

const CONNECT: &str = "CONNECT orders.example:5432 HTTP/1.1\r\nHost: orders.example:5432\r\n\r\n";

/// Asks for a tunnel, and says something in the same breath.
async fn connect(gate: &Gate, first: &str) -> (String, TcpStream) {
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    client.write_all(format!("{CONNECT}{first}").as_bytes()).await.unwrap();
    let told = head(&mut client).await;
    (told, client)
}

#[tokio::test]
async fn a_tunnel_is_wrapped_in_mutual_tls_and_loses_nothing_from_the_first_byte_to_the_half_close() {
    let world = World::new();
    let service = tcp_service(&world).await;
    let gate = egress(&world, &route("orders.example", &service.address(0), ORDERS)).await;
    let (told, mut client) = connect(&gate, "at once ").await;
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    assert!(!told.to_lowercase().contains("content-length") && !told.to_lowercase().contains("transfer-"), "{told}");
    client.write_all(b"later").await.unwrap();
    let mut heard = [0; 13];
    soon(client.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"at once later");
    let much = vec![7; 3 << 20];
    let (mut reader, mut writer) = client.into_split();
    let said = much.clone();
    let saying = tokio::spawn(async move {
        writer.write_all(&said).await.unwrap();
        writer.shutdown().await.unwrap();
        writer
    });
    let mut heard = Vec::new();
    soon(reader.read_to_end(&mut heard)).await.unwrap();
    assert!(heard == much, "{} bytes of {}", heard.len(), much.len());
    soon(saying).await.unwrap();
    until("it is counted", || ended(&gate, RequestOutcome::Tunnelled) == 1).await;
}

#[tokio::test]
async fn a_tunnel_can_be_asked_for_in_http_2() {
    let world = World::new();
    let service = tcp_service(&world).await;
    let gate = egress(&world, &route("orders.example", &service.address(0), ORDERS)).await;
    let mut client = Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await;
    for _ in 0..2 {
        let request = Request::builder().method("CONNECT").uri("orders.example:5432").body(full("")).unwrap();
        let response = client.send(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut tunnel = hyper_util::rt::TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        tunnel.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        soon(tunnel.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"hello");
        tunnel.write_all(b"last").await.unwrap();
        tunnel.shutdown().await.unwrap();
        let mut rest = Vec::new();
        soon(tunnel.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"last");
    }
    until("both are counted", || ended(&gate, RequestOutcome::Tunnelled) == 2).await;
}

#[tokio::test]
async fn a_tunnel_that_may_not_be_is_refused_in_words() {
    let world = World::new();
    let (service, liar) = (Service::orders(&world).await, Server::of(&world.peer(BATCH)).await);
    let nowhere = egress(&world, &route("other.example", &service.address, ORDERS)).await;
    let without_routes = egress(&world, &to_orders(service.address, "")).await;
    let to_a_liar = egress(&world, &route("orders.example", &liar.address, ORDERS)).await;
    let deserted = egress(&world, &route("orders.example", &deserted(), ORDERS)).await;
    tokio::spawn(async move {
        let mut said = Vec::new();
        let tcp = liar.accept_tcp().await;
        if let Ok(mut tls) = liar.secure(tcp).await {
            let _ = tls.read_to_end(&mut said).await;
        }
        assert!(said.is_empty(), "{said:?}");
    });
    let refused = [
        (&nowhere, "403", "no_route"),
        (&without_routes, "405", "method_not_allowed"),
        (&to_a_liar, "502", "upstream_failed"),
        (&deserted, "502", "upstream_failed"),
    ];
    for (gate, status, class) in refused {
        let (told, mut client) = connect(gate, "").await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
        let length = told.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        soon(client.read_exact(&mut body)).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains(&format!("\"class\":\"{class}\"")), "{body}");
    }
    assert_eq!(service.opened(), 0);
}

#[tokio::test]
async fn a_tunnel_goes_to_another_target_where_one_is_deserted() {
    let world = World::new();
    let service = tcp_service(&world).await;
    let targets = format!("{}\", \"{}", deserted(), service.address(0));
    let toml =
        route("orders.example", &targets, ORDERS).replace("target = ", "target = [").replace("\nexpect", "]\nexpect");
    let gate = egress(&world, &toml).await;
    for _ in 0..4 {
        let (told, mut client) = connect(&gate, "hello").await;
        assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
        soon(client.read_exact(&mut [0; 5])).await.unwrap();
    }
}

#[tokio::test]
async fn a_tunnel_outlives_a_rotation_and_ends_with_its_route() {
    let world = World::new();
    let service = tcp_service(&world).await;
    let to_service = route("orders.example", &service.address(0), ORDERS);
    let gate = egress(&world, &to_service).await;
    let (_, mut client) = connect(&gate, "hello").await;
    soon(client.read_exact(&mut [0; 5])).await.unwrap();
    for is_new_trust in [false, true] {
        let before = gate.handle.credentials().current().unwrap();
        if is_new_trust {
            let issued = world.prod.issue(&crate::harness::id(WEB), crate::harness::HOUR).unwrap();
            let other = crate::harness::authority("other.example");
            let bundles = svidgate::mint::bundle_map(&[&world.prod, &other]);
            world.write_identity("web", &issued, &bundles);
        } else {
            world.identity("web", WEB);
        }
        until("it is taken up", || !std::sync::Arc::ptr_eq(&gate.handle.credentials().current().unwrap(), &before))
            .await;
        client.write_all(b"hello").await.unwrap();
        soon(client.read_exact(&mut [0; 5])).await.unwrap();
    }
    gate.apply(&egress_toml(&world, &route("other.example", &service.address(0), ORDERS))).await;
    let error = soon(client.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    until("it is counted", || ended(&gate, RequestOutcome::Cut) == 1).await;
}

#[tokio::test]
async fn a_tunnel_is_asked_for_without_alpn_and_requests_with_it() {
    let world = World::new();
    let server = Server::of(&both_versions(world.peer(ORDERS))).await;
    let gate = egress(&world, &route("orders.example", &server.address, ORDERS)).await;
    let asked = tokio::spawn(async move { connect(&gate, "").await.0 });
    assert_eq!(server.accept().await.get_ref().1.alpn_protocol(), None);
    assert!(soon(asked).await.unwrap().starts_with("HTTP/1.1 200 "));
}
