//! An open-loop load of HTTP/1.1: requests fall due at a fixed rate, whether or not those before them have been answered. A request that had to
//! wait for its connection counts from the moment at which it was due, so that a stall costs all of the requests that it delayed (coordinated
//! omission); the client's own timer slack is not the proxy's fault and counts for nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;

use crate::client;

/// Connections, each with a thread of its own: blocking sockets need no timer wheel and wake no other thread.
const CONNECTIONS: u32 = 32;

/// Latencies in nanoseconds.
pub(crate) type Latencies = Histogram<u64>;

/// Asks `rate` times a second for `duration`.
pub(crate) async fn load(address: SocketAddr, rate: f64, duration: Duration) -> anyhow::Result<Latencies> {
    tokio::task::spawn_blocking(move || run(address, rate, duration)).await?
}

fn run(address: SocketAddr, rate: f64, duration: Duration) -> anyhow::Result<Latencies> {
    let interval = Duration::from_secs_f64(f64::from(CONNECTIONS) / rate);
    let begin = Instant::now() + Duration::from_millis(50);
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let first = begin + interval / CONNECTIONS * number;
            std::thread::spawn(move || one(address, first, interval, begin + duration))
        })
        .collect();
    let mut all = latencies()?;
    for thread in threads {
        all.add(thread.join().map_err(|_| anyhow::anyhow!("a client broke down"))??)?;
    }
    Ok(all)
}

/// From a microsecond to a minute, with three digits.
fn latencies() -> anyhow::Result<Latencies> {
    Ok(Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?)
}

fn one(address: SocketAddr, first: Instant, interval: Duration, end: Instant) -> anyhow::Result<Latencies> {
    let mut latencies = latencies()?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut due = first;
    let mut received = Vec::with_capacity(4096);
    let mut free_at = Instant::now();
    while due < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let began = if free_at > due { due } else { Instant::now() };
        ask(&mut stream, &mut received)?;
        free_at = Instant::now();
        let nanoseconds = u64::try_from(free_at.duration_since(began).as_nanos())?;
        latencies.saturating_record(nanoseconds);
        due += interval;
    }
    Ok(latencies)
}

fn ask(stream: &mut TcpStream, received: &mut Vec<u8>) -> anyhow::Result<()> {
    stream.write_all(client::KEPT)?;
    received.clear();
    let mut part = [0; 4096];
    while client::complete(received)?.is_none() {
        let length = stream.read(&mut part).context("no answer")?;
        if length == 0 {
            bail!("the connection ended before an answer");
        }
        received.extend(part.iter().take(length));
    }
    Ok(())
}
