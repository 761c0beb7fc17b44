//! The test `start`: how soon after exec a peer is served, and what the product takes before anybody comes.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

use crate::bench::Bench;
use crate::client::Tls;
use crate::products::{Mode, Peer, Side};
use crate::results::Figure;

pub(super) async fn measure(bench: &Bench, peer: &Peer) -> anyhow::Result<Vec<Figure>> {
    let tls = Tls::new(bench.credentials.client.plain())?;
    let rest = {
        let proxy = bench.start(peer, Side::Inbound, Mode::Tcp, bench.origin.http, 1)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.process.memory()?
    };
    let begin = Instant::now();
    let mut proxy = bench.start(peer, Side::Inbound, Mode::Tcp, bench.origin.http, 1)?;
    while let Err(error) = tls.visit(proxy.address).await {
        proxy.process.check()?;
        if begin.elapsed() > Duration::from_secs(20) {
            bail!("no connection succeeds: {error:#}");
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    let first = begin.elapsed().as_secs_f64() * 1e3;
    let binary = std::fs::metadata(&peer.program)?.len();
    let mib = |kib: f64| kib / 1024.0;
    Ok(vec![
        Figure::lower("start", "exec to the first request answered", "ms", first),
        Figure::lower("start", "resident at rest", "MiB", mib(rest.resident_kib)),
        Figure::lower("start", "proportional at rest", "MiB", mib(rest.proportional_kib)),
        Figure::lower("start", "binary", "MiB", mib(u32::try_from(binary / 1024).map(f64::from)?)),
    ])
}
