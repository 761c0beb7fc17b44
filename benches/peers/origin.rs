//! The application behind the proxies: an nginx that answers with 512 bytes, in both versions of HTTP, and counts.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::Instant;

use crate::process::{self, Process};
use crate::{client, products};

/// How long anything that is started may take until it listens and answers.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Origin {
    _server: Process,
    /// HTTP/1.1.
    pub(crate) http: SocketAddr,
    /// HTTP/2 in plaintext.
    pub(crate) http2: SocketAddr,
    status: SocketAddr,
}

impl Origin {
    pub(crate) async fn start(home: &Path) -> anyhow::Result<Self> {
        let program = process::find("nginx");
        let program =
            program.context("the application of the bench is nginx: install the Debian package nginx-light")?;
        let [http, http2, status] = free_addresses()?;
        let answer = "x".repeat(client::ANSWER);
        let (preamble, all) = (products::NGINX_PREAMBLE, products::NGINX_HTTP);
        let text = format!(
            "{preamble}worker_processes auto;\nevents {{ worker_connections 32768; }}\nhttp {{ {all} default_type text/plain;\n\
             server {{ listen {http} backlog=4096 reuseport; location / {{ return 200 {answer}; }} }}\n\
             server {{ listen {http2} http2 backlog=4096 reuseport; location / {{ return 200 {answer}; }} }}\n\
             server {{ listen {status}; location / {{ stub_status; }} }} }}\n"
        );
        let home = home.join("origin");
        std::fs::create_dir_all(&home)?;
        let path = home.join("nginx.conf");
        std::fs::write(&path, text)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&home).arg("-c").arg(path).args(["-e", "stderr"]);
        let mut server = Process::start(command, &home.join("log"))?;
        for address in [http, http2, status] {
            listening(address, &mut server).await.context("the application, nginx")?;
        }
        Ok(Self { _server: server, http, http2, status })
    }

    /// Requests that it has answered so far.
    pub(crate) async fn requests(&self) -> anyhow::Result<u64> {
        let page = client::get(self.status).await?;
        // accepts, handled, requests; then lines that begin with a word.
        let numbers = page.lines().find(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
        let requests = numbers.and_then(|line| line.split_whitespace().nth(2)).and_then(|number| number.parse().ok());
        requests.with_context(|| format!("no count of requests in {page:?}"))
    }
}

/// Addresses of loopback that nobody uses at this moment, each another one.
pub(crate) fn free_addresses<const N: usize>() -> anyhow::Result<[SocketAddr; N]> {
    let mut held = Vec::new();
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for address in &mut addresses {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}

/// Waits until `process` listens, without connecting: a connection would be passed on to whatever is behind.
pub(crate) async fn listening(address: SocketAddr, process: &mut Process) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    // As proc_net_tcp(5) writes 127.0.0.1 and a port, in the state TCP_LISTEN.
    let wanted = format!("0100007F:{:04X} 00000000:0000 0A", address.port());
    loop {
        process.check()?;
        if std::fs::read_to_string("/proc/net/tcp")?.contains(&wanted) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("it does not listen on {address} after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until a request at `address` is answered.
pub(crate) async fn answering(address: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match tokio::time::timeout(Duration::from_secs(2), client::get(address)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if Instant::now() > deadline => return Err(error.context("no request gets through")),
            Err(_) if Instant::now() > deadline => bail!("no request is answered"),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
