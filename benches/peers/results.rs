//! What is measured: every figure of every turn, who did not take part, and what failed.

use std::fmt;

use crate::machine::Machine;
use crate::options::{Options, Trial};
use crate::products::{Peer, Product};
use crate::report::{Kept, Report, number};

/// One number of one turn.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Figures of one group stand in one table.
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) value: f64,
    pub(crate) lower_is_better: bool,
}

impl Figure {
    /// A figure of which less is better.
    pub(crate) fn lower(group: &str, name: &str, unit: &str, value: f64) -> Self {
        Self { group: group.to_owned(), name: name.to_owned(), unit: unit.to_owned(), value, lower_is_better: true }
    }

    /// A figure of which more is better.
    pub(crate) fn higher(group: &str, name: &str, unit: &str, value: f64) -> Self {
        Self { lower_is_better: false, ..Self::lower(group, name, unit, value) }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, number(self.value), self.unit)
    }
}

/// Everything of a run.
#[derive(Default)]
pub(crate) struct Results {
    figures: Vec<(Product, Figure)>,
    notes: Vec<String>,
    absent: Vec<Absence>,
    failures: Vec<String>,
}

/// Who does not take part in which tests, for one reason.
struct Absence {
    why: &'static str,
    trials: Vec<String>,
    names: Vec<&'static str>,
}

impl Results {
    pub(crate) fn took(&mut self, peer: &Peer, figures: Vec<Figure>) {
        self.figures.extend(figures.into_iter().map(|figure| (peer.product, figure)));
    }

    pub(crate) fn failed(&mut self, trial: Trial, who: &str, error: &anyhow::Error) {
        self.failures.push(format!("{}, {who}: {error:#}", trial.name()));
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub(crate) fn absent(&mut self, trial: Trial, why: &'static str, peer: &Peer) {
        let place = self.absent.iter().position(|absence| absence.why == why).unwrap_or_else(|| {
            self.absent.push(Absence { why, trials: Vec::new(), names: Vec::new() });
            self.absent.len() - 1
        });
        let Some(absence) = self.absent.get_mut(place) else { return };
        if !absence.trials.contains(&trial.name()) {
            absence.trials.push(trial.name());
        }
        if !absence.names.contains(&peer.name()) {
            absence.names.push(peer.name());
        }
    }

    /// What a reader must know: who did not take part and why, what failed, how everybody was configured.
    fn remarks(&self, peers: &[Peer]) -> Vec<String> {
        let failures = self.failures.iter().map(|failure| format!("FAILED: {failure}"));
        let peers = peers.iter().map(|peer| format!("{} {}: {}", peer.name(), peer.version, peer.product.remark()));
        let absent = self.absent.iter().map(|absence| {
            format!("{}: without {}: {}", absence.trials.join(", "), absence.names.join(", "), absence.why)
        });
        failures.chain(absent).chain(self.notes.iter().cloned()).chain(peers).collect()
    }

    /// The whole run: the figures in the order in which they were first measured, everybody's of one figure together.
    pub(crate) fn report(self, machine: Machine, peers: &[Peer], options: &Options) -> Report {
        let remarks = self.remarks(peers);
        let mut figures: Vec<Kept> = Vec::new();
        for (product, figure) in self.figures {
            let is_of = |kept: &Kept| kept.test == figure.group && kept.figure == figure.name;
            match figures.iter_mut().find(|kept| is_of(kept) && kept.product == product.name()) {
                Some(kept) => kept.values.push(figure.value),
                None => {
                    let place = figures.iter().rposition(is_of).map_or(figures.len(), |place| place + 1);
                    figures.insert(place, Kept::new(product, figure));
                }
            }
        }
        Report::new(machine, peers, options, figures, remarks, self.failures)
    }
}
