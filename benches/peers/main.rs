//! The bench: svidgate beside every peer found on this machine, each at the same job, in turns. `benches/README.md` tells how to run it and how to
//! read what it prints.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to whoever runs it")]

mod bench;
mod chart;
mod client;
mod credentials;
mod floor;
mod html;
mod load;
mod machine;
mod options;
mod origin;
mod paced;
mod process;
mod products;
mod report;
mod results;
mod trials;

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::options::Options;

/// As in svidgate's binary: the floor is to differ from it in code alone.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ran = match arguments.split_first() {
        Some((first, rest)) if first == floor::VERB => floor::run(rest).map(|()| ExitCode::SUCCESS),
        _ => run(),
    };
    ran.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Measures until done, or until a signal. Either way every process that was started has ended when this returns: their guards live in the
/// future that is dropped here.
fn run() -> anyhow::Result<ExitCode> {
    let options = <Options as clap::Parser>::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(async {
        let interrupted = async {
            let mut signals =
                [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
            let [interrupt, terminate, hangup] = &mut signals;
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
            anyhow::Ok(())
        };
        tokio::select! {
            done = bench::run(options) => done.map(|()| ExitCode::SUCCESS),
            stopped = interrupted => stopped.map(|()| {
                eprintln!("\nstopped: what was started has been ended");
                ExitCode::from(130)
            }),
        }
    });
    // A paced load may be in the middle of a request that nobody answers any more.
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}
