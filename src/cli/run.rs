//! `run`, and the one-listener commands: serve until told to stop, following the configuration file.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::time::{Instant, sleep_until};

use super::log::{LogArgs, Waiting};
use super::out::err;
use crate::app::{App, Applied, Drained, Handle};
use crate::config::{Config, ConfigError};
use crate::shutdown::{Signal, Signals};
use crate::watch::FileWatch;

/// How long a configuration that could not be put in place waits for another try.
const RETRY: Duration = Duration::from_secs(10);

/// Runs every listener of a configuration file.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The configuration file; followed while running
    #[arg(short, long, value_name = "FILE", env = "SVIDGATE_CONFIG")]
    config: PathBuf,
}

/// Runs a configuration file.
pub(super) fn run(args: &Run, log: &LogArgs) -> anyhow::Result<ExitCode> {
    // The watch first: what changes after this reading is a change.
    let watch = FileWatch::new(&args.config);
    serve(Config::read(&args.config), Some((&args.config, watch)), log)
}

/// Runs one listener from flags.
pub(super) fn quick(config: Result<Config, ConfigError>, log: &LogArgs) -> anyhow::Result<ExitCode> {
    serve(config, None, log)
}

fn serve(
    config: Result<Config, ConfigError>,
    file: Option<(&Path, FileWatch)>,
    log: &LogArgs,
) -> anyhow::Result<ExitCode> {
    let config = match config {
        Ok(config) => config,
        Err(faults) => {
            return refuse(&faults);
        }
    };
    let filter = match log.filter(&config.log) {
        Ok(filter) => filter,
        Err(faults) => return refuse(&faults),
    };
    let lines = log.start(&filter, config.log.format);
    raise_descriptor_limit(&config);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.limits.worker_threads {
        runtime.worker_threads(threads);
    }
    let runtime = runtime.enable_all().thread_name("worker").build().context("cannot start the worker threads")?;
    let drained = runtime.block_on(until_drained(config, file, &lines))?;
    // A look at a credentials file that hangs must not keep the process.
    runtime.shutdown_background();
    match drained {
        Drained::Clean => {
            tracing::info!("drained");
            Ok(ExitCode::SUCCESS)
        }
        Drained::Forced(connections) => {
            tracing::warn!(connections, "stopped with connections still open");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Says what is wrong with what we are asked to do.
fn refuse(faults: &ConfigError) -> anyhow::Result<ExitCode> {
    writeln!(err(), "{faults}")?;
    Ok(ExitCode::from(2))
}

/// A proxied connection uses two descriptors, and many systems start a process with 1,024: the soft limit goes up to the hard one. Where that
/// is less than the configuration allows, connections will wait for descriptors, and so may a rotation: that is said at the start.
fn raise_descriptor_limit(config: &Config) {
    let descriptors = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => {
                tracing::debug!(descriptors = hard, "descriptor limit raised");
                hard
            }
            Err(error) => {
                tracing::warn!(%error, descriptors = soft, "the descriptor limit cannot be raised");
                soft
            }
        },
        Ok((soft, _)) => soft,
        Err(error) => return tracing::warn!(%error, "the descriptor limit cannot be read"),
    };
    let wanted = config.listeners.len().saturating_mul(config.limits.max_connections).saturating_mul(2);
    if !u64::try_from(wanted).is_ok_and(|wanted| wanted <= descriptors) {
        tracing::info!(descriptors, wanted, "`max_connections` allows more than the descriptor limit does");
    }
}

async fn until_drained(
    config: Config,
    mut file: Option<(&Path, FileWatch)>,
    lines: &Waiting,
) -> anyhow::Result<Drained> {
    // Taken over first: from here on no signal has its default effect.
    let mut signals = Signals::new().context("cannot take over the signals")?;
    let app = App::bind(config)?;
    let handle = app.handle();
    let mut serving = tokio::spawn(app.serve());
    let mut again = None;
    loop {
        tokio::select! {
            drained = &mut serving => return drained.context("a defect ended the server"),
            signal = signals.next() => match signal {
                Signal::Stop => handle.stop().await,
                Signal::Look => handle.look().await,
                Signal::Status => {
                    tracing::info!(log.dropped = lines.dropped(), "status");
                    handle.status().await;
                }
                Signal::Reload => {
                    handle.look().await;
                    if let Some((file, _)) = &file {
                        again = reload(file, &handle).await;
                    }
                }
            },
            file = changed(&mut file, again) => again = reload(file, &handle).await,
        }
    }
}

/// Waits for a change of the configuration file, or for the time to try it again, and names it; for ever without one.
async fn changed<'a>(file: &mut Option<(&'a Path, FileWatch)>, again: Option<Instant>) -> &'a Path {
    let Some((file, watch)) = file else { return std::future::pending().await };
    match again {
        Some(again) => tokio::select! {
            () = watch.changed() => {}
            () = sleep_until(again) => {}
        },
        None => watch.changed().await,
    }
    file
}

/// Reads the configuration file again and puts it in place, whole or not at all. An address that is taken may be free later: then it says when to
/// try again.
async fn reload(file: &Path, handle: &Handle) -> Option<Instant> {
    match Config::read(file) {
        Ok(config) => match handle.apply(config).await {
            Ok(Applied::Unchanged) => tracing::debug!("the configuration has not changed"),
            Ok(Applied::Changed) => tracing::info!("the new configuration is in place"),
            Err(error) => {
                tracing::error!(%error, "the new configuration cannot be put in place; the old one stays");
                return Some(Instant::now() + RETRY);
            }
        },
        Err(faults) => {
            // A line of the log for each: whoever reads logs reads lines.
            for fault in &faults.faults {
                tracing::error!(error = %fault, hint = fault.hint, "a fault in the new configuration");
            }
            let count = faults.faults.len() + faults.omitted;
            tracing::error!(faults = count, "the new configuration is faulty; the old one stays");
            handle.config_refused(faults.to_string()).await;
        }
    }
    None
}
