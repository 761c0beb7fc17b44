//! The binary itself, as a user or a service manager runs it: what it does, prints and logs, and with which exit code it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may fail, or say why it is skipped"
)]

mod commands;
mod descriptors;
#[path = "../harness/mod.rs"]
mod harness;
mod logs;
mod serve;
mod signals;

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use harness::process::Running;
use harness::{PATIENCE, WEB, World};

/// The binary, untouched by the environment of the test.
fn svidgate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svidgate"));
    command.args(args);
    for variable in ["SVIDGATE_CONFIG", "RUST_LOG", "NO_COLOR", "CREDENTIALS_DIRECTORY"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a verb that ends by itself.
fn run(args: &[&str]) -> Output {
    svidgate(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// An application that sends back what it gets, until its client ends.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || io::copy(&mut stream.try_clone()?, &mut stream));
        }
    });
    address
}

/// A way through both kinds of listener of one process: a client's plaintext to `out`, mutual TLS to `in`, plaintext to an echo.
struct Way {
    world: World,
    config: PathBuf,
}

impl Way {
    /// With credentials in place.
    fn new() -> Self {
        let way = Self::without_credentials();
        way.world.identity("web", WEB);
        way
    }

    fn without_credentials() -> Self {
        let world = World::new();
        let way = Self { config: world.path("svidgate.toml"), world };
        std::fs::write(&way.config, way.toml("")).unwrap();
        way
    }

    /// The configuration, and more at its end.
    fn toml(&self, more: &str) -> String {
        self.toml_between("127.0.0.1:0", &format!("unix:{}", self.world.path("in.sock").display()), WEB, more)
    }

    fn toml_between(&self, out: &str, within: &str, allowed: &str, more: &str) -> String {
        format!(
            "[identity]\ndir = {:?}\n[[inbound]]\nname = \"in\"\nlisten = {within:?}\ntarget = \"{}\"\n\
             [[inbound.rule]]\nname = \"callers\"\npeers = [{allowed:?}]\n\
             [[outbound]]\nname = \"out\"\nlisten = {out:?}\ntarget = {within:?}\nexpect = [{WEB:?}]\n{more}\n",
            self.world.path("web"),
            echo(),
        )
    }

    fn write(&self, toml: &str) {
        std::fs::write(&self.config, toml).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = svidgate(&["run", "--config", self.config.to_str().unwrap()]);
        command.args(args);
        command
    }

    /// Runs it until bytes go through. Returns where they go in.
    fn start(&self, args: &[&str]) -> (Running, SocketAddr) {
        let mut gate = Running::start(&mut self.command(args));
        let address = address(&mut gate, "out");
        until_it_talks(address);
        (gate, address)
    }
}

/// Where a listener of a running gate listens, as its log says.
fn address(gate: &mut Running, listener: &str) -> SocketAddr {
    let line = gate.says(&["listening", listener]);
    let after = line.split_once("address=").or_else(|| line.split_once("\"address\":\"")).unwrap().1;
    after.split([' ', '"']).next().unwrap().parse().unwrap()
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Says a word and hears it back.
fn talk(mut stream: &TcpStream) -> io::Result<()> {
    stream.write_all(b"word")?;
    let mut heard = [0; 4];
    stream.read_exact(&mut heard)?;
    assert_eq!(&heard, b"word");
    Ok(())
}

/// Says a word on a connection of its own, and ends it.
fn talk_to(address: SocketAddr) -> io::Result<()> {
    let stream = connect(address)?;
    talk(&stream)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut rest = Vec::new();
    (&stream).read_to_end(&mut rest).map(|_| ())
}

/// Waits until bytes go through: the credentials are read after the address is bound.
fn until_it_talks(address: SocketAddr) {
    until("bytes go through", || talk_to(address).is_ok());
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}
