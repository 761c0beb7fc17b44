//! Which of a destination's addresses a request goes to: names resolved again while running, the less loaded of two, and what fails left alone
//! for a while.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::pool::Pool;
use crate::config::Target;
use crate::proxy::dial::{Address, Dialler, within};

/// How old the addresses of a name may be before they are asked for anew, in the background.
const FRESH: Duration = Duration::from_secs(5);

/// Failures in a row after which an address is left alone.
const FAILURES: u32 = 3;

/// How long it is left alone the first time; each further time twice as long, up to the most.
const EJECTION: Duration = Duration::from_secs(1);
const MAX_EJECTION: Duration = Duration::from_secs(30);

/// The addresses behind one or several targets.
#[derive(Debug)]
pub(super) struct Balancer {
    targets: Vec<Arc<Resolved>>,
    dialler: Dialler,
    /// Turns, for who is asked first: choices need to be spread, not to be secret.
    turn: AtomicUsize,
    max_idle: usize,
}

/// A target and what its name was last resolved to.
#[derive(Debug)]
struct Resolved {
    target: Target,
    endpoints: Mutex<(Vec<Arc<Endpoint>>, Option<Instant>)>,
    resolving: AtomicBool,
    /// So that many requests to a name that was never resolved ask for it once.
    first: tokio::sync::Mutex<()>,
}

/// One address, the connections to it, and how it does.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    pub(super) target: Target,
    pub(super) pool: Pool,
    /// Requests under way.
    load: AtomicUsize,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    ejections: u32,
    ejected_until: Option<Instant>,
}

/// A request's claim on an endpoint, for as long as it is under way.
#[derive(Debug)]
pub(super) struct Claim(Arc<Endpoint>);

impl Claim {
    /// A second claim, for what outlives the first.
    pub(super) fn again(&self) -> Self {
        self.0.claim()
    }
}

impl std::ops::Deref for Claim {
    type Target = Arc<Endpoint>;

    fn deref(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Endpoint {
    fn claim(self: &Arc<Self>) -> Claim {
        self.load.fetch_add(1, Ordering::Relaxed);
        Claim(self.clone())
    }

    /// It answered.
    pub(super) fn succeeded(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if health.failures > 0 || health.ejections > 0 {
            *health = Health::default();
        }
    }

    /// It could not be reached, or broke before it answered.
    pub(super) fn failed(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.failures += 1;
        // Once it was left alone, each failed new try leaves it alone again.
        if health.failures >= FAILURES || health.ejections > 0 {
            let pause = EJECTION.saturating_mul(1 << health.ejections.min(16)).min(MAX_EJECTION);
            health.ejections += 1;
            health.failures = 0;
            health.ejected_until = Some(Instant::now() + pause);
            tracing::info!(server.address = %self.address, pause = pause.as_secs_f64(), "left alone for a while");
        }
    }

    fn is_ejected(&self, now: Instant) -> bool {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.ejected_until.is_some_and(|until| now < until)
    }
}

impl Balancer {
    pub(super) fn new(targets: Vec<Target>, dialler: Dialler, max_idle: usize) -> Self {
        let targets = targets.into_iter().map(|target| {
            Arc::new(Resolved {
                target,
                endpoints: Mutex::default(),
                resolving: AtomicBool::new(false),
                first: tokio::sync::Mutex::default(),
            })
        });
        Self { targets: targets.collect(), dialler, turn: AtomicUsize::new(0), max_idle }
    }

    /// Claims the less loaded of two endpoints that do well and are not in `tried`; where none does well, one that does not.
    ///
    /// # Errors
    /// When no target has an address, or all were tried.
    pub(super) async fn claim(&self, tried: &[Arc<Endpoint>], patience: Duration) -> io::Result<Claim> {
        let mut last = io::Error::other("every address was tried");
        let mut all = Vec::new();
        for resolved in &self.targets {
            match resolved.endpoints(&self.dialler, self.max_idle, patience).await {
                Ok(endpoints) => all.extend(endpoints),
                Err(error) => last = error,
            }
        }
        all.retain(|endpoint| !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint)));
        if all.len() > 1 {
            let now = Instant::now();
            let well = all.iter().filter(|endpoint| !endpoint.is_ejected(now)).cloned().collect::<Vec<_>>();
            if !well.is_empty() {
                all = well;
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let chosen = match all.len() {
            0 => return Err(last),
            1 => all.first(),
            count => {
                let one = turn % count;
                let other = (one + 1 + scatter(turn) % (count - 1)) % count;
                [one, other]
                    .iter()
                    .filter_map(|index| all.get(*index))
                    .min_by_key(|endpoint| endpoint.load.load(Ordering::Relaxed))
            }
        };
        chosen.map(Endpoint::claim).ok_or(last)
    }

    /// Dials an endpoint within the patience.
    pub(super) async fn dial(
        &self,
        endpoint: &Endpoint,
        patience: Duration,
    ) -> io::Result<crate::proxy::socket::Socket> {
        within(patience, self.dialler.dial(&endpoint.address)).await
    }

    /// Whether there is an endpoint that was not tried.
    pub(super) fn has_other_than(&self, tried: &[Arc<Endpoint>]) -> bool {
        self.known().iter().any(|endpoint| !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint)))
    }

    /// Every endpoint known now.
    pub(super) fn known(&self) -> Vec<Arc<Endpoint>> {
        self.targets.iter().flat_map(|resolved| resolved.known().0).collect()
    }
}

/// Spreads a counter over all numbers (the golden ratio as a multiplier, Knuth's).
fn scatter(turn: usize) -> usize {
    (turn as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23) as usize & (usize::MAX >> 1)
}

impl Resolved {
    fn known(&self) -> (Vec<Arc<Endpoint>>, Option<Instant>) {
        let known = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    /// The endpoints as last resolved. The first time somebody waits for the resolver; later it is asked in the background, and what it said
    /// before is used meanwhile, also where it fails.
    async fn endpoints(
        self: &Arc<Self>,
        dialler: &Dialler,
        max_idle: usize,
        patience: Duration,
    ) -> io::Result<Vec<Arc<Endpoint>>> {
        let (endpoints, at) = self.known();
        if !endpoints.is_empty() {
            let is_name = matches!(self.target, Target::Name { .. });
            let is_old = is_name && at.is_none_or(|at| at.elapsed() > FRESH);
            if is_old && !self.resolving.swap(true, Ordering::Relaxed) {
                let (resolved, dialler) = (self.clone(), dialler.clone());
                tokio::spawn(async move {
                    let answer = within(patience, dialler.addresses(&resolved.target)).await;
                    match answer {
                        Ok(addresses) => resolved.update(addresses, max_idle),
                        Err(error) => {
                            tracing::debug!(target = %resolved.target, %error, "the name cannot be resolved; its last addresses stay");
                            resolved.postpone();
                        }
                    }
                    resolved.resolving.store(false, Ordering::Relaxed);
                });
            }
            return Ok(endpoints);
        }
        let _one_at_a_time = self.first.lock().await;
        let (endpoints, _) = self.known();
        if endpoints.is_empty() {
            self.update(within(patience, dialler.addresses(&self.target)).await?, max_idle);
        }
        Ok(self.known().0)
    }

    fn postpone(&self) {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(Instant::now());
    }

    /// Takes new addresses in; those that stay keep their connections and their health.
    fn update(&self, addresses: Vec<Address>, max_idle: usize) {
        let mut known = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Vec::with_capacity(addresses.len());
        for address in addresses {
            let before = known.0.iter().find(|endpoint| endpoint.address == address);
            let endpoint = before.cloned().unwrap_or_else(|| {
                Arc::new(Endpoint {
                    address,
                    target: self.target.clone(),
                    pool: Pool::new(max_idle),
                    load: AtomicUsize::new(0),
                    health: Mutex::default(),
                })
            });
            if !next.iter().any(|known| Arc::ptr_eq(known, &endpoint)) {
                next.push(endpoint);
            }
        }
        *known = (next, Some(Instant::now()));
    }
}
