//! Who may speak to whom: rules over SPIFFE IDs, default deny, and decisions that carry their reason. Pure: no I/O, no clock.

mod clause;
mod decision;
mod host;
mod path;
mod pattern;
mod request;

use std::sync::Arc;

use crate::spiffe::SpiffeId;
pub use clause::Clause;
pub use decision::{Decision, Denial, Nearest, Verdict};
pub use host::{HostPattern, HostPatternError};
pub use path::{PathError, PathPattern, PathPatternError, RequestPath};
pub use pattern::{Pattern, PatternError};
pub use request::{Request, Requests};

/// What a rule does with a peer that it matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Lets the peer in, unless another rule denies it.
    #[default]
    Allow,
    /// Keeps the peer out, whatever else allows it.
    Deny,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name that logs and metrics carry.
    pub name: Arc<str>,
    /// What happens to a peer that matches.
    pub action: Action,
    /// The peers it speaks of: any of these patterns.
    pub peers: Vec<Pattern>,
    /// The requests it speaks of, where requests are understood.
    pub requests: Requests,
    /// `false` makes it a shadow rule: decided and told, not acted upon.
    pub enforce: bool,
}

impl Rule {
    /// An enforced allow rule.
    pub fn allow(name: &str, peers: Vec<Pattern>) -> Self {
        Self { name: name.into(), action: Action::Allow, peers, requests: Requests::default(), enforce: true }
    }

    fn matching(&self, id: &SpiffeId) -> Option<&Pattern> {
        self.peers.iter().find(|pattern| pattern.matches(id))
    }
}

/// The rules of one listener. The order of the rules never matters for who gets in: a matching deny wins, else a matching allow lets
/// in, else the peer is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// A policy of these rules. None at all denies everyone.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// The rules, as they were given.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides on one request of a peer that was let in.
    pub fn decide_request(&self, id: &SpiffeId, _request: &Request<'_>) -> Decision {
        self.decide(id)
    }

    /// Decides on one peer.
    pub fn decide(&self, id: &SpiffeId) -> Decision {
        let verdict = self.verdict(id, |rule| rule.enforce);
        let shadow = if self.rules.iter().all(|rule| rule.enforce) {
            None
        } else {
            Some(self.verdict(id, |_| true)).filter(|shadow| shadow.is_allowed() != verdict.is_allowed())
        };
        Decision { verdict, shadow }
    }

    fn verdict(&self, id: &SpiffeId, counts: impl Fn(&Rule) -> bool) -> Verdict {
        let mut allowing = None;
        for rule in self.rules.iter().filter(|rule| counts(rule)) {
            match (rule.action, rule.matching(id)) {
                (Action::Deny, Some(pattern)) => {
                    return Verdict::Denied(Denial::ByRule { rule: rule.name.clone(), pattern: pattern.clone() });
                }
                (Action::Allow, Some(_)) if allowing.is_none() => allowing = Some(rule.name.clone()),
                _ => {}
            }
        }
        match allowing {
            Some(rule) => Verdict::Allowed { rule },
            None => Verdict::Denied(Denial::NoRule { nearest: self.nearest(id, counts).map(Box::new) }),
        }
    }

    /// The allow rule that came closest: the one whose pattern matched furthest from the left.
    fn nearest(&self, id: &SpiffeId, counts: impl Fn(&Rule) -> bool) -> Option<Nearest> {
        let rules = self.rules.iter().filter(|rule| counts(rule) && rule.action == Action::Allow);
        let misses = rules.flat_map(|rule| rule.peers.iter().map(move |pattern| (rule, pattern)));
        let misses = misses.filter_map(|(rule, pattern)| Some((rule, pattern, pattern.compare(id).err()?)));
        // Of equals the first: `max_by_key` alone would name the last.
        let (rule, pattern, miss) =
            misses.reduce(|best, next| if next.2.depth > best.2.depth { next } else { best })?;
        Some(Nearest { rule: rule.name.clone(), pattern: pattern.clone(), clause: miss.clause })
    }
}
