//! Which of a destination's addresses a request goes to: names resolved again while running, the less loaded of two, and what fails left alone
//! for a while.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

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
    /// A name was looked up, with or without success.
    looked_up: Arc<Notify>,
}

/// A target and what its name was last resolved to.
#[derive(Debug)]
struct Resolved {
    target: Target,
    max_idle: usize,
    /// The one endpoint of a target that is no name.
    fixed: Option<Arc<Endpoint>>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    endpoints: Vec<Arc<Endpoint>>,
    looked_up_at: Option<Instant>,
    is_being_looked_up: bool,
    /// Why the last lookup failed.
    failure: Option<(io::ErrorKind, String)>,
}

/// One address, the connections to it, and how it does.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    pub(super) target: Target,
    pub(super) pool: Pool,
    /// Requests under way.
    load: AtomicUsize,
    /// There is something in `health` for a success to clear.
    is_troubled: AtomicBool,
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
        if self.is_troubled.load(Ordering::Relaxed) {
            let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            self.is_troubled.store(false, Ordering::Relaxed);
            *health = Health::default();
        }
    }

    /// It could not be reached, or broke before it answered.
    pub(super) fn failed(&self) {
        let paused = {
            let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            self.is_troubled.store(true, Ordering::Relaxed);
            health.failed(Instant::now())
        };
        if let Some(pause) = paused {
            tracing::info!(server.address = %self.address, pause = pause.as_secs_f64(), "left alone for a while");
        }
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).is_ejected(now)
    }
}

impl Health {
    /// Takes a failure in. Returns for how long the address is now left alone, if this was one too many.
    fn failed(&mut self, now: Instant) -> Option<Duration> {
        // Requests that were under way when it was ejected say nothing new.
        if self.is_ejected(now) {
            return None;
        }
        self.failures += 1;
        // Once it was left alone, each failed new try leaves it alone again.
        if self.failures < FAILURES && self.ejections == 0 {
            return None;
        }
        let pause = EJECTION.saturating_mul(1 << self.ejections.min(16)).min(MAX_EJECTION);
        self.ejections += 1;
        self.failures = 0;
        self.ejected_until = Some(now + pause);
        Some(pause)
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }
}

impl Balancer {
    pub(super) fn new(targets: Vec<Target>, dialler: Dialler, max_idle: usize) -> Self {
        let targets = targets.into_iter().map(|target| Arc::new(Resolved::new(target, max_idle)));
        Self { targets: targets.collect(), dialler, turn: AtomicUsize::new(0), looked_up: Arc::default() }
    }

    /// Claims the less loaded of two endpoints that do well and are not in `tried`; where none does well, one that does not. Tells how many
    /// others there are to try.
    ///
    /// # Errors
    /// When no target has an address by the deadline, or all were tried.
    pub(super) async fn claim(&self, tried: &[Arc<Endpoint>], deadline: Instant) -> io::Result<(Claim, usize)> {
        if let ([target], []) = (&*self.targets, tried)
            && let Some(only) = &target.fixed
        {
            return Ok((only.claim(), 0));
        }
        let mut all = self.endpoints(deadline).await?;
        all.retain(|endpoint| !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint)));
        let others = all.len().saturating_sub(1);
        if all.len() > 1 {
            let now = Instant::now();
            let well = all.iter().filter(|endpoint| !endpoint.is_ejected(now)).cloned().collect::<Vec<_>>();
            if !well.is_empty() {
                all = well;
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let chosen = match all.len() {
            0 | 1 => all.first(),
            count => {
                let one = turn % count;
                let other = (one + 1 + scatter(turn) % (count - 1)) % count;
                [one, other]
                    .iter()
                    .filter_map(|index| all.get(*index))
                    .min_by_key(|endpoint| endpoint.load.load(Ordering::Relaxed))
            }
        };
        let claim = chosen.map(Endpoint::claim).ok_or_else(|| io::Error::other("every address was tried"))?;
        Ok((claim, others))
    }

    /// The endpoints of all targets, as last resolved: names that were resolved before are asked for again in the background. Only where no
    /// target has an address at all somebody waits.
    async fn endpoints(&self, deadline: Instant) -> io::Result<Vec<Arc<Endpoint>>> {
        let known = self.known();
        self.targets.iter().for_each(|target| self.look_up(target, known.is_empty(), deadline));
        if !known.is_empty() {
            return Ok(known);
        }
        let mut looked_up = pin!(self.looked_up.notified());
        loop {
            looked_up.as_mut().enable();
            let known = self.known();
            if !known.is_empty() {
                return Ok(known);
            }
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            let waited = timeout_at(deadline, looked_up.as_mut()).await;
            waited.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no name was resolved in time"))?;
            looked_up.set(self.looked_up.notified());
        }
    }

    /// Looks a target's name up in the background, if it is time to and nobody does.
    fn look_up(&self, resolved: &Arc<Resolved>, is_urgent: bool, deadline: Instant) {
        if !resolved.begin_look_up(is_urgent, Instant::now()) {
            return;
        }
        let (resolved, dialler, looked_up) = (resolved.clone(), self.dialler.clone(), self.looked_up.clone());
        tokio::spawn(async move {
            let patience = deadline.saturating_duration_since(Instant::now());
            let answer = within(patience, dialler.addresses(&resolved.target)).await;
            if let Err(error) = &answer {
                tracing::debug!(target = %resolved.target, %error, "the name cannot be resolved; its last addresses stay");
            }
            resolved.end_look_up(answer, Instant::now());
            looked_up.notify_waiters();
        });
    }

    /// Why no name is resolved; `None` while one is being looked up.
    fn failure(&self) -> Option<io::Error> {
        let mut failures = Vec::new();
        for resolved in &self.targets {
            let known = resolved.known();
            if known.is_being_looked_up {
                return None;
            }
            failures.extend(known.failure.clone());
        }
        let kind = failures.first().map_or(io::ErrorKind::NotFound, |(kind, _)| *kind);
        let told = failures.into_iter().map(|(_, told)| told).collect::<Vec<_>>();
        Some(io::Error::new(kind, told.join("; ")))
    }

    /// Dials an endpoint.
    pub(super) async fn dial(&self, endpoint: &Endpoint, until: Instant) -> io::Result<crate::proxy::socket::Socket> {
        within(until.saturating_duration_since(Instant::now()), self.dialler.dial(&endpoint.address)).await
    }

    /// Whether there is an endpoint that was not tried.
    pub(super) fn has_other_than(&self, tried: &[Arc<Endpoint>]) -> bool {
        self.known().iter().any(|endpoint| !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint)))
    }

    /// Every endpoint known now.
    pub(super) fn known(&self) -> Vec<Arc<Endpoint>> {
        let mut all = Vec::with_capacity(self.targets.len());
        self.targets.iter().for_each(|resolved| all.extend_from_slice(&resolved.known().endpoints));
        all
    }
}

/// Spreads a counter over all numbers (the golden ratio as a multiplier, Knuth's).
fn scatter(turn: usize) -> usize {
    (turn as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23) as usize & (usize::MAX >> 1)
}

impl Resolved {
    fn new(target: Target, max_idle: usize) -> Self {
        let fixed = match &target {
            Target::Address(address) => Some(Address::Tcp(*address)),
            Target::Unix(path) => Some(Address::Unix(path.clone())),
            Target::Name { .. } => None,
        };
        let resolved = Self { target, max_idle, fixed: None, known: Mutex::default() };
        resolved.update(fixed.into_iter().collect());
        let fixed = resolved.known().endpoints.first().cloned();
        Self { fixed, ..resolved }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the name is to be looked up now; whoever asks then does it.
    fn begin_look_up(&self, is_urgent: bool, now: Instant) -> bool {
        if !matches!(self.target, Target::Name { .. }) {
            return false;
        }
        let mut known = self.known();
        let is_due = is_urgent || known.looked_up_at.is_none_or(|at| now.duration_since(at) > FRESH);
        is_due && !std::mem::replace(&mut known.is_being_looked_up, true)
    }

    /// Takes in what the resolver said. Where it failed, what it said before stays.
    fn end_look_up(&self, answer: io::Result<Vec<Address>>, now: Instant) {
        let failure = answer.map(|addresses| self.update(addresses)).err();
        let mut known = self.known();
        known.failure = failure.map(|error| (error.kind(), format!("{}: {error}", self.target)));
        known.looked_up_at = Some(now);
        known.is_being_looked_up = false;
    }

    /// Takes new addresses in; those that stay keep their connections and their health.
    fn update(&self, addresses: Vec<Address>) {
        let mut known = self.known();
        let mut next = Vec::with_capacity(addresses.len());
        for address in addresses {
            let before = known.endpoints.iter().find(|endpoint| endpoint.address == address);
            let endpoint = before.cloned().unwrap_or_else(|| Arc::new(self.endpoint(address)));
            if !next.iter().any(|known: &Arc<Endpoint>| known.address == endpoint.address) {
                next.push(endpoint);
            }
        }
        let gone = std::mem::replace(&mut known.endpoints, next);
        drop(known);
        drop(gone); // unlocked: to close thousands of connections takes a while
    }

    fn endpoint(&self, address: Address) -> Endpoint {
        Endpoint {
            address,
            target: self.target.clone(),
            pool: Pool::new(self.max_idle),
            load: AtomicUsize::new(0),
            is_troubled: AtomicBool::new(false),
            health: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests;
