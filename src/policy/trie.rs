//! Patterns of one kind as a tree of their parts, in which an ID, a host or a path is looked up part by part, however many patterns there are.

use std::cmp::Reverse;

use super::rule_set::RuleSet;

/// A pattern as the tree takes it in.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    /// Its parts: from the left, those of hosts from the right.
    pub(super) steps: Vec<Step<'a>>,
    /// What may follow them.
    pub(super) tail: Tail,
}

/// One part of a pattern.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step<'a> {
    Literal(&'a str),
    /// A wildcard. What it takes is for [`Parts::next`] to say.
    Any,
}

/// How many parts may follow the steps of a pattern.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tail {
    None,
    Some,
    NoneOrSome,
}

/// Where a pattern stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The number of its rule.
    pub(super) rule: usize,
    /// Its own in the list of the rule.
    pub(super) pattern: usize,
}

/// What is looked up: its parts in the order of [`Key::steps`].
pub(super) struct Parts<I> {
    pub(super) parts: I,
    /// Where a part leads from a node.
    pub(super) next: fn(&Node, &str) -> Next,
}

/// The children that one part leads to, each once: as it is written, as it is in another reading, as anything.
pub(super) type Next = [Option<usize>; 3];

/// The tree. Each node but the first is the child of one before it; they lie in a list since a tree may be as deep as a pattern is long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trie {
    nodes: Vec<Node>,
}

/// What the patterns that begin with the same steps have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// In order.
    literals: Vec<(Box<str>, usize)>,
    any: Option<usize>,
    /// The patterns that match if nothing follows.
    ends: Places,
    /// Those that match if something does.
    tails: Places,
    /// The first pattern of an enforced rule that leads through here.
    first: Option<Place>,
}

impl Trie {
    /// A tree of these patterns.
    pub(super) fn new(mut patterns: Vec<(Key<'_>, Place)>, enforced: &RuleSet) -> Self {
        if patterns.is_empty() {
            return Self::default();
        }
        // In order, each goes on from the youngest of a node's literals.
        patterns.sort_unstable();
        let mut trie = Self { nodes: vec![Node::default()] };
        for (key, place) in &patterns {
            trie.insert(key, *place, enforced.contains(place.rule));
        }
        trie.nodes.iter_mut().for_each(Node::finish);
        trie.nodes.shrink_to_fit();
        trie
    }

    fn insert(&mut self, key: &Key<'_>, place: Place, is_enforced: bool) {
        let mut at = 0;
        for step in key.steps.iter().map(Some).chain([None]) {
            let youngest = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            if is_enforced && node.first.is_none_or(|first| place < first) {
                node.first = Some(place);
            }
            match step {
                Some(step) => at = node.child(*step, youngest),
                None => node.end(key.tail, place),
            }
            if at == youngest {
                self.nodes.push(Node::default());
            }
        }
    }

    /// `rules` with those that have a matching pattern.
    pub(super) fn matching<'p>(
        &self,
        mut rules: RuleSet,
        parts: &Parts<impl Iterator<Item = &'p str> + Clone>,
    ) -> RuleSet {
        self.walk(parts, |_, _, places| places.add_to(&mut rules));
        rules
    }

    /// The first matching pattern of one rule.
    pub(super) fn pattern_of<'p>(
        &self,
        rule: usize,
        parts: &Parts<impl Iterator<Item = &'p str> + Clone>,
    ) -> Option<Place> {
        let mut first = None;
        self.walk(parts, |_, _, places| first = first.into_iter().chain(places.of(rule)).min());
        first
    }

    /// Of the patterns of enforced rules that match in the most parts the first.
    pub(super) fn nearest<'p>(&self, parts: &Parts<impl Iterator<Item = &'p str> + Clone>) -> Option<Place> {
        let mut nearest = None;
        self.walk(parts, |depth, node, _| nearest = nearest.max(node.first.map(|first| (depth, Reverse(first)))));
        nearest.map(|(_, Reverse(place))| place)
    }

    /// Visits each node that the parts lead to: how many parts it took, the node, and where its matching patterns stand. As this is a tree, it visits
    /// none twice.
    fn walk<'p>(
        &self,
        Parts { parts, next }: &Parts<impl Iterator<Item = &'p str> + Clone>,
        mut visit: impl FnMut(usize, &Node, &Places),
    ) {
        self.walk_from((0, 0), parts.clone(), *next, &mut visit);
    }

    /// Calls itself only where the way parts, which costs whoever writes the patterns all of the way up to there, each time.
    fn walk_from<'p>(
        &self,
        (mut at, mut depth): (usize, usize),
        mut parts: impl Iterator<Item = &'p str> + Clone,
        next: fn(&Node, &str) -> Next,
        visit: &mut impl FnMut(usize, &Node, &Places),
    ) {
        while let Some(node) = self.nodes.get(at) {
            let part = parts.next();
            visit(depth, node, if part.is_some() { &node.tails } else { &node.ends });
            let Some(part) = part else { return };
            let [written, bare, any] = next(node, part);
            let Some(child) = any.or(bare).or(written) else { return };
            depth += 1;
            for fork in [written, bare] {
                if let Some(fork) = fork.filter(|fork| *fork != child) {
                    self.walk_from((fork, depth), parts.clone(), next, visit);
                }
            }
            at = child;
        }
    }
}

impl Node {
    /// The child for a part as it is written.
    pub(super) fn literal(&self, part: &str) -> Option<usize> {
        let found = self.literals.binary_search_by(|(literal, _)| (**literal).cmp(part)).ok()?;
        self.literals.get(found).map(|(_, child)| *child)
    }

    /// The child for a part that a wildcard takes.
    pub(super) fn any(&self) -> Option<usize> {
        self.any
    }

    /// The child for a step; a new one will be `youngest`.
    fn child(&mut self, step: Step<'_>, youngest: usize) -> usize {
        match (step, self.literals.last()) {
            (Step::Literal(text), Some((last, child))) if **last == *text => *child,
            (Step::Literal(text), _) => {
                self.literals.push((text.into(), youngest));
                youngest
            }
            (Step::Any, _) => *self.any.get_or_insert(youngest),
        }
    }

    fn end(&mut self, tail: Tail, place: Place) {
        if tail != Tail::Some {
            self.ends.list.push(place);
        }
        if tail != Tail::None {
            self.tails.list.push(place);
        }
    }

    fn finish(&mut self) {
        self.literals.shrink_to_fit();
        self.ends.finish();
        self.tails.finish();
    }
}

/// Where the patterns stand that match in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// In order.
    list: Vec<Place>,
    /// Their rules, where the list has more entries than a set has words.
    rules: Option<Box<RuleSet>>,
}

impl Places {
    fn finish(&mut self) {
        self.list.sort_unstable();
        self.list.shrink_to_fit();
        if self.list.len() > RuleSet::WORDS {
            self.rules = Some(Box::new(self.list.iter().map(|place| place.rule).collect()));
        }
    }

    fn add_to(&self, rules: &mut RuleSet) {
        match &self.rules {
            Some(set) => *rules |= set,
            None => self.list.iter().for_each(|place| rules.insert(place.rule)),
        }
    }

    /// The first in one rule.
    fn of(&self, rule: usize) -> Option<Place> {
        let before = self.list.partition_point(|place| place.rule < rule);
        self.list.get(before).copied().filter(|place| place.rule == rule)
    }
}
