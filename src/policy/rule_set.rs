//! Sets of the rules of one block, a bit for each: conditions are joined by intersecting what each lets through.

use std::ops::{BitAnd, BitOrAssign};

/// Bits of a word.
const WORD: usize = 64;

/// Rules by their number in the block. It lies on the stack, and to join two takes a few instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RuleSet([u64; Self::WORDS]);

impl RuleSet {
    /// How many words it has.
    pub(super) const WORDS: usize = 16;

    /// The most rules of a block.
    pub(super) const CAPACITY: usize = Self::WORDS * WORD;

    /// Adds a rule. There is none past the capacity.
    pub(super) fn insert(&mut self, rule: usize) {
        if let Some(word) = self.0.get_mut(rule / WORD) {
            *word |= 1 << (rule % WORD);
        }
    }

    pub(super) fn contains(&self, rule: usize) -> bool {
        self.0.get(rule / WORD).is_some_and(|word| word & 1 << (rule % WORD) != 0)
    }

    /// The rule with the least number.
    pub(super) fn first(&self) -> Option<usize> {
        let (index, word) = self.0.iter().enumerate().find(|(_, word)| **word != 0)?;
        Some(index * WORD + usize::try_from(word.trailing_zeros()).ok()?)
    }
}

impl BitAnd for RuleSet {
    type Output = Self;

    fn bitand(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
        self
    }
}

impl BitOrAssign<&Self> for RuleSet {
    fn bitor_assign(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }
}

impl FromIterator<usize> for RuleSet {
    fn from_iter<I: IntoIterator<Item = usize>>(rules: I) -> Self {
        let mut set = Self::default();
        rules.into_iter().for_each(|rule| set.insert(rule));
        set
    }
}
