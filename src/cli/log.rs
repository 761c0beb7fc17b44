//! Where log lines go: standard error, through a thread of their own, so that a slow reader of the log never stops traffic.

use std::io::IsTerminal;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::Args;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, ConfigError, Log, LogFormat};

/// How many lines may wait for a slow reader before further ones are dropped: 4 MiB of common ones, 100 MiB of those that refused strangers can
/// make longest.
const LINES_WAITING: usize = 8192;

/// How long an ending process waits for a reader of the log that does not read.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// What is logged, and how. The command line wins over the environment, the environment over the file.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Logging")]
pub(super) struct LogArgs {
    /// The shape of a log line
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<FormatArg>,
    /// What is logged: error, warn, info, debug, trace, or a filter in the syntax of RUST_LOG, over which it wins [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FormatArg {
    Text,
    Json,
}

impl LogArgs {
    /// What shall be logged, as a filter that is known to be one.
    ///
    /// # Errors
    /// When it is none, or misspelt: nothing at all would be logged then.
    pub(super) fn filter(&self, file: &Log) -> Result<String, ConfigError> {
        if let Some(level) = &self.log_level {
            return Config::log_filter("--log-level", level);
        }
        match std::env::var_os("RUST_LOG").filter(|filter| !filter.is_empty()) {
            Some(filter) => Config::log_filter("RUST_LOG", &filter.to_string_lossy()),
            None => Ok(file.level.clone().unwrap_or_else(|| "info".into())),
        }
    }

    /// Starts logging. Lines written before the guard is dropped reach the log, if somebody reads it.
    pub(super) fn start(&self, filter: &str, format: Option<LogFormat>) -> Waiting {
        // What rustls says below a warning is for those who debug rustls; it may quote handshakes.
        let filter = EnvFilter::builder().parse_lossy(format!("rustls=warn,{filter}"));
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(LINES_WAITING)
            .thread_name("log")
            .finish(std::io::stderr());
        let dropped = writer.error_counter();
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
        let format = match self.log_format {
            Some(FormatArg::Text) => LogFormat::Text,
            Some(FormatArg::Json) => LogFormat::Json,
            None => format.unwrap_or_default(),
        };
        match format {
            LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal() && no_color_unset()).init(),
            LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        }
        Waiting { guard: Some(guard), dropped }
    }
}

/// The lines that wait to be written. Dropping it gives their reader a last moment to take them.
pub(super) struct Waiting {
    guard: Option<WorkerGuard>,
    dropped: ErrorCounter,
}

impl Waiting {
    /// How many lines were dropped because their reader was too slow.
    pub(super) fn dropped(&self) -> usize {
        self.dropped.dropped_lines()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let guard = self.guard.take();
        let (done, written) = channel();
        // Where the log is stuck the guard prints to standard output, which may be stuck as well.
        let writing = std::thread::Builder::new().name("last-lines".into()).spawn(move || {
            drop(guard);
            let _ = done.send(());
        });
        if writing.is_ok() {
            let _ = written.recv_timeout(LAST_MOMENT);
        }
    }
}

/// The convention of no-color.org.
fn no_color_unset() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
