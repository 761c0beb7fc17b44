//! The test `rotation`: the load of `http` while both proxies' credentials are replaced again and again, against the same without.

use std::time::Duration;

use super::requests::{CONNECTIONS, WARM_UP};
use crate::bench::Bench;
use crate::load;
use crate::products::{Mode, Peer};
use crate::results::Figure;

const EVERY: Duration = Duration::from_millis(200);

pub(super) async fn measure(bench: &Bench, peer: &Peer) -> anyhow::Result<Vec<Figure>> {
    let duration = bench.options.duration();
    let pair = bench.serving_pair(peer, Mode::Http, 1).await?;
    load::wrk(pair.outbound.address, CONNECTIONS, WARM_UP).await?;
    let calm = load::wrk(pair.outbound.address, CONNECTIONS, duration).await?.without_failure()?;
    let mut rotations = 0.0;
    let rotating = {
        let rotation = async {
            let mut clock = tokio::time::interval(EVERY);
            loop {
                clock.tick().await;
                bench.credentials.rotate()?;
                rotations += 1.0;
            }
        };
        tokio::select! {
            requests = load::wrk(pair.outbound.address, CONNECTIONS, duration) => requests?,
            stopped = rotation => return stopped,
        }
    };
    let group = "rotation";
    Ok(vec![
        Figure::lower(group, "failed requests", "of all", rotating.failed),
        Figure::lower(group, "p99, no rotation", "ms", calm.p99_ms),
        Figure::lower(group, "p99, rotating", "ms", rotating.p99_ms),
        Figure::lower(group, "p99 against no rotation", "times", rotating.p99_ms / calm.p99_ms),
        Figure::higher(group, "rotations", "in all", rotations),
    ])
}
