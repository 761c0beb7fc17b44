//! The test `bulk`: streams of bytes through both proxies, one and four at a time, in both directions.

use std::time::Duration;

use crate::bench::Bench;
use crate::load::{self, Way};
use crate::origin;
use crate::products::{Mode, Peer};
use crate::results::Figure;

pub(super) async fn measure(bench: &Bench, peer: &Peer) -> anyhow::Result<Vec<Figure>> {
    let [target] = origin::free_addresses()?;
    let mut server = load::iperf_server(target, &bench.room("iperf3")?.join("log"))?;
    origin::listening(target, &mut server).await?;
    let pair = bench.pair(peer, Mode::Tcp, target, 1).await?;
    // Credentials may still be on their way when a listener stands.
    let mut tries = 0;
    while let Err(error) = load::iperf(pair.outbound.address, 1, Way::Up, Duration::from_secs(1)).await {
        tries += 1;
        if tries == 4 {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut figures = Vec::new();
    for (streams, group) in [(1, "bulk, one stream"), (4, "bulk, four streams")] {
        for (way, name) in [(Way::Up, "to the server"), (Way::Down, "to the client")] {
            let before = pair.cpu()?;
            let duration = bench.options.duration();
            let bytes = load::iperf(pair.outbound.address, streams, way, duration).await?;
            let [outbound, inbound] = pair.cpu()?;
            let [outbound_before, inbound_before] = before;
            let (outbound, inbound) = (outbound - outbound_before, inbound - inbound_before);
            let (encrypting, decrypting) = if way == Way::Up { (outbound, inbound) } else { (inbound, outbound) };
            let gigabytes = bytes / 1e9;
            figures.extend([
                Figure::lower(group, &format!("{name}: decrypting"), "CPU s per GB", decrypting / gigabytes),
                Figure::lower(group, &format!("{name}: encrypting"), "CPU s per GB", encrypting / gigabytes),
                Figure::higher(group, &format!("{name}: rate"), "Gbit/s", gigabytes * 8.0 / duration.as_secs_f64()),
            ]);
        }
    }
    Ok(figures)
}
