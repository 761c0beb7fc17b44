//! The rules of one action by what they ask. A decision looks up its ID, host, path and method once each and joins what it finds, instead of asking
//! every rule, and so does its reason: nobody who is refused makes us walk over the rules.
//!
//! Rules stand in blocks, so that a set of them has a size and needs no allocation. Each condition of a block is a tree of its patterns, which gives
//! the set of rules that it lets through; the rules in all four sets have a say. What that means is written down in `index/tests.rs`.

use std::iter;

use http::Method;

use super::rule_set::RuleSet;
use super::trie::{Key, Parts, Place, Step, Tail, Trie};
use super::{Action, Asked, HostPattern, PathPattern, Pattern, Rule, host, path_pattern, pattern};
use crate::spiffe::SpiffeId;

/// The rules of one action. Numbers are those of the policy's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    action: Action,
    blocks: Vec<Block>,
}

/// The first rules that have a say.
#[derive(Clone, Copy, Default)]
pub(super) struct First {
    /// Of those that are enforced.
    pub(super) enforced: Option<usize>,
    /// Of all.
    pub(super) any: Option<usize>,
}

impl Index {
    pub(super) fn new(rules: &[Rule], action: Action) -> Self {
        let rules = rules.iter().enumerate().filter(|(_, rule)| rule.action == action).collect::<Vec<_>>();
        Self { action, blocks: rules.chunks(RuleSet::CAPACITY).map(Block::new).collect() }
    }

    /// The first rules that have a say in what is asked.
    pub(super) fn first(&self, asked: Asked<'_>) -> First {
        let mut first = First::default();
        for block in &self.blocks {
            let [.., rules] = block.narrowed(asked, self.action);
            first.any = first.any.or_else(|| block.number_of_first(rules));
            first.enforced = block.number_of_first(rules & block.enforced);
            if first.enforced.is_some() {
                break;
            }
        }
        first
    }

    /// Whether no rule that `id` matches asks anything of requests.
    pub(super) fn asks_nothing_of(&self, id: &SpiffeId) -> bool {
        self.blocks.iter().all(|block| {
            let peers = block.peers.matching(RuleSet::default(), &pattern::parts(id));
            peers & block.unconditional == peers
        })
    }

    /// The first pattern of a rule that `id` matches.
    pub(super) fn pattern(&self, number: usize, id: &SpiffeId) -> Option<Place> {
        self.blocks.iter().find_map(|block| {
            let rule = block.numbers.binary_search(&number).ok()?;
            block.place(block.peers.pattern_of(rule, &pattern::parts(id))?)
        })
    }

    /// Where no enforced rule has a say: of each block the first enforced rule, and its first pattern, in which what is asked gets furthest.
    pub(super) fn nearest(&self, asked: Asked<'_>) -> impl Iterator<Item = Place> {
        self.blocks.iter().filter_map(move |block| {
            let narrowed = block.narrowed(asked, self.action);
            let furthest = narrowed.into_iter().rev().find_map(|rules| (rules & block.enforced).first());
            let parts = pattern::parts(asked.id);
            block.place(match furthest {
                Some(rule) => block.peers.pattern_of(rule, &parts)?,
                None => block.peers.nearest(&parts)?,
            })
        })
    }
}

/// As many rules as a set can hold, numbered from 0 here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    /// Their numbers in the policy.
    numbers: Vec<usize>,
    enforced: RuleSet,
    /// Those that ask nothing of requests.
    unconditional: RuleSet,
    peers: Trie,
    hosts: Condition,
    paths: Condition,
    methods: Condition,
}

impl Block {
    fn new(rules: &[(usize, &Rule)]) -> Self {
        let enforced = those(rules, |rule| rule.enforce);
        let tree = |keys: fn(&Rule) -> Vec<Key<'_>>| Trie::new(placed(rules, keys), &enforced);
        let condition = |keys: fn(&Rule) -> Vec<Key<'_>>| Condition {
            free: those(rules, |rule| keys(rule).is_empty()),
            asked: tree(keys),
        };
        Self {
            numbers: rules.iter().map(|(number, _)| *number).collect(),
            enforced,
            unconditional: those(rules, |rule| rule.requests.are_all()),
            peers: tree(|rule| rule.peers.iter().map(Pattern::key).collect()),
            hosts: condition(|rule| rule.requests.hosts.iter().map(HostPattern::key).collect()),
            paths: condition(|rule| rule.requests.paths.iter().map(PathPattern::key).collect()),
            methods: condition(|rule| rule.requests.methods.iter().map(method_key).collect()),
        }
    }

    /// The rules that are left after each condition, in the order in which `Requests::compare` asks: who, whereto, what, how.
    fn narrowed(&self, Asked { id, request }: Asked<'_>, action: Action) -> [RuleSet; 4] {
        let peers = self.peers.matching(RuleSet::default(), &pattern::parts(id));
        if peers.first().is_none() {
            return [peers; 4];
        }
        let Some(request) = request else {
            // At the door a deny rule for some requests leaves the peer what it is.
            let all = if action == Action::Deny { peers & self.unconditional } else { peers };
            return [peers, all, all, all];
        };
        let hosts = peers & self.hosts.met(&host::parts(request.host));
        let paths = request.path.map(|path| self.paths.met(&path_pattern::parts(path, action)));
        let paths = hosts & paths.unwrap_or(self.paths.free);
        let methods = paths & self.methods.met(&method_parts(request.method));
        [peers, hosts, paths, methods]
    }

    /// The number of the first of these rules in the policy.
    fn number_of_first(&self, rules: RuleSet) -> Option<usize> {
        self.numbers.get(rules.first()?).copied()
    }

    /// A place in this block as a place in the policy.
    fn place(&self, place: Place) -> Option<Place> {
        Some(Place { rule: *self.numbers.get(place.rule)?, ..place })
    }
}

/// What the rules ask of one side of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    /// The rules that ask nothing.
    free: RuleSet,
    asked: Trie,
}

impl Condition {
    /// The rules that it lets through.
    fn met<'p>(&self, parts: &Parts<impl Iterator<Item = &'p str> + Clone>) -> RuleSet {
        self.asked.matching(self.free, parts)
    }
}

/// The rules of which this is so.
fn those(rules: &[(usize, &Rule)], is: impl Fn(&Rule) -> bool) -> RuleSet {
    rules.iter().enumerate().filter(|(_, (_, rule))| is(rule)).map(|(number, _)| number).collect()
}

/// The patterns of all rules, with where they stand.
fn placed<'r>(rules: &[(usize, &'r Rule)], keys: impl Fn(&'r Rule) -> Vec<Key<'r>>) -> Vec<(Key<'r>, Place)> {
    let places = rules.iter().enumerate().flat_map(|(number, (_, rule))| {
        keys(rule).into_iter().enumerate().map(move |(pattern, key)| (key, Place { rule: number, pattern }))
    });
    places.collect()
}

fn method_key(method: &Method) -> Key<'_> {
    Key { steps: vec![Step::Literal(method.as_str())], tail: Tail::None }
}

fn method_parts(method: &Method) -> Parts<impl Iterator<Item = &str> + Clone> {
    Parts { parts: iter::once(method.as_str()), next: |node, method| [node.literal(method), None, None] }
}

#[cfg(test)]
mod tests;
