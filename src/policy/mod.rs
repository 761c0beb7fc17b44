//! Who may speak to whom, and ask what: rules over SPIFFE IDs and requests, default deny, and decisions that carry their reason. Pure: no I/O, no clock.

mod clause;
mod decision;
mod host;
mod index;
mod path;
mod path_pattern;
mod pattern;
mod request;
mod rule_set;
mod template;
mod trie;

use std::sync::Arc;

use crate::spiffe::SpiffeId;
pub use clause::Clause;
pub use decision::{Decision, Denial, Nearest, Verdict};
pub use host::{HostError, HostPattern, HostPatternError, Specificity, normal_host};
use index::Index;
pub use path::{PathError, RequestPath};
pub use path_pattern::{PathPattern, PathPatternError};
pub use pattern::{Pattern, PatternError};
use request::Miss;
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

    /// How far what is asked gets in this rule with one of its patterns; `None` for all the way.
    fn reached(&self, pattern: &Pattern, asked: Asked<'_>) -> Option<Reached> {
        match pattern.compare(asked.id) {
            Err(depth) => Some(Reached::Peer(depth)),
            Ok(()) => self.requests.compare(asked.request?, self.action).err().map(Reached::Request),
        }
    }

    fn clause(&self, pattern: &Pattern, asked: Asked<'_>, reached: Reached) -> Option<Clause> {
        match reached {
            Reached::Peer(depth) => Some(pattern.clause(asked.id, depth)),
            Reached::Request(miss) => asked.request.map(|request| self.requests.clause(request, miss)),
        }
    }
}

/// What is to be decided: a peer at the door, or one request of it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    id: &'a SpiffeId,
    request: Option<&'a Request<'a>>,
}

/// How far something gets in a rule before the first mismatch; a rule about the peer is always nearer than one about others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Peer(usize),
    Request(Miss),
}

/// The rules of one listener. The order of the rules never matters for who gets in, or what through: a matching deny wins, else a matching
/// allow, else it is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    denying: Index,
    allowing: Index,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Policy {
    /// A policy of these rules. None at all denies everyone.
    pub fn new(rules: Vec<Rule>) -> Self {
        let (denying, allowing) = (Index::new(&rules, Action::Deny), Index::new(&rules, Action::Allow));
        Self { rules, denying, allowing }
    }

    /// The rules, as they were given.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides on one peer, at the door: before it has asked for anything, or where requests are not understood.
    ///
    /// A peer gets in if some rule allows it any request at all. A deny rule for some requests leaves it at the door what it is, and speaks
    /// when such a request comes.
    pub fn decide(&self, id: &SpiffeId) -> Decision {
        self.decision(Asked { id, request: None })
    }

    /// Decides on one request of a peer. What is let through here is let in by [`Self::decide`], too.
    pub fn decide_request(&self, id: &SpiffeId, request: &Request<'_>) -> Decision {
        self.decision(Asked { id, request: Some(request) })
    }

    /// The rule that lets in every request of a peer, whatever it asks for; `None` where that is to be decided for each.
    pub fn lets_all_in(&self, id: &SpiffeId) -> Option<Arc<str>> {
        let is_for_all = self.denying.asks_nothing_of(id) && self.allowing.asks_nothing_of(id);
        match self.decide(id) {
            Decision { verdict: Verdict::Allowed { rule }, shadow: None } if is_for_all => Some(rule),
            _ => None,
        }
    }

    fn decision(&self, asked: Asked<'_>) -> Decision {
        let (denying, allowing) = (self.denying.first(asked), self.allowing.first(asked));
        let verdict = self.verdict(asked, denying.enforced, allowing.enforced);
        let would_be_allowed = denying.any.is_none() && allowing.any.is_some();
        let shadow = (would_be_allowed != verdict.is_allowed()).then(|| self.verdict(asked, denying.any, allowing.any));
        Decision { verdict, shadow }
    }

    /// The verdict where these are the first rules that have a say.
    fn verdict(&self, asked: Asked<'_>, denying: Option<usize>, allowing: Option<usize>) -> Verdict {
        match (denying, allowing.and_then(|number| self.rules.get(number))) {
            (None, Some(rule)) => Verdict::Allowed { rule: rule.name.clone() },
            (Some(number), _) => Verdict::Denied(self.denied_by(number, asked)),
            (None, None) => Verdict::Denied(Denial::NoRule { nearest: self.nearest(asked).map(Box::new) }),
        }
    }

    fn denied_by(&self, number: usize, asked: Asked<'_>) -> Denial {
        let rule = self.rules.get(number);
        let pattern = self.denying.pattern(number, asked.id);
        match rule.and_then(|rule| Some((rule, rule.peers.get(pattern?.pattern)?))) {
            Some((rule, pattern)) => Denial::ByRule { rule: rule.name.clone(), pattern: pattern.clone() },
            None => Denial::NoRule { nearest: None },
        }
    }

    /// The enforced allow rule that came closest: the one in which what is asked gets furthest.
    fn nearest(&self, asked: Asked<'_>) -> Option<Nearest> {
        let misses = self.allowing.nearest(asked).filter_map(|place| {
            let rule = self.rules.get(place.rule)?;
            let pattern = rule.peers.get(place.pattern)?;
            Some((rule, pattern, rule.reached(pattern, asked)?))
        });
        // Of equals the first: `max_by_key` alone would name the last.
        let (rule, pattern, reached) = misses.reduce(|best, next| if next.2 > best.2 { next } else { best })?;
        let clause = rule.clause(pattern, asked, reached)?;
        Some(Nearest { rule: rule.name.clone(), pattern: pattern.clone(), clause })
    }
}
