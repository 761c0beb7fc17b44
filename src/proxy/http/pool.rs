//! Upstream connections that wait for the next request. Each worker thread keeps its own and looks there first, and none is ever shared between
//! two callers: what an application may take as said of a connection was said of one peer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::yield_now;

use super::connect::{Http2, is_trusted};
use super::http1::Http1;
use super::waiting::Waiting;
use crate::spiffe::SpiffeId;
use crate::tls::Terms;

/// For whom a connection carries requests: the authenticated caller, or the application on this machine.
pub(super) type For = Option<Arc<SpiffeId>>;

/// How many connections are looked at before others have their turn at the lock.
const GLANCE: usize = 64;

/// The waiting connections to one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    shards: Box<[Mutex<Shard>]>,
    max_idle: usize,
    /// The endpoint was asked for HTTP/2 in ALPN, and agreed to HTTP/1.1 only.
    pub(super) declined_http2: AtomicBool,
    /// Held by whoever opens a connection that others will share.
    pub(super) opening: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Shard {
    http1: Waiting<Box<Http1>>,
    /// In use and waiting: many requests share one.
    http2: BTreeMap<For, Vec<Http2>>,
}

impl Shard {
    /// Takes out the HTTP/2 connection that has had no request for longest.
    fn longest_idle_http2(&mut self) -> Option<Http2> {
        let all = self.http2.iter().flat_map(|(whom, own)| own.iter().enumerate().map(move |at| (whom, at)));
        let idle = all.filter_map(|(whom, (at, connection))| Some((connection.idle()?, whom, at)));
        let (_, whom, at) = idle.max_by_key(|(idle, ..)| *idle)?;
        let whom = whom.clone();
        Some(self.http2.get_mut(&whom)?.swap_remove(at))
    }
}

impl Pool {
    /// A pool that keeps up to `max_idle` connections for each worker thread.
    pub(super) fn new(max_idle: usize) -> Self {
        let here = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = tokio::runtime::Handle::try_current().map_or_else(|_| here(), |it| it.metrics().num_workers());
        Self {
            shards: (0..workers).map(|_| Mutex::default()).collect(),
            max_idle,
            declined_http2: AtomicBool::new(false),
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// A waiting HTTP/1.1 connection that can take a request, the one used last first. Where this thread has none, another's is taken: tasks
    /// move between threads while they wait, and a handshake costs more than a lock.
    pub(super) fn take_http1(&self, whom: &For, terms: Option<&Arc<Terms>>) -> Option<Box<Http1>> {
        let own = worker() % self.shards.len().max(1);
        let (before, from_own) = self.shards.split_at_checked(own)?;
        from_own.iter().chain(before).find_map(|shard| {
            // One request does not clear up after a target that has closed thousands.
            for _ in 0..GLANCE {
                let mut taken = locked(shard).http1.take(whom)?;
                if is_trusted(taken.server.as_ref(), terms) && taken.is_alive() {
                    return Some(taken);
                }
            }
            None
        })
    }

    /// Keeps a connection for the next request, in the place of the one that has waited longest where there is no other: else the connections of
    /// one caller kept those of all others out.
    pub(super) fn put_http1(&self, whom: For, connection: Box<Http1>) {
        let _evicted = self.shard().filter(|_| self.max_idle > 0).and_then(|mut shard| {
            let evicted = (shard.http1.len() >= self.max_idle).then(|| shard.http1.take_oldest()).flatten();
            shard.http1.put(whom, connection);
            evicted
        });
    }

    /// An HTTP/2 connection that can take one more request.
    pub(super) fn share_http2(&self, whom: &For, terms: Option<&Arc<Terms>>) -> Option<Http2> {
        let mut shard = self.shard()?;
        let own = shard.http2.get_mut(whom)?;
        own.retain(|connection| !connection.is_over());
        own.iter().find(|connection| connection.takes_requests(terms)).cloned()
    }

    /// Shares a connection with the requests to come, in the place of the one that has waited longest. Those in use do not count: their
    /// number is that of the requests.
    pub(super) fn put_http2(&self, whom: For, connection: Http2) {
        let _evicted = self.shard().filter(|_| self.max_idle > 0).and_then(|mut shard| {
            let count = shard.http2.values().map(Vec::len).sum::<usize>();
            let evicted = (count >= self.max_idle).then(|| shard.longest_idle_http2()).flatten();
            shard.http2.entry(whom).or_default().push(connection);
            evicted
        });
    }

    /// Closes a connection without a request; tells whether there was one.
    pub(super) fn evict(&self) -> bool {
        self.shards.iter().any(|shard| {
            let mut shard = locked(shard);
            let http1 = shard.http1.take_oldest();
            let http2 = if http1.is_none() { shard.longest_idle_http2() } else { None };
            drop(shard);
            http1.is_some() || http2.is_some()
        })
    }

    /// Gives up what waited too long, or can take no more requests.
    pub(super) async fn sweep(&self, longest: Duration) {
        self.declined_http2.store(false, Ordering::Relaxed); // it may have learnt it
        for shard in &self.shards {
            let is_over = |connection: &mut Box<Http1>| connection.idle() >= longest || !connection.is_alive();
            // What comes meanwhile is not waited for.
            let (mut from, end) = (Some(0), locked(shard).http1.next_turn());
            while let Some(turn) = from.filter(|turn| *turn < end) {
                let (over, next) = locked(shard).http1.take_over(turn, GLANCE, is_over);
                drop(over); // unlocked: to close takes a while
                from = next;
                yield_now().await; // others are served meanwhile
            }
            locked(shard).http2.retain(|_, own| {
                own.retain(|connection| !connection.is_over() && connection.idle().is_none_or(|idle| idle < longest));
                !own.is_empty()
            });
        }
    }

    fn shard(&self) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(worker() % self.shards.len().max(1)).map(locked)
    }
}

fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of this thread, among those that asked.
fn worker() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    OWN.try_with(|own| *own).unwrap_or_default()
}
