//! Hostile and broken peers over real sockets: certificates that are not theirs or not well made, handshakes that drip, and servers behind the
//! outbound side that are none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(clippy::print_stdout, reason = "why a test had nothing to do")]

mod certificates;
mod handshake;
#[path = "../harness/mod.rs"]
mod harness;
mod outbound;
mod wire;

use std::cell::RefCell;
use std::io;
use std::sync::Once;
use std::time::Duration;

use harness::{Gate, ORDERS, PATIENCE, WEB, World, echo_application, until};
use svidgate::metrics::{OfListener, Outcome};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// The one listener of a gate under attack.
const LISTENER: &str = "orders";

/// An inbound listener before `target` that lets in the web frontend.
async fn inbound(world: &World, target: &str, more: &str, limits: &str) -> Gate {
    Logged::begin();
    let (identity, target) = (world.identity(LISTENER, ORDERS), format!("\"{target}\""));
    Gate::start(&harness::inbound_toml(&identity, &target, &format!("\"{WEB}\""), more, limits)).await
}

/// An inbound listener before an echoing application.
async fn before_echo(world: &World) -> Gate {
    inbound(world, &echo_application().await.to_string(), "", "").await
}

/// A service that the test plays itself: its listener and its address.
async fn service() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it waits for ever")
}

fn closed(gate: &Gate, outcome: Outcome) -> u64 {
    gate.handle.metrics().closed(&LISTENER.into(), outcome)
}

/// Waits until `count` connections have ended in `outcome`, and says what happened instead if they do not.
async fn ends(gate: &Gate, outcome: Outcome, count: u64) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while closed(gate, outcome) != count {
        let counts =
            || Outcome::ALL.map(|outcome| (outcome, closed(gate, outcome))).into_iter().filter(|(_, n)| *n > 0);
        assert!(
            tokio::time::Instant::now() < deadline,
            "no {count} times {outcome:?} but {:?}",
            counts().collect::<Vec<_>>()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until no connection is open, and makes sure that a good peer still gets in and that none of our tasks fell over.
async fn is_unharmed(world: &World, gate: &Gate) {
    let active = OfListener { listener: LISTENER.into() };
    let metrics = gate.handle.metrics().clone();
    until("no connection is open", || metrics.connections_active.get_or_create(&active).get() == 0).await;
    assert_eq!(soon(world.peer(WEB).ask(gate.address(0), b"still there?")).await.unwrap(), b"still there?");
    assert_eq!(closed(gate, Outcome::Aborted), 0);
}

/// Makes the close of this socket a reset.
fn reset(socket: TcpStream) {
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
}

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is logged at `info` and above on this thread: all of it by the gate of this test, whose runtime has no other thread.
struct Logged(usize);

impl Logged {
    /// One subscriber for the process: those of single threads, coming and going side by side, miss lines. Called before the first line of any
    /// gate, for the same reason.
    fn begin() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let level = tracing::Level::INFO;
            tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(|| OfThisThread).init();
        });
    }

    fn watch() -> Self {
        Self(LINES.with_borrow(Vec::len))
    }

    /// The lines about connections since then.
    fn connections(&self) -> Vec<String> {
        let text = LINES.with_borrow(|lines| String::from_utf8(lines[self.0..].to_vec()).unwrap());
        text.lines().filter(|line| line.contains("svidgate::proxy")).map(ToOwned::to_owned).collect()
    }
}

struct OfThisThread;

impl io::Write for OfThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
