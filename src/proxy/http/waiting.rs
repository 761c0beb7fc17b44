//! What waits, in the order in which it began to, and apart for each caller: with ten thousand connections of a thousand callers, none looks through
//! those of the others.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use super::pool::For;

/// Things that wait, each for one caller.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    /// By the turn in which they came: the first has waited longest.
    all: BTreeMap<Turn, (For, T)>,
    /// The turns of each caller's own, in their order. Callers without any are kept in mind for a while: who has one connection comes back soon. To
    /// compare names is cheaper than to hash them, for few callers by far.
    of: BTreeMap<For, VecDeque<Turn>>,
    next: Turn,
}

/// When something came, among all that did.
pub(super) type Turn = u64;

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), of: BTreeMap::new(), next: 0 }
    }
}

impl<T> Waiting<T> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The turn of the next to come.
    pub(super) fn next_turn(&self) -> Turn {
        self.next
    }

    /// Lets one more wait.
    pub(super) fn put(&mut self, whom: For, thing: T) {
        let turn = self.next;
        self.next += 1;
        let is_new = match self.of.entry(whom.clone()) {
            Entry::Occupied(mut own) => {
                own.get_mut().push_back(turn);
                false
            }
            Entry::Vacant(free) => {
                free.insert(VecDeque::from([turn]));
                true
            }
        };
        self.all.insert(turn, (whom, thing));
        if is_new && self.of.len() / 2 > self.all.len() {
            self.of.retain(|_, own| !own.is_empty());
        }
    }

    /// Takes out the caller's own that came last.
    pub(super) fn take(&mut self, whom: &For) -> Option<T> {
        let turn = self.of.get_mut(whom)?.pop_back()?;
        self.all.remove(&turn).map(|(_, thing)| thing)
    }

    /// Takes out what has waited longest, whosesoever it is.
    pub(super) fn take_oldest(&mut self) -> Option<T> {
        let turn = self.all.first_key_value().map(|(turn, _)| *turn)?;
        self.remove(turn)
    }

    /// Takes out those that `is_over` says of, among `count` that came in the turn `from` or later. Tells where to go on; `None` at the end.
    pub(super) fn take_over(
        &mut self,
        from: Turn,
        count: usize,
        mut is_over: impl FnMut(&mut T) -> bool,
    ) -> (Vec<T>, Option<Turn>) {
        let (mut over, mut next) = (Vec::new(), None);
        for (turn, (_, thing)) in self.all.range_mut(from..).take(count) {
            next = Some(*turn + 1);
            if is_over(thing) {
                over.push(*turn);
            }
        }
        (over.into_iter().filter_map(|turn| self.remove(turn)).collect(), next)
    }

    fn remove(&mut self, turn: Turn) -> Option<T> {
        let (whom, thing) = self.all.remove(&turn)?;
        if let Some(own) = self.of.get_mut(&whom)
            && let Ok(at) = own.binary_search(&turn)
        {
            own.remove(at);
        }
        Some(thing)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn callers() -> [For; 3] {
        let named = |name: &str| Some(Arc::new(format!("spiffe://prod.example/{name}").parse().unwrap()));
        [None, named("web"), named("batch")]
    }

    #[test]
    fn each_caller_is_given_its_own_the_last_first() {
        let ([application, web, batch], mut waiting) = (callers(), Waiting::default());
        for (whom, number) in [(&web, 1), (&batch, 2), (&web, 3), (&application, 4)] {
            waiting.put(whom.clone(), number);
        }
        assert_eq!([&web, &web, &web].map(|whom| waiting.take(whom)), [Some(3), Some(1), None]);
        assert_eq!([&batch, &application].map(|whom| waiting.take(whom)), [Some(2), Some(4)]);
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn what_has_waited_longest_goes_first_whosesoever_it_is() {
        let ([_, web, batch], mut waiting) = (callers(), Waiting::default());
        for (whom, number) in [(&web, 1), (&batch, 2), (&web, 3)] {
            waiting.put(whom.clone(), number);
        }
        assert_eq!(waiting.take(&web), Some(3));
        waiting.put(web.clone(), 4);
        let taken = std::iter::from_fn(|| waiting.take_oldest()).collect::<Vec<_>>();
        assert_eq!(taken, [1, 2, 4]);
    }

    #[test]
    fn what_is_over_is_taken_out_piece_by_piece_and_the_rest_keeps_its_order() {
        let ([_, web, batch], mut waiting) = (callers(), Waiting::default());
        (0..10).for_each(|number| waiting.put([&web, &batch][number % 2].clone(), number));
        let (mut over, mut from, mut pieces) = (Vec::new(), Some(0), 0);
        while let Some(turn) = from {
            let (piece, next) = waiting.take_over(turn, 4, |number| *number % 3 == 0);
            over.extend(piece);
            (from, pieces) = (next, pieces + usize::from(next.is_some()));
        }
        assert_eq!((over, pieces), (vec![0, 3, 6, 9], 3));
        assert_eq!([&web, &web, &web, &web].map(|whom| waiting.take(whom)), [Some(8), Some(4), Some(2), None]);
        assert_eq!(waiting.take_oldest(), Some(1));
    }

    #[test]
    fn callers_that_have_nothing_any_more_are_forgotten() {
        let mut waiting = Waiting::default();
        for number in 0..1000 {
            let whom = Some(Arc::new(format!("spiffe://prod.example/{number}").parse().unwrap()));
            waiting.put(whom.clone(), number);
            assert_eq!(waiting.take(&whom), Some(number));
        }
        assert!(waiting.of.len() < 5);
    }
}
