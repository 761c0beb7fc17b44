//! The tests `handshake` and `idle`: what a new connection costs, and one that is held.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::bench::{Bench, Proxy};
use crate::client::{self, Tls};
use crate::origin;
use crate::products::{Mode, Peer, Side};
use crate::results::Figure;

/// New connections at a time.
const AT_A_TIME: u64 = 16;

/// How long the proxy is left alone before its memory is looked at.
const SETTLING: Duration = Duration::from_secs(2);

/// New mutual-TLS connections with one request each, straight to the inbound proxy.
pub(super) async fn handshake(bench: &Bench, peer: &Peer) -> anyhow::Result<Vec<Figure>> {
    let (proxy, tls) = inbound(bench, peer).await?;
    visits(&tls, proxy.address, Duration::from_millis(500)).await?;
    let before = proxy.process.cpu()?;
    let duration = bench.options.duration();
    let done = visits(&tls, proxy.address, duration).await?;
    let cpu = proxy.process.cpu()?.saturating_sub(before).as_secs_f64();
    Ok(vec![
        Figure::lower("handshake", "CPU of the inbound proxy", "µs per connection", cpu * 1e6 / done),
        Figure::higher("handshake", "connections", "thousand per second", done / duration.as_secs_f64() / 1e3),
    ])
}

/// Connections that have carried one request each and are held.
pub(super) async fn idle(bench: &Bench, peer: &Peer) -> anyhow::Result<Vec<Figure>> {
    let held = bench.options.held;
    if held * 2 + 100 > bench.descriptors {
        bail!("{held} connections need {} descriptors, and the system grants {}", held * 2 + 100, bench.descriptors);
    }
    let (proxy, tls) = inbound(bench, peer).await?;
    visits(&tls, proxy.address, Duration::from_millis(500)).await?;
    tokio::time::sleep(SETTLING).await;
    let before = proxy.process.memory()?.proportional_kib;
    let streams = hold(&tls, proxy.address, held).await?;
    tokio::time::sleep(SETTLING).await;
    let after = proxy.process.memory()?.proportional_kib;
    drop(streams);
    let each = (after - before) / u32::try_from(held).map(f64::from)?;
    Ok(vec![Figure::lower("idle", "memory (Pss) for each held connection", "KiB", each)])
}

/// The inbound proxy in front of the application, once a whole visit succeeds.
async fn inbound(bench: &Bench, peer: &Peer) -> anyhow::Result<(Proxy, Tls)> {
    let mut proxy = bench.start(peer, Side::Inbound, Mode::Tcp, bench.origin.http, 1)?;
    origin::listening(proxy.address, &mut proxy.process).await?;
    let tls = Tls::new(bench.credentials.client.plain())?;
    let deadline = Instant::now() + Duration::from_secs(15);
    while let Err(error) = tls.visit(proxy.address).await {
        proxy.process.check()?;
        if Instant::now() > deadline {
            return Err(error.context("no connection succeeds"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((proxy, tls))
}

/// Visits until the time is over, so many at a time. Returns how many there were.
async fn visits(tls: &Tls, address: SocketAddr, duration: Duration) -> anyhow::Result<f64> {
    let deadline = Instant::now() + duration;
    let mut visitors = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let tls = tls.clone();
        visitors.spawn(async move {
            let mut done = 0.0;
            while Instant::now() < deadline {
                tls.visit(address).await?;
                done += 1.0;
            }
            anyhow::Ok(done)
        });
    }
    let mut sum = 0.0;
    while let Some(done) = visitors.join_next().await {
        sum += done?.context("a connection failed")?;
    }
    Ok(sum)
}

async fn hold(tls: &Tls, address: SocketAddr, wanted: u64) -> anyhow::Result<Vec<TlsStream<TcpStream>>> {
    let mut openers = JoinSet::new();
    for opener in 0..AT_A_TIME {
        let tls = tls.clone();
        let share = wanted / AT_A_TIME + u64::from(opener < wanted % AT_A_TIME);
        openers.spawn(async move {
            let mut streams = Vec::new();
            for _ in 0..share {
                let mut stream = tls.connect(address).await?;
                client::ask(&mut stream, client::KEPT).await?;
                streams.push(stream);
            }
            anyhow::Ok(streams)
        });
    }
    let mut all = Vec::new();
    while let Some(streams) = openers.join_next().await {
        all.extend(streams?.with_context(|| format!("a connection failed of {wanted} that were to be held"))?);
    }
    Ok(all)
}
