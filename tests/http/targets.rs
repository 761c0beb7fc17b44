//! Several targets for one host: requests go to the one that has less to do, and to another where one does not do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::harness::http::{Client, full};
use crate::harness::{BATCH, Gate, ORDERS, World, until};
use crate::logged::Logged;
use crate::upstream::{Service, both_versions, deserted, egress, soon};

/// A gate whose requests go to any of these.
async fn egress_to_any(world: &World, targets: &[String], more: &str) -> Gate {
    egress(world, &format!("target = {targets:?}\nexpect = [\"{ORDERS}\"]\n{more}")).await
}

fn targets(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn requests_go_to_the_target_with_fewer_under_way() {
    let world = World::new();
    let leave = [Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0))];
    let mut services = Vec::new();
    for given in &leave {
        let given = given.clone();
        let answer = move |_| -> std::pin::Pin<Box<dyn Future<Output = Response<_>> + Send>> {
            let given = given.clone();
            Box::pin(async move {
                given.acquire().await.unwrap().forget();
                Response::new(full("hello"))
            })
        };
        services.push(Service::answering(both_versions(world.peer(ORDERS)), answer).await);
    }
    let gate = egress_to_any(&world, &targets(&[services[0].address, services[1].address]), "").await;
    let seen = || services.iter().map(|service| service.seen().len()).collect::<Vec<_>>();
    let mut asked = Vec::new();
    let mut ask = async |total: usize| {
        let mut client = Client::plain(gate.address(0)).await;
        asked.push(tokio::spawn(async move { client.get("/").await }));
        until("it is there", || seen().iter().sum::<usize>() == total).await;
    };
    for total in 1..=6 {
        ask(total).await;
    }
    assert_eq!(seen(), [3, 3]);
    leave[0].add_permits(3);
    until("the first has nothing to do", || leave[0].available_permits() == 0).await;
    // An answer that the application has is no longer under way.
    let idle = || ended_of(&gate) == 3;
    until("three were answered", idle).await;
    for total in 7..=9 {
        ask(total).await;
    }
    assert_eq!(seen(), [6, 3]);
    leave.iter().for_each(|leave| leave.add_permits(10));
    for one in asked {
        assert_eq!(soon(one).await.unwrap().text(), "hello");
    }
}

fn ended_of(gate: &Gate) -> u64 {
    crate::upstream::ended(gate, svidgate::metrics::RequestOutcome::Answered)
}

#[tokio::test]
async fn a_target_that_refuses_costs_no_request_and_is_back_once_it_listens() {
    let (world, log) = (World::new(), Logged::begin());
    let (service, absent) = (Service::orders(&world).await, deserted());
    let gate = egress_to_any(&world, &targets(&[absent, service.address]), "[log]\nrequests = \"all\"").await;
    let mut client = Client::plain(gate.address(0)).await;
    for _ in 0..20 {
        // A body does not hinder it: nothing of it was sent to anybody.
        let mut request = client.request("POST", "/");
        *request.body_mut() = full("an order");
        assert_eq!(client.ask(request).await.text(), "hello");
    }
    let resent = log.requests().iter().filter(|line| line.contains("resend_count=1")).count();
    assert!(resent >= 1, "nobody tried it");
    let back = Service::at(TcpListener::bind(absent).await.unwrap(), &both_versions(world.peer(ORDERS)));
    soon(async {
        while back.seen().is_empty() {
            assert_eq!(client.get("/").await.text(), "hello");
        }
    })
    .await;
}

#[tokio::test]
async fn a_target_that_is_somebody_else_costs_no_request_and_gets_none() {
    let world = World::new();
    let (service, liar) = (Service::orders(&world).await, Service::of(both_versions(world.peer(BATCH))).await);
    let gate = egress_to_any(&world, &targets(&[liar.address, service.address]), "").await;
    for is_http2 in [false, true] {
        let tcp = TcpStream::connect(gate.address(0)).await.unwrap();
        let mut client = if is_http2 { Client::http2(tcp).await } else { Client::http1(tcp).await };
        for _ in 0..10 {
            assert_eq!(client.get("/").await.text(), "hello");
        }
    }
    assert_eq!((service.seen().len(), liar.seen().len()), (20, 0));
    assert!(liar.opened() >= 1);
}

/// A listener whose queue is full, so that a further connect hangs; and what fills it.
async fn full_listener() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fill = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        fill.push(connected.unwrap());
        assert!(fill.len() < 100, "the queue never fills");
    }
    (address, (listener, fill))
}

#[tokio::test]
async fn a_target_that_swallows_packets_is_a_504_for_all_who_wait_and_leaves_time_for_another() {
    let world = World::new();
    let (hole, _held) = full_listener().await;
    let limits = "[limits]\nconnect_timeout = \"1s\"";
    let gate = egress_to_any(&world, &targets(&[hole]), limits).await;
    for is_http2 in [false, true] {
        let began = std::time::Instant::now();
        let mut asked = Vec::new();
        for _ in 0..10 {
            let tcp = TcpStream::connect(gate.address(0)).await.unwrap();
            let mut client = if is_http2 { Client::http2(tcp).await } else { Client::http1(tcp).await };
            asked.push(tokio::spawn(async move { client.get("/").await }));
        }
        for one in asked {
            let answer = soon(one).await.unwrap();
            assert_eq!((answer.status.as_u16(), &*answer.class()), (504, "upstream_timeout"));
        }
        // Not one after the other, a second each.
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
    let service = Service::orders(&world).await;
    let gate = egress_to_any(&world, &targets(&[hole, service.address]), limits).await;
    let mut client = Client::plain(gate.address(0)).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "hello");
    }
}

#[tokio::test]
async fn a_name_is_resolved_and_each_of_its_addresses_tried() {
    let world = World::new();
    let service = Service::orders(&world).await;
    let gate = egress_to_any(&world, &[format!("localhost:{}", service.address.port())], "").await;
    let mut client = Client::plain(gate.address(0)).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "hello");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_holds_up_no_target_that_stands() {
    let world = World::new();
    let service = Service::orders(&world).await;
    let nowhere = "nowhere.invalid:443".to_owned();
    let gate = egress_to_any(&world, &[nowhere.clone(), service.address.to_string()], "").await;
    assert_eq!(Client::plain(gate.address(0)).await.get("/").await.text(), "hello");
    let gate = egress_to_any(&world, &[nowhere], "[limits]\nconnect_timeout = \"1s\"").await;
    let answer = Client::plain(gate.address(0)).await.get("/").await;
    assert!(["upstream_failed", "upstream_timeout"].contains(&&*answer.class()), "{answer:?}");
}
