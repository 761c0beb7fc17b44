//! A gRPC client and server of grpcio: every kind of call, through both proxies and through one, with deadlines, cancellation and refusals.

use std::process::Command;

use crate::harness::process::Running;
use crate::sides::{Files, Sides};
use crate::tools::{python, succeeds};

const CALLS: [&str; 10] = [
    "unary",
    "large",
    "many",
    "server_streaming",
    "client_streaming",
    "bidirectional",
    "status",
    "deadline",
    "cancel",
    "denied",
];

/// The service and both proxies before it.
async fn served() -> Option<(Running, Sides)> {
    let (server, target) = server()?;
    Some((server, Sides::of(&target).await))
}

/// The service, and its address as a listener has it.
pub(crate) fn server() -> Option<(Running, String)> {
    let mut server = Running::start(&mut python("grpc_server.py")?);
    let address = server.says(&["listening on "]).trim_start_matches("listening on ").to_owned();
    Some((server, format!("h2c://{address}")))
}

/// Tries calls, one after the other.
pub(crate) fn calls(client: &mut Command, calls: &[&str]) {
    let said = succeeds(client.args(calls));
    let well: String = calls.iter().map(|call| format!("well: {call}\n")).collect();
    assert_eq!(said, well);
}

pub(crate) fn with_certificate(client: &mut Command, files: &Files) {
    client.args([&files.root, &files.chain, &files.key]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_call_passes_both_proxies() {
    let Some((mut server, sides)) = served().await else { return };
    let mut client = python("grpc_client.py").unwrap();
    calls(client.arg(sides.inside().to_string()), &CALLS);
    server.says(&["waiting for the deadline with a deadline"]);
    server.says(&["gave up for the deadline"]);
    server.says(&["nobody listens"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_call_comes_in_with_a_client_certificate() {
    let Some((mut server, sides)) = served().await else { return };
    let mut client = python("grpc_client.py").unwrap();
    client.arg(sides.outside().to_string());
    with_certificate(&mut client, &sides.web());
    calls(&mut client, &CALLS);
    server.says(&["gave up for the deadline"]);
    server.says(&["nobody listens"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_has_gone_is_unavailable() {
    let Some((server, sides)) = served().await else { return };
    let mut client = python("grpc_client.py").unwrap();
    calls(client.arg(sides.inside().to_string()), &["large"]);
    drop(server);
    let mut client = python("grpc_client.py").unwrap();
    calls(client.arg(sides.inside().to_string()), &["unavailable"]);
}
