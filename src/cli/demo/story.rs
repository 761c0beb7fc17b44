//! The demo's voice: a line for each event, a progress line on a terminal, and the summary. What it tells of a refusal is what the proxy logged.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::traffic::Counts;
use super::uninvited::Answer;
use super::world::World;
use crate::cli::out::out;

/// How long a refusal may take to its line in the log.
const PATIENCE: Duration = Duration::from_secs(2);

/// The story so far.
pub(super) struct Story {
    begun: Instant,
    is_terminal: bool,
    has_progress_line: bool,
    last_progress: Instant,
    rotations: u64,
    slowest: Duration,
    refused: u64,
    let_in: u64,
    reasons: Receiver<String>,
}

impl Story {
    /// Begins to listen to what the proxies log.
    pub(super) fn begin() -> anyhow::Result<Self> {
        let (sender, reasons) = channel();
        tracing_subscriber::registry().with(Refusals(sender)).try_init()?;
        let now = Instant::now();
        Ok(Self {
            begun: now,
            is_terminal: io::stdout().is_terminal(),
            has_progress_line: false,
            last_progress: now,
            rotations: 0,
            slowest: Duration::ZERO,
            refused: 0,
            let_in: 0,
            reasons,
        })
    }

    pub(super) fn introduce(&mut self, world: &World) {
        let (entrance, door, application) = (world.entrance(), world.door(), world.application());
        let [inbound, outbound] = world.commands();
        self.print(&format!(
            "svidgate demo, on throwaway credentials in {}\n\n  \
             clients ── plaintext ──> outbound proxy {entrance}\n                           \
             │ mutual TLS by SPIFFE ID\n                           \
             ▼\n                         \
             inbound proxy {door} ── plaintext ──> application {application}\n\n\
             The same by hand (each in its own shell, other ports while this runs):\n  {inbound}\n  {outbound}\n  curl http://{entrance}/\n",
            world.directory().display()
        ));
    }

    /// One event.
    pub(super) fn tell(&mut self, event: &str) {
        self.clear_progress();
        let elapsed = self.begun.elapsed().as_secs_f64();
        self.print(&format!("{elapsed:7.1}s  {event}"));
    }

    /// What became of someone who shall not get in.
    pub(super) fn forbidden(&mut self, who: &str, answer: &Answer) {
        // The peer may be told sooner than the log.
        let first = self.reasons.recv_timeout(PATIENCE).ok();
        let logged = self.reasons.try_iter().last().or(first);
        match answer {
            Answer::Refused(alert) => {
                self.refused += 1;
                let reason = logged.unwrap_or_else(|| "no reason was logged".into());
                self.tell(&format!("refused {who}: told {alert}; logged: {reason}"));
            }
            Answer::Unclear(what) => {
                self.refused += 1;
                self.tell(&format!("refused {who}, without an alert: {what}"));
            }
            Answer::LetIn => {
                self.let_in += 1;
                self.tell(&format!("LET IN {who}"));
            }
        }
    }

    /// Both sides have followed a rotation.
    pub(super) fn followed(&mut self, took: &[Duration; 2]) {
        self.rotations += 2;
        let slowest = took.iter().max().copied().unwrap_or_default();
        self.slowest = self.slowest.max(slowest);
        if self.rotations == 2 {
            let slowest = slowest.as_secs_f64() * 1000.0;
            self.tell(&format!("both sides rotate every second from now on; followed within {slowest:.0} ms"));
        }
    }

    /// How things stand: in place on a terminal, a line now and then elsewhere.
    pub(super) fn progress(&mut self, counts: &Counts) {
        let line = format!(
            "{:7.1}s  {} requests served, {} failed; {} connections; {} rotations followed; {} peers refused",
            self.begun.elapsed().as_secs_f64(),
            counts.served,
            counts.failed,
            counts.connections,
            self.rotations,
            self.refused
        );
        if self.is_terminal {
            let _ = write!(out(), "\r\x1b[2K{line}");
            let _ = out().flush();
            self.has_progress_line = true;
        } else if self.last_progress.elapsed() >= Duration::from_secs(5) {
            self.last_progress = Instant::now();
            self.print(&line);
        }
    }

    /// The summary, and the exit code that follows from it.
    pub(super) fn conclude(mut self, counts: &Counts) -> ExitCode {
        self.clear_progress();
        let good = counts.failed == 0 && counts.served > 0 && self.let_in == 0;
        self.print(&format!(
            "\n  requests served      {}\n  requests failed      {}\n  connections made     {}\n  rotations followed   {} (the slowest within {:.0} ms)\n  \
             peers refused        {}\n  peers wrongly let in {}",
            counts.served,
            counts.failed,
            counts.connections,
            self.rotations,
            self.slowest.as_secs_f64() * 1000.0,
            self.refused,
            self.let_in
        ));
        if let Some(failure) = &counts.last_failure {
            self.print(&format!("  the last failure     {failure}"));
        }
        self.print(if good { "\nAs promised." } else { "\nNOT as promised." });
        if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn clear_progress(&mut self) {
        if self.has_progress_line {
            let _ = write!(out(), "\r\x1b[2K");
            self.has_progress_line = false;
        }
    }

    fn print(&self, text: &str) {
        let _ = writeln!(out(), "{text}");
    }
}

/// Listens to the log for the reasons of refusals.
struct Refusals(Sender<String>);

impl<S: Subscriber> Layer<S> for Refusals {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut reason = Reason(None);
        event.record(&mut reason);
        if let Some(reason) = reason.0 {
            let _ = self.0.send(reason);
        }
    }
}

struct Reason(Option<String>);

impl Visit for Reason {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "policy.reason" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}
