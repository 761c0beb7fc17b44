//! A WebSocket client and server of `websockets`, over HTTP/1.1: through both proxies, in a tunnel of CONNECT, and with a client certificate.

use std::process::Command;

use svidgate::metrics::{RequestEnded, RequestOutcome};

use crate::harness::process::Running;
use crate::harness::{Gate, until};
use crate::sides::Sides;
use crate::tools::{python, succeeds};

const WELL: &str = "well: talk\nwell: close\nwell: denied\n";

async fn served() -> Option<(Running, Sides)> {
    let mut server = Running::start(&mut python("websocket_server.py")?);
    let address = server.says(&["listening on "]).trim_start_matches("listening on ").to_owned();
    Some((server, Sides::of(&address).await))
}

fn client() -> Command {
    python("websocket_client.py").unwrap()
}

fn ended(gate: &Gate, listener: &str, outcome: RequestOutcome) -> u64 {
    gate.handle.metrics().requests.get_or_create(&RequestEnded { listener: listener.into(), outcome }).get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_passes_both_proxies() {
    let Some((mut server, sides)) = served().await else { return };
    assert_eq!(succeeds(client().args(["direct", &sides.inside().to_string()])), WELL);
    server.says(&["closed 4000 all said"]);
    for (gate, listener) in [(&sides.inbound, "orders"), (&sides.outbound, "egress")] {
        until("both are tunnels that ended", || ended(gate, listener, RequestOutcome::Tunnelled) == 2).await;
    }
    assert_eq!(ended(&sides.inbound, "orders", RequestOutcome::Denied), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_passes_a_tunnel() {
    let Some((mut server, sides)) = served().await else { return };
    assert_eq!(succeeds(client().args(["tunnel", &sides.inside().to_string()])), WELL);
    server.says(&["closed 4000 all said"]);
    let ended = |outcome| ended(&sides.outbound, "egress", outcome);
    // The client that is refused in its tunnel leaves without having read why: a reset.
    let all = || ended(RequestOutcome::Tunnelled) + ended(RequestOutcome::Cancelled);
    until("the tunnels ended", || all() == 3).await;
    assert!(ended(RequestOutcome::Tunnelled) >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_comes_in_with_a_client_certificate() {
    let Some((mut server, sides)) = served().await else { return };
    let files = sides.web();
    let mut client = client();
    client.args(["tls", &sides.outside().to_string()]).args([&files.chain, &files.key]);
    assert_eq!(succeeds(&mut client), WELL);
    server.says(&["closed 4000 all said"]);
}
