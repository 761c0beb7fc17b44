//! The load generators: wrk, h2load and iperf3, and what they say they did.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::options::Trial;
use crate::process::{self, Process};

/// What may pass beyond the time of a load until its generator has ended.
const GRACE: Duration = Duration::from_secs(40);

/// The generator that a test needs, with its Debian package.
pub(crate) fn tool(trial: Trial) -> Option<(&'static str, &'static str)> {
    match trial {
        Trial::Http | Trial::Tcp | Trial::Latency | Trial::Rotation | Trial::Scale => Some(("wrk", "wrk")),
        Trial::Http2 => Some(("h2load", "nghttp2-client")),
        Trial::Bulk => Some(("iperf3", "iperf3")),
        Trial::Handshake | Trial::Idle | Trial::Start => None,
    }
}

fn program(name: &str) -> anyhow::Result<PathBuf> {
    process::find(name).with_context(|| format!("`{name}` is not on the PATH"))
}

/// What came of requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    pub(crate) answered: f64,
    pub(crate) per_second: f64,
    /// Connections that broke, timeouts, answers other than 200.
    pub(crate) failed: f64,
    /// The generator's own words on them.
    pub(crate) complaints: String,
    /// The 99th percentile of latency, in milliseconds, as far as the generator tells.
    pub(crate) p99_ms: f64,
}

impl Requests {
    /// A load that is to be quoted has no failures.
    pub(crate) fn without_failure(self) -> anyhow::Result<Self> {
        if self.failed > 0.0 {
            bail!("{} requests failed beside {} that were answered: {}", self.failed, self.answered, self.complaints);
        }
        if self.answered < 1.0 {
            bail!("no request was answered");
        }
        Ok(self)
    }
}

/// HTTP/1.1 over `connections` kept connections. wrk counts an answer as failed only after two minutes: where 10,000 connections begin at once, each has
/// its handshakes ahead of it.
pub(crate) async fn wrk(address: SocketAddr, connections: u64, duration: Duration) -> anyhow::Result<Requests> {
    wrk_until(address, connections, duration, std::future::pending()).await
}

/// As [`wrk`], for `duration` at most and until that is `enough`.
pub(crate) async fn wrk_until(
    address: SocketAddr,
    connections: u64,
    duration: Duration,
    enough: impl Future<Output = ()>,
) -> anyhow::Result<Requests> {
    let mut command = Command::new(program("wrk")?);
    command.args(["--threads", "2", "--latency", "--timeout", "120s", "--connections", &connections.to_string()]);
    command.args(["--duration", &format!("{}s", duration.as_secs())]).arg(format!("http://{address}/"));
    let printed = process::output_until(command, duration + GRACE, enough).await?;
    let line = |start: &str| printed.lines().map(str::trim).find_map(|line| line.strip_prefix(start)).map(str::trim);
    let answered = printed.lines().find_map(|line| line.split_once(" requests in ")).map(|(number, _)| number.trim());
    let numbers = |text: &str| {
        text.split([' ', ',']).filter_map(|word| word.parse::<f64>().ok()).fold(0.0, |sum, number| sum + number)
    };
    let complaints: Vec<&str> =
        ["Socket errors:", "Non-2xx or 3xx responses:"].iter().filter_map(|start| line(start)).collect();
    Ok(Requests {
        answered: answered.and_then(|number| number.parse().ok()).with_context(|| format!("wrk says {printed:?}"))?,
        per_second: line("Requests/sec:").and_then(|number| number.parse().ok()).unwrap_or_default(),
        // Not `sum`, which makes a negative zero of nothing.
        failed: complaints.iter().map(|text| numbers(text)).fold(0.0, |sum, number| sum + number),
        complaints: complaints.join("; answers that are no success: "),
        p99_ms: line("99%").and_then(milliseconds).unwrap_or_default(),
    })
}

/// wrk's `12.3us`, `4.5ms`, `1.2s`.
fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3), ("m", 6e4)];
    units.iter().find_map(|(unit, each)| text.strip_suffix(unit)?.parse::<f64>().ok().map(|number| number * each))
}

/// HTTP/2 over ten connections with ten streams each.
pub(crate) async fn h2load(address: SocketAddr, duration: Duration) -> anyhow::Result<Requests> {
    let mut command = Command::new(program("h2load")?);
    command.args(["--threads=2", "--clients=10", "--max-concurrent-streams=10"]);
    command.arg(format!("--duration={}", duration.as_secs())).arg(format!("http://{address}/"));
    let printed = process::output(command, duration + GRACE).await?;
    let line = |start: &str| printed.lines().find_map(|line| line.strip_prefix(start));
    let number_before = |text: Option<&str>, word: &str| {
        let words: Vec<&str> = text?.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let place = words.iter().position(|found| *found == word)?;
        words.get(place.checked_sub(1)?)?.parse::<f64>().ok()
    };
    let answered = number_before(line("status codes: "), "2xx").with_context(|| format!("h2load says {printed:?}"))?;
    let failed = number_before(line("requests: "), "failed").unwrap_or_default();
    let others = ["3xx", "4xx", "5xx"].iter().filter_map(|class| number_before(line("status codes: "), class));
    let failed = failed + others.sum::<f64>();
    let complaints = [line("requests: "), line("status codes: ")].into_iter().flatten().collect::<Vec<_>>().join("; ");
    Ok(Requests { complaints, answered, per_second: answered / duration.as_secs_f64(), failed, p99_ms: 0.0 })
}

/// Which way the bytes of a stream go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client: the outbound proxy encrypts.
    Up,
    /// To the client: the inbound proxy encrypts.
    Down,
}

/// The receiver of streams, or their sender.
pub(crate) fn iperf_server(address: SocketAddr, log: &std::path::Path) -> anyhow::Result<Process> {
    let mut command = Command::new(program("iperf3")?);
    command.args(["--server", "--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
    Process::start(command, log)
}

/// Streams through `address`. Returns the bytes that arrived.
pub(crate) async fn iperf(address: SocketAddr, streams: u64, way: Way, duration: Duration) -> anyhow::Result<f64> {
    let mut command = Command::new(program("iperf3")?);
    command.args(["--client", &address.ip().to_string(), "--port", &address.port().to_string(), "--json"]);
    command.args(["--time", &duration.as_secs().to_string(), "--parallel", &streams.to_string()]);
    if way == Way::Down {
        command.arg("--reverse");
    }
    let printed = process::output(command, duration + GRACE).await?;
    let report: serde_json::Value = serde_json::from_str(&printed)?;
    let bytes = report.pointer("/end/sum_received/bytes").and_then(serde_json::Value::as_f64);
    bytes.filter(|bytes| *bytes > 0.0).with_context(|| {
        let error = report.get("error").and_then(serde_json::Value::as_str);
        format!("iperf3 moved nothing: {}", error.unwrap_or("it does not say why"))
    })
}
