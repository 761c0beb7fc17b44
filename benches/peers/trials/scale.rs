//! The test `scale`: does a request cost more where there are many connections, or many rules?

use std::time::Duration;

use anyhow::bail;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::requests::{CONNECTIONS, WARM_UP};
use crate::bench::Bench;
use crate::load;
use crate::products::{Mode, Peer, Product};
use crate::results::Figure;

/// Descriptors of a proxy that are not its connections'.
const SPARE: u64 = 500;

/// How long it may take until all connections stand.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is measured stands in `figures` even if what comes after fails.
pub(super) async fn measure(bench: &Bench, peer: &Peer, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    if peer.product == Product::Svidgate {
        for rules in [1, 10, 100, 1_000] {
            figures.push(under(bench, peer, rules).await?);
        }
    }
    for connections in [10, 100, 1_000, 10_000] {
        // Two descriptors for each; where the system grants fewer, as many connections as it has them for.
        let connections = bench.descriptors.saturating_sub(SPARE).div_euclid(2).min(connections);
        figures.push(over(bench, peer, connections).await?);
    }
    Ok(())
}

/// The CPU of one proxy for a request over so many connections, once all of them stand.
async fn over(bench: &Bench, peer: &Peer, connections: u64) -> anyhow::Result<Figure> {
    let pair = bench.serving_pair(peer, Mode::Http, 1).await?;
    let window = bench.options.duration();
    let (enough, told) = oneshot::channel::<()>();
    let told = async {
        let _ = told.await;
    };
    let generator = load::wrk_until(pair.outbound.address, connections, PATIENCE + window + WARM_UP, told);
    let watch = async {
        warm(bench, connections).await?;
        let (before, begun) = (pair.cpu()?, bench.origin.requests().await?);
        tokio::time::sleep(window).await;
        let cpu = pair.mean_cpu_since(before)?;
        // The look before is a request itself.
        let answered = bench.origin.requests().await?.saturating_sub(begun + 1);
        let _ = enough.send(());
        anyhow::Ok((cpu, u32::try_from(answered).map(f64::from)?))
    };
    let (requests, (cpu, answered)) = tokio::try_join!(generator, watch)?;
    if requests.failed > 0.0 || answered < 1.0 {
        bail!("{} requests failed over {connections} connections: {}", requests.failed, requests.complaints);
    }
    let name = format!("{connections} connections");
    Ok(Figure::lower("scale, connections", &name, "CPU µs per request", cpu * 1e6 / answered))
}

/// Waits until the connections stand behind the load: three answers for each of them, and the warm-up's time.
async fn warm(bench: &Bench, connections: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let begun = bench.origin.requests().await?;
    loop {
        tokio::time::sleep(WARM_UP).await;
        if bench.origin.requests().await?.saturating_sub(begun) > connections * 3 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{connections} connections do not stand after {PATIENCE:?}");
        }
    }
}

/// The CPU of the inbound proxy for a request under so many rules.
async fn under(bench: &Bench, peer: &Peer, rules: u64) -> anyhow::Result<Figure> {
    let pair = bench.serving_pair(peer, Mode::Http, rules).await?;
    load::wrk(pair.outbound.address, CONNECTIONS, WARM_UP).await?;
    let before = pair.inbound.process.cpu()?;
    let requests = load::wrk(pair.outbound.address, CONNECTIONS, bench.options.duration()).await?.without_failure()?;
    let cpu = pair.inbound.process.cpu()?.saturating_sub(before).as_secs_f64();
    let name = if rules == 1 { "1 rule".to_owned() } else { format!("{rules} rules") };
    Ok(Figure::lower("scale, rules", &name, "CPU µs per request", cpu * 1e6 / requests.answered))
}
