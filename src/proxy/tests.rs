//! What a connection weighs while nothing happens on it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail")]

use super::*;
use crate::config::Config;

/// The state of the task that carries a connection, for as long as it lives, and the relay beside it. What rustls and the system hold for it
/// comes on top.
fn weight(config: &str) -> usize {
    let config = Config::parse("test.toml", config).unwrap();
    let bound = Listener::bind(&config.listeners[0], &config.limits, Arc::default()).unwrap();
    let (stream, _) = std::os::unix::net::UnixStream::pair().unwrap();
    stream.set_nonblocking(true).unwrap();
    let socket = Socket::unix(tokio::net::UnixStream::from_std(stream).unwrap());
    let (following, service, terms) = Following::from_now(&bound.listener.orders);
    let record = Record::open(Arc::default(), service.config.name.clone(), service.direction(), None);
    let mut connection = Connection { following, port: 0, terms, record, handshake: None };
    let task = size_of_val(&service.serve(socket, &mut connection));
    size_of::<Connection>() + task + size_of::<Relay>()
}

#[tokio::test]
async fn the_task_of_a_connection_stays_small() {
    let inbound = weight(
        r#"
        [[inbound]]
        listen = "127.0.0.1:0"
        target = "127.0.0.1:1"
        [[inbound.rule]]
        peers = ["spiffe://prod.example/**"]
        "#,
    );
    let outbound = weight(
        r#"
        [[outbound]]
        listen = "127.0.0.1:0"
        target = "127.0.0.1:1"
        expect = ["spiffe://prod.example/**"]
        "#,
    );
    println!(
        "connection {}, socket {}, standing {}, stream {}",
        size_of::<Connection>(),
        size_of::<Socket>(),
        size_of::<Standing>(),
        size_of::<crate::tls::Stream<Socket>>()
    );
    println!("inbound {inbound}, outbound {outbound} bytes; {} of them the relay", size_of::<Relay>());
    assert!(inbound <= 1536 && outbound <= 1536, "inbound {inbound}, outbound {outbound} bytes");
}
