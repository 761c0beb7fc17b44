//! The tests: who takes part in which, how long a turn lasts, and the turn itself.

mod bulk;
mod connections;
mod latency;
mod requests;
mod rotation;
mod scale;
mod start;

use std::time::Duration;

use crate::bench::Bench;
use crate::options::{Options, Trial};
use crate::products::{Mode, Peer, Product};
use crate::results::{Figure, Results};

/// What both proxies are in a test.
fn mode(trial: Trial) -> Mode {
    match trial {
        Trial::Http | Trial::Latency | Trial::Rotation | Trial::Scale => Mode::Http,
        Trial::Http2 => Mode::Http2,
        Trial::Tcp | Trial::Bulk | Trial::Handshake | Trial::Idle | Trial::Start => Mode::Tcp,
    }
}

/// Why a product cannot take part in a test; `None` where it can.
pub(crate) fn lacks(trial: Trial, product: Product) -> Option<&'static str> {
    match trial {
        Trial::Rotation if product != Product::Svidgate => {
            Some("not told of new files without a reload or a control plane")
        }
        trial => product.lacks(mode(trial)),
    }
}

/// How long a turn lasts, about.
pub(crate) fn expected(trial: Trial, options: &Options, peer: &Peer) -> Duration {
    let seconds = match trial {
        _ if lacks(trial, peer.product).is_some() => 0,
        Trial::Http | Trial::Http2 | Trial::Tcp => 3 + options.seconds,
        Trial::Bulk => 6 + 4 * options.seconds,
        Trial::Handshake => 2 + options.seconds,
        Trial::Idle => 6 + options.held / 500,
        Trial::Latency => 3 + 2 * options.seconds,
        Trial::Rotation => 5 + 2 * options.seconds,
        Trial::Scale if peer.product == Product::Svidgate => 35 + 8 * options.seconds,
        Trial::Scale => 25 + 4 * options.seconds,
        Trial::Start => 3,
    };
    Duration::from_secs(seconds)
}

/// What must be known before the first turn.
pub(crate) async fn prepare(bench: &Bench, trial: Trial, peers: &[&Peer], results: &mut Results) -> anyhow::Result<()> {
    match trial {
        Trial::Latency if !peers.is_empty() => latency::find_rate(bench, peers, results).await,
        _ => Ok(()),
    }
}

/// One turn of one product. What is in `figures` when it fails, or is cut off, was measured all the same.
pub(crate) async fn measure(bench: &Bench, trial: Trial, peer: &Peer, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    figures.extend(match trial {
        Trial::Http | Trial::Http2 | Trial::Tcp => requests::measure(bench, peer, trial, mode(trial)).await?,
        Trial::Bulk => bulk::measure(bench, peer).await?,
        Trial::Handshake => connections::handshake(bench, peer).await?,
        Trial::Idle => connections::idle(bench, peer).await?,
        Trial::Latency => latency::measure(bench, peer).await?,
        Trial::Rotation => rotation::measure(bench, peer).await?,
        Trial::Scale => return scale::measure(bench, peer, figures).await,
        Trial::Start => start::measure(bench, peer).await?,
    });
    Ok(())
}
