//! The course of a run: find everybody, build svidgate, take turns, report. Everything that is started belongs to a guard.

use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::credentials::Credentials;
use crate::machine::Machine;
use crate::options::{Options, Trial};
use crate::origin::{self, Origin};
use crate::process::{self, Process};
use crate::products::{Hop, Mode, Peer, Product, Side};
use crate::report::Report;
use crate::results::Results;
use crate::{html, load, trials};

/// What all tests share.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) credentials: Credentials,
    pub(crate) origin: Origin,
    /// How many descriptors a process may open.
    pub(crate) descriptors: u64,
    /// The rate of the test `latency`, in requests a second.
    pub(crate) rate: OnceCell<f64>,
    started: Cell<u32>,
    // Last: what runs in it ends before it goes.
    home: TempDir,
}

/// A proxy at one end.
pub(crate) struct Proxy {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

/// The same product at both ends.
pub(crate) struct Pair {
    pub(crate) outbound: Proxy,
    pub(crate) inbound: Proxy,
}

impl Pair {
    /// CPU time of both so far: outbound, inbound.
    pub(crate) fn cpu(&self) -> anyhow::Result<[f64; 2]> {
        Ok([self.outbound.process.cpu()?.as_secs_f64(), self.inbound.process.cpu()?.as_secs_f64()])
    }

    /// The CPU time of one proxy since `before`: the mean of both, in seconds.
    pub(crate) fn mean_cpu_since(&self, before: [f64; 2]) -> anyhow::Result<f64> {
        Ok((self.cpu()?.iter().sum::<f64>() - before.iter().sum::<f64>()) / 2.0)
    }
}

impl Bench {
    /// A directory for something that is about to be started.
    pub(crate) fn room(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.started.set(self.started.get() + 1);
        let path = self.home.path().join(format!("{}-{name}", self.started.get()));
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Describes one proxy, and starts it.
    pub(crate) fn start(
        &self,
        peer: &Peer,
        side: Side,
        mode: Mode,
        target: SocketAddr,
        rules: u64,
    ) -> anyhow::Result<Proxy> {
        let [listen] = origin::free_addresses()?;
        let home = &self.room(peer.name())?;
        let workers = self.options.workers;
        let hop = Hop { side, mode, listen, target, home, credentials: &self.credentials, workers, rules };
        let process = Process::start(peer.command(&hop)?, &home.join("log"))?;
        Ok(Proxy { process, address: listen })
    }

    /// Starts both ends in front of `target` and waits until they listen.
    pub(crate) async fn pair(&self, peer: &Peer, mode: Mode, target: SocketAddr, rules: u64) -> anyhow::Result<Pair> {
        let mut inbound = self.start(peer, Side::Inbound, mode, target, rules)?;
        origin::listening(inbound.address, &mut inbound.process).await.context("inbound")?;
        let mut outbound = self.start(peer, Side::Outbound, mode, inbound.address, 1)?;
        origin::listening(outbound.address, &mut outbound.process).await.context("outbound")?;
        Ok(Pair { outbound, inbound })
    }

    /// Starts both ends in front of the application and waits until a request gets through.
    pub(crate) async fn serving_pair(&self, peer: &Peer, mode: Mode, rules: u64) -> anyhow::Result<Pair> {
        let mut pair = self.pair(peer, mode, self.origin.http, rules).await?;
        let answering = origin::answering(pair.outbound.address).await;
        pair.inbound.process.check().context("inbound")?;
        pair.outbound.process.check().context("outbound")?;
        answering.map(|()| pair)
    }
}

/// Measures and reports, or reports what was measured before.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    if let Some(path) = &options.from {
        let report = Report::read(path)?;
        println!("{}", report.text());
        return write(&options, &report);
    }
    let begin = Instant::now();
    let trials = runnable(&options);
    let peers = participants(&options).await?;
    let home = tempfile::Builder::new().prefix("svidgate-bench-").tempdir()?;
    let descriptors = process::raise_descriptors()?;
    let credentials = Credentials::mint(home.path())?;
    // Those who work as another user than they were started by read what is in here.
    open_to_all(home.path())?;
    let origin = Origin::start(home.path()).await?;
    let bench =
        Bench { options, credentials, origin, descriptors, rate: OnceCell::new(), started: Cell::default(), home };
    eprintln!("how fast the machine encrypts and copies at all ...");
    let machine = Machine::examine();
    let mut results = Results::default();
    let total = total(&bench.options, &trials, &peers);
    eprintln!("about {} in all; every turn is cut off when it takes far longer than it should", minutes(total));
    for trial in trials {
        turns(&bench, trial, &peers, &mut results).await;
    }
    let report = results.report(machine, &peers, &bench.options);
    println!("{}", report.text());
    write(&bench.options, &report)?;
    eprintln!("done in {}", minutes(begin.elapsed()));
    Ok(())
}

/// Writes the files that are asked for.
fn write(options: &Options, report: &Report) -> anyhow::Result<()> {
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{}\n", serde_json::to_string_pretty(report)?))
            .with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    if let Some(path) = &options.html {
        std::fs::write(path, html::report(report))
            .with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    Ok(())
}

/// The tests that are asked for and whose load generator is there.
fn runnable(options: &Options) -> Vec<Trial> {
    let there = |trial: &Trial| match load::tool(*trial) {
        Some((tool, package)) if process::find(tool).is_none() => {
            eprintln!("{}: skipped, `{tool}` is missing: install the Debian package {package}", trial.name());
            false
        }
        _ => true,
    };
    options.trials().into_iter().filter(there).collect()
}

/// The products that are asked for and are there, svidgate built.
async fn participants(options: &Options) -> anyhow::Result<Vec<Peer>> {
    let mut options = options.clone();
    if options.svidgate.is_none() && options.products().contains(&Product::Svidgate) {
        options.svidgate = Some(build().await?);
    }
    let mut peers = Vec::new();
    for product in options.products() {
        match Peer::find(product, &options) {
            Ok(peer) => {
                eprintln!("{} {}: {}", peer.name(), peer.version, peer.program.display());
                peers.push(peer);
            }
            Err(how) => eprintln!("{}: not found; {how}", product.name()),
        }
    }
    if peers.is_empty() {
        bail!("there is nobody to measure");
    }
    Ok(peers)
}

/// Builds svidgate as it is shipped. Returns its binary.
async fn build() -> anyhow::Result<PathBuf> {
    eprintln!("building svidgate with the profile `dist` ...");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--profile", "dist", "--bin", "svidgate", "--message-format", "json-render-diagnostics"]);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    if let Some(target) = std::env::current_exe()?.ancestors().nth(3) {
        command.arg("--target-dir").arg(target);
    }
    let built = tokio::process::Command::from(command).kill_on_drop(true).output().await?;
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    let binary = executables.next_back().filter(|_| built.status.success());
    binary.context("svidgate cannot be built with the profile `dist`; name a built one with --svidgate FILE")
}

/// Every round of one test: everybody takes a turn in each, and begins one in turn.
async fn turns(bench: &Bench, trial: Trial, peers: &[Peer], results: &mut Results) {
    let able: Vec<&Peer> = peers.iter().filter(|peer| trials::lacks(trial, peer.product).is_none()).collect();
    for peer in peers {
        if let Some(lacks) = trials::lacks(trial, peer.product) {
            results.absent(trial, lacks, peer);
        }
    }
    if let Err(error) = trials::prepare(bench, trial, &able, results).await {
        eprintln!("{}: {error:#}", trial.name());
        results.failed(trial, "all", &error);
        return;
    }
    for round in 0..bench.options.rounds {
        let mut order = able.clone();
        let shift = usize::try_from(round).unwrap_or_default().checked_rem(order.len()).unwrap_or_default();
        order.rotate_left(shift);
        for peer in order {
            eprint!("{}, round {} of {}: {} ...", trial.name(), round + 1, bench.options.rounds, peer.name());
            let limit = trials::expected(trial, &bench.options, peer) * 3 + Duration::from_secs(90);
            let mut figures = Vec::new();
            let turn = trials::measure(bench, trial, peer, &mut figures);
            let ended = tokio::time::timeout(limit, turn).await.with_context(|| format!("cut off after {limit:?}"));
            eprintln!(" {}", figures.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            results.took(peer, figures);
            if let Err(error) = ended.and_then(|ended| ended) {
                eprintln!("    failed: {error:#}");
                results.failed(trial, peer.name(), &error);
            }
        }
    }
}

fn total(options: &Options, trials: &[Trial], peers: &[Peer]) -> Duration {
    let turns = trials.iter().flat_map(|trial| peers.iter().map(|peer| trials::expected(*trial, options, peer)));
    turns.sum::<Duration>() * u32::try_from(options.rounds).unwrap_or(1)
}

fn minutes(time: Duration) -> String {
    format!("{}:{:02} minutes", time.as_secs() / 60, time.as_secs() % 60)
}

fn open_to_all(directory: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?)
}
