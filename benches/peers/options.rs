//! What is measured, on whom, for how long, and where the outcome goes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::products::Product;

/// svidgate beside its peers: CPU, memory, throughput and latency of the same job, in turns.
#[derive(Parser, Clone, Debug)]
#[command(name = "peers", bin_name = "cargo bench --bench peers --")]
pub(crate) struct Options {
    /// The tests; all of them where none is named
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,...")]
    pub(crate) tests: Vec<Trial>,
    /// The products; all that are found where none is named
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,...")]
    pub(crate) peers: Vec<Product>,
    /// How long each load lasts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) seconds: u64,
    /// How often each product takes its turn in each test
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) rounds: u64,
    /// Worker threads or processes of every product that can be told
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) workers: u64,
    /// Connections that are held in the test `idle`
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    pub(crate) held: u64,
    /// Write every single figure here
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a report with plots here; it needs nothing else to be read
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Measure nothing: print the tables of an earlier run, from what it wrote with --json
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// The svidgate to measure, instead of building the one of this tree
    #[arg(long, value_name = "FILE")]
    pub(crate) svidgate: Option<PathBuf>,
    /// The Envoy to measure, instead of the one on the PATH or in target/peers
    #[arg(long, value_name = "FILE")]
    pub(crate) envoy: Option<PathBuf>,
    /// The ghostunnel to measure, instead of the one on the PATH
    #[arg(long, value_name = "FILE")]
    pub(crate) ghostunnel: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(crate) fn trials(&self) -> Vec<Trial> {
        chosen(&self.tests)
    }

    pub(crate) fn products(&self) -> Vec<Product> {
        chosen(&self.peers)
    }
}

fn chosen<T: ValueEnum + Clone>(named: &[T]) -> Vec<T> {
    if named.is_empty() { T::value_variants().to_vec() } else { named.to_vec() }
}

/// One kind of load.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trial {
    /// HTTP/1.1 through both proxies, kept connections
    Http,
    /// HTTP/2 from client to target
    Http2,
    /// The load of `http`, both proxies as byte relays
    Tcp,
    /// One stream of bytes, and four, both directions
    Bulk,
    /// New mutual-TLS connections, one request each
    Handshake,
    /// Memory for each held, idle connection
    Idle,
    /// Latency added at half of the slowest product's throughput
    Latency,
    /// HTTP while credentials rotate every 200 ms
    Rotation,
    /// HTTP over 10 to 10,000 connections, and under 1 to 1,000 rules
    Scale,
    /// From exec to the first handshake; memory at rest; size of the binary
    Start,
}

impl Trial {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
