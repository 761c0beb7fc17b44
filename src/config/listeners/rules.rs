//! From `[[inbound.rule]]` to the policy of a listener.

use std::collections::HashMap;

use super::super::fault::Spot;
use super::super::field::{Many, Placed, Word};
use super::super::file::RuleTable;
use super::super::word::ProtocolName;
use super::{Reader, unique_name};
use crate::policy::{Action, Pattern, Policy, Requests, Rule};

/// In the whole file.
const MAX_RULES: usize = 10_000;
/// In one rule.
const MAX_PATTERNS: usize = 10_000;
/// Of each kind, in one rule.
const MAX_CONDITIONS: usize = 100;

impl Reader<'_, '_> {
    /// The rules. Without an enforced allow rule everyone would be refused: that is never meant.
    pub(super) fn policy(
        &mut self,
        listener: Spot,
        protocol: Option<ProtocolName>,
        tables: Vec<Placed<RuleTable>>,
    ) -> Policy {
        self.rules += tables.len();
        if self.rules > MAX_RULES {
            self.faults.add(listener, format!("with this listener there are more than {MAX_RULES} rules"));
            return Policy::default();
        }
        let mut names = HashMap::new();
        // A rule whose action is not known may have been meant to allow.
        let mut may_allow = false;
        let mut rules = Vec::new();
        for (index, Placed { at, value: table }) in tables.into_iter().enumerate() {
            let written = table.action.is_present();
            let action = table.action.value(self.faults);
            let enforce = table.enforce.value(self.faults).unwrap_or(true);
            may_allow |= (written && action.is_none()) || (enforce && action.unwrap_or_default() == Action::Allow);
            self.only_http(
                protocol,
                &[("methods", table.methods.at()), ("paths", table.paths.at()), ("hosts", table.hosts.at())],
            );
            let hint = "say whom the rule speaks of, such as `peers = [\"spiffe://prod.example/ns/web/sa/*\"]`";
            let (what, default) = ("two rules of this listener", format!("rule-{}", index + 1));
            rules.push(Rule {
                name: unique_name(self.faults, &mut names, what, at, table.name, default),
                action: action.unwrap_or_default(),
                peers: self.patterns(at, "peers", hint, table.peers).into_iter().map(|pattern| pattern.value).collect(),
                requests: Requests {
                    methods: self.conditions("methods", table.methods),
                    paths: self.conditions("paths", table.paths),
                    hosts: self.conditions("hosts", table.hosts).into_iter().map(|host| host.0).collect(),
                },
                enforce,
            });
        }
        if !may_allow {
            let hint = "add a `[[inbound.rule]]` with `peers = [\"spiffe://prod.example/ns/web/sa/*\"]`";
            self.faults.add_with_hint(listener, "no enforced rule allows anyone: every peer would be refused", hint);
        }
        Policy::new(rules)
    }

    /// Patterns, or templates of them, of which there must be one.
    pub(super) fn patterns<T: Word>(&mut self, table: Spot, key: &str, hint: &str, field: Many<T>) -> Vec<Placed<T>> {
        let Some(list) = self.list(table, key, hint, field) else {
            return Vec::new();
        };
        self.at_most(&list, MAX_PATTERNS, "patterns");
        list.items
    }

    pub(super) fn expect(&mut self, table: Spot, field: Many<Pattern>) -> Vec<Pattern> {
        self.patterns(table, "expect", EXPECT_HINT, field).into_iter().map(|pattern| pattern.value).collect()
    }

    /// What a rule asks of requests. An empty list is refused: it could be meant for none as well as for all.
    fn conditions<T: Word>(&mut self, key: &str, field: Many<T>) -> Vec<T> {
        let Some(list) = field.list(self.faults) else {
            return Vec::new();
        };
        if list.written == 0 {
            self.faults.add_with_hint(
                list.at,
                format!("`{key}` is empty"),
                format!("leave `{key}` out for all of them"),
            );
        }
        self.at_most(&list, MAX_CONDITIONS, key);
        list.items.into_iter().map(|item| item.value).collect()
    }
}

pub(super) const EXPECT_HINT: &str =
    "say who must be at the other end, such as `expect = [\"spiffe://prod.example/ns/db/sa/*\"]`";
