//! Where a request goes: the destination that its host names, with the peers that may answer there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::DnsName;

use super::balance::Balancer;
use crate::config::{self, Direction, Route};
use crate::credentials::Credentials;
use crate::policy::{Pattern, Policy, Rule};
use crate::proxy::dial::Dialler;
use crate::tls::Terms;

/// Hosts of routes with placeholders that are kept in mind. One that is pushed out is made anew when it is asked for again.
const MAX_FILLED: usize = 1024;

/// Where requests go to.
#[derive(Debug)]
pub(super) struct Routes {
    /// Where there are no routes: every host's.
    only: Option<Arc<Destination>>,
    routes: Vec<Known>,
    /// What routes with placeholders came to, by host.
    filled: Mutex<HashMap<String, Arc<Destination>>>,
    with: With,
}

#[derive(Debug)]
struct Known {
    route: Route,
    /// Where nothing of it depends on the host.
    fixed: Option<Arc<Destination>>,
}

/// What every destination of a listener is made with.
#[derive(Clone, Debug)]
struct With {
    dialler: Dialler,
    max_idle: usize,
    max_peer_certificates: usize,
}

/// One or several targets, and who may be there.
#[derive(Debug)]
pub(super) struct Destination {
    /// The route that leads there.
    pub(super) route: Option<Arc<str>>,
    pub(super) balancer: Balancer,
    pub(super) server_name: Option<DnsName<'static>>,
    expect: Arc<Policy>,
    max_peer_certificates: usize,
    terms: Mutex<Option<Arc<Terms>>>,
}

/// A destination for as long as a request needs it. What is fixed is not counted: its count would be shared by all workers.
pub(super) enum Found<'a> {
    Fixed(&'a Destination),
    Filled(Arc<Destination>),
}

impl std::ops::Deref for Found<'_> {
    type Target = Destination;

    fn deref(&self) -> &Destination {
        match self {
            Self::Fixed(destination) => destination,
            Self::Filled(destination) => destination,
        }
    }
}

impl Destination {
    /// On what terms a peer there is believed, with these credentials.
    pub(super) fn terms(&self, credentials: &Arc<Credentials>) -> Arc<Terms> {
        let mut known = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(terms) = known.as_ref().filter(|terms| Arc::ptr_eq(&terms.credentials, credentials)) {
            return terms.clone();
        }
        let terms = Arc::new(Terms {
            credentials: credentials.clone(),
            policy: self.expect.clone(),
            max_peer_certificates: self.max_peer_certificates,
        });
        *known = Some(terms.clone());
        terms
    }
}

impl Routes {
    pub(super) fn new(listener: &config::Listener, routes: &[Route], limits: &config::Limits) -> Self {
        let with = With {
            dialler: Dialler::new(limits.keepalive),
            max_idle: limits.http.max_idle_upstream,
            max_peer_certificates: limits.max_peer_certificates,
        };
        let server_name = match &listener.direction {
            Direction::Outbound { server_name } => server_name.clone(),
            Direction::Inbound => None,
        };
        let only = routes
            .is_empty()
            .then(|| Arc::new(with.destination(None, listener.targets.clone(), listener.policy.clone(), server_name)));
        let routes = routes.iter().map(|route| {
            let targets = route.targets.iter().map(|target| target.fixed().cloned()).collect::<Option<Vec<_>>>();
            let expect = route.expect.iter().map(|expect| expect.fixed().cloned()).collect::<Option<Vec<_>>>();
            let fixed = targets.zip(expect).map(|(targets, expect)| with.of_route(route, targets, expect));
            Known { route: route.clone(), fixed }
        });
        Self { only, routes: routes.collect(), filled: Mutex::default(), with }
    }

    /// Whether requests are told apart by their host.
    pub(super) fn by_host(&self) -> bool {
        self.only.is_none()
    }

    /// The destination of requests for `host`; `None` where no route is for it. Of several routes the one whose pattern says most counts.
    pub(super) fn find(&self, host: &str) -> Option<Found<'_>> {
        if let Some(only) = &self.only {
            return Some(Found::Fixed(only));
        }
        if let Some(filled) = self.filled().get(host) {
            return Some(Found::Filled(filled.clone()));
        }
        let hosts = self.routes.iter().flat_map(|known| known.route.hosts.iter().map(move |pattern| (known, pattern)));
        let matching = hosts.filter(|(_, pattern)| pattern.matches(host));
        let (known, pattern) = matching.max_by_key(|(_, pattern)| pattern.specificity())?;
        if let Some(fixed) = &known.fixed {
            return Some(Found::Fixed(fixed));
        }
        let labels = pattern.capture(host)?;
        let targets =
            known.route.targets.iter().map(|target| target.fill(host, &labels).ok()).collect::<Option<_>>()?;
        let expect = known.route.expect.iter().map(|expect| expect.fill(&labels).ok()).collect::<Option<_>>()?;
        let destination = self.with.of_route(&known.route, targets, expect);
        let mut filled = self.filled();
        // Whoever makes up hosts pays with new connections, not we with memory.
        let gone = (filled.len() >= MAX_FILLED).then(|| std::mem::take(&mut *filled));
        let found = filled.entry(host.to_owned()).or_insert(destination).clone();
        drop(filled);
        drop(gone); // unlocked: their connections are closed with them
        Some(Found::Filled(found))
    }

    /// On what terms a peer behind `host` is believed; nobody is where no route is for it.
    pub(super) fn terms(&self, host: &str, credentials: &Arc<Credentials>) -> Arc<Terms> {
        self.find(host).map_or_else(
            || {
                let max_peer_certificates = self.with.max_peer_certificates;
                Arc::new(Terms { credentials: credentials.clone(), policy: Arc::default(), max_peer_certificates })
            },
            |destination| destination.terms(credentials),
        )
    }

    /// Every destination known now.
    pub(super) fn known(&self) -> Vec<Arc<Destination>> {
        let fixed = self.routes.iter().filter_map(|known| known.fixed.clone());
        self.only.iter().cloned().chain(fixed).chain(self.filled().values().cloned()).collect()
    }

    fn filled(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Destination>>> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl With {
    fn of_route(&self, route: &Route, targets: Vec<config::Target>, expect: Vec<Pattern>) -> Arc<Destination> {
        let policy = Arc::new(Policy::new(vec![Rule::allow("expect", expect)]));
        Arc::new(self.destination(Some(route.name.clone()), targets, policy, route.server_name.clone()))
    }

    fn destination(
        &self,
        route: Option<Arc<str>>,
        targets: Vec<config::Target>,
        expect: Arc<Policy>,
        server_name: Option<DnsName<'static>>,
    ) -> Destination {
        Destination {
            route,
            balancer: Balancer::new(targets, self.dialler.clone(), self.max_idle),
            server_name,
            expect,
            max_peer_certificates: self.max_peer_certificates,
            terms: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests;
