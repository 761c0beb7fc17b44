//! The tests `http`, `http2` and `tcp`: small requests on kept connections through both proxies.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

use crate::bench::{Bench, Pair};
use crate::load::{self, Requests};
use crate::options::Trial;
use crate::products::{Mode, Peer};
use crate::results::Figure;

/// Connections of wrk.
pub(super) const CONNECTIONS: u64 = 50;

/// How long a load runs before anything counts.
pub(super) const WARM_UP: Duration = Duration::from_secs(1);

pub(super) async fn measure(bench: &Bench, peer: &Peer, trial: Trial, mode: Mode) -> anyhow::Result<Vec<Figure>> {
    let (pair, before, requests) = match mode {
        Mode::Tcp | Mode::Http => {
            let pair = bench.serving_pair(peer, mode, 1).await?;
            load::wrk(pair.outbound.address, CONNECTIONS, WARM_UP).await?;
            let before = pair.cpu()?;
            let requests = load::wrk(pair.outbound.address, CONNECTIONS, bench.options.duration()).await?;
            (pair, before, requests)
        }
        Mode::Http2 => {
            let pair = bench.pair(peer, mode, bench.origin.http2, 1).await?;
            warm_up_http2(&pair).await?;
            let before = pair.cpu()?;
            let requests = load::h2load(pair.outbound.address, bench.options.duration()).await?;
            (pair, before, requests)
        }
    };
    let cpu = pair.mean_cpu_since(before)?;
    let Requests { answered, per_second, .. } = requests.without_failure()?;
    let group = trial.name();
    Ok(vec![
        Figure::lower(&group, "CPU of one proxy", "µs per request", cpu * 1e6 / answered),
        Figure::higher(&group, "throughput through both", "thousand per second", per_second / 1e3),
    ])
}

/// The first loads may fail: nobody has asked yet whether the proxies have read their credentials.
async fn warm_up_http2(pair: &Pair) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let requests = load::h2load(pair.outbound.address, WARM_UP).await;
        match requests.and_then(Requests::without_failure) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => bail!("no request gets through: {error:#}"),
            Err(_) => {}
        }
    }
}
