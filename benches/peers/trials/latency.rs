//! The test `latency`: what both proxies add, at a rate that the slowest of all can take twice.

use std::time::Duration;

use anyhow::Context as _;

use super::requests::CONNECTIONS;
use crate::bench::Bench;
use crate::products::{Mode, Peer};
use crate::results::{Figure, Results};
use crate::{load, paced};

/// How long everybody is asked for as much as they can give, to find the rate.
const TRIAL: Duration = Duration::from_secs(2);

/// Half of what the slowest can take.
pub(super) async fn find_rate(bench: &Bench, peers: &[&Peer], results: &mut Results) -> anyhow::Result<()> {
    let mut slowest = f64::INFINITY;
    for peer in peers {
        eprint!("latency, how much they can take: {} ...", peer.name());
        let pair = bench.serving_pair(peer, Mode::Http, 1).await.with_context(|| peer.name())?;
        let requests = load::wrk(pair.outbound.address, CONNECTIONS, TRIAL).await?.without_failure()?;
        eprintln!(" {:.0} requests per second", requests.per_second);
        slowest = slowest.min(requests.per_second);
    }
    let rate = bench.rate.get_or_init(|| slowest / 2.0);
    results.note(format!("latency: at {rate:.0} requests per second, half of what the slowest can take"));
    Ok(())
}

/// The application alone, then through both proxies: the difference of the quantiles.
pub(super) async fn measure(bench: &Bench, peer: &Peer) -> anyhow::Result<Vec<Figure>> {
    let rate = *bench.rate.get().context("there is no rate")?;
    let pair = bench.serving_pair(peer, Mode::Http, 1).await?;
    paced::load(pair.outbound.address, rate, Duration::from_secs(1)).await?;
    let direct = paced::load(bench.origin.http, rate, bench.options.duration()).await?;
    let through = paced::load(pair.outbound.address, rate, bench.options.duration()).await?;
    let quantiles = [(0.5, "added, p50"), (0.99, "added, p99"), (0.999, "added, p99.9")];
    let added = quantiles.map(|(quantile, name)| {
        let [direct, through] = [&direct, &through]
            .map(|latencies| Duration::from_nanos(latencies.value_at_quantile(quantile)).as_secs_f64() * 1e6);
        Figure::lower("latency", name, "µs", through - direct)
    });
    Ok(added.into())
}
