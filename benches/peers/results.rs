//! What was measured: every figure of every turn, and the table of medians.

use std::fmt;

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::options::{Options, Trial};
use crate::products::{Peer, Product};

/// One number of one turn.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Figures of one group stand in one table.
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) lower_is_better: bool,
}

impl Figure {
    /// A figure of which less is better.
    pub(crate) fn lower(group: &str, name: &str, unit: &'static str, value: f64) -> Self {
        Self { group: group.to_owned(), name: name.to_owned(), unit, value, lower_is_better: true }
    }

    /// A figure of which more is better.
    pub(crate) fn higher(group: &str, name: &str, unit: &'static str, value: f64) -> Self {
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

/// One product in one figure, over all rounds.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) product: Product,
    pub(crate) values: Vec<f64>,
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// One figure, of everybody who has it.
pub(crate) struct Column {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) lower_is_better: bool,
    pub(crate) summaries: Vec<Summary>,
}

impl Column {
    pub(crate) fn of(&self, product: Product) -> Option<&Summary> {
        self.summaries.iter().find(|summary| summary.product == product)
    }

    /// What it is to what svidgate has.
    pub(crate) fn ratio(&self, summary: &Summary) -> Option<f64> {
        let svidgate = self.of(Product::Svidgate)?.median;
        (svidgate > 0.0).then(|| summary.median / svidgate)
    }

    fn cell(&self, product: Product) -> String {
        let Some(summary) = self.of(product) else { return "—".to_owned() };
        let mut cell = number(summary.median);
        if summary.values.len() > 1 {
            cell.push_str(&format!(" ({}–{})", number(summary.least), number(summary.most)));
        }
        match self.ratio(summary) {
            Some(ratio) if product != Product::Svidgate => cell.push_str(&format!(" {ratio:.2}×")),
            _ => {}
        }
        cell
    }
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
    pub(crate) fn remarks(&self, peers: &[Peer]) -> Vec<String> {
        let failures = self.failures.iter().map(|failure| format!("FAILED: {failure}"));
        let peers = peers.iter().map(|peer| format!("{} {}: {}", peer.name(), peer.version, peer.product.remark()));
        let absent = self.absent.iter().map(|absence| {
            format!("{}: without {}: {}", absence.trials.join(", "), absence.names.join(", "), absence.why)
        });
        failures.chain(absent).chain(self.notes.iter().cloned()).chain(peers).collect()
    }

    /// The figures in the order in which they were first measured, everybody's of one figure together.
    pub(crate) fn columns(&self) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        for (product, figure) in &self.figures {
            let known = columns.iter_mut().find(|column| column.group == figure.group && column.name == figure.name);
            match known {
                Some(column) => column.add(*product, figure.value),
                None => {
                    let Figure { group, name, unit, lower_is_better, value } = figure.clone();
                    let mut column = Column { group, name, unit, lower_is_better, summaries: Vec::new() };
                    column.add(*product, value);
                    columns.push(column);
                }
            }
        }
        for column in &mut columns {
            column.summaries.iter_mut().for_each(Summary::close);
            column.summaries.sort_by_key(|summary| summary.product);
        }
        columns
    }

    /// The tables in Markdown, aligned for the eye: fit for a terminal and for `benches/README.md`.
    pub(crate) fn text(&self, machine: &Machine, peers: &[Peer], options: &Options) -> String {
        let mut text = format!(
            "\n{}\n\nMedians of {} rounds of {} s, {} workers; in brackets the least and the most; then the ratio to svidgate.\n",
            machine.text(),
            options.rounds,
            options.seconds,
            options.workers
        );
        let columns = self.columns();
        for group in groups(&columns) {
            let columns: Vec<&Column> = columns.iter().filter(|column| column.group == group).collect();
            text.push_str(&table(&group, &columns, peers));
        }
        text.push('\n');
        for remark in self.remarks(peers) {
            text.push_str(&format!("- {remark}\n"));
        }
        text
    }

    /// Every single figure.
    pub(crate) fn json(&self, machine: &Machine, peers: &[Peer], options: &Options) -> Value {
        let figures: Vec<Value> = self
            .columns()
            .iter()
            .flat_map(|column| {
                column.summaries.iter().map(|summary| {
                    json!({
                        "test": column.group, "figure": column.name, "unit": column.unit, "product": summary.product.name(),
                        "lower_is_better": column.lower_is_better, "values": summary.values, "median": summary.median,
                        "ratio_to_svidgate": column.ratio(summary),
                    })
                })
            })
            .collect();
        let products: Vec<Value> = peers
            .iter()
            .map(|peer| json!({ "name": peer.name(), "version": peer.version, "remark": peer.product.remark() }))
            .collect();
        json!({
            "machine": machine.json(), "seconds": options.seconds, "rounds": options.rounds, "workers": options.workers,
            "products": products, "figures": figures, "remarks": self.remarks(peers), "failures": self.failures,
        })
    }
}

impl Column {
    fn add(&mut self, product: Product, value: f64) {
        match self.summaries.iter_mut().find(|summary| summary.product == product) {
            Some(summary) => summary.values.push(value),
            None => self.summaries.push(Summary { product, values: vec![value], median: 0.0, least: 0.0, most: 0.0 }),
        }
    }
}

impl Summary {
    fn close(&mut self) {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        self.least = sorted.first().copied().unwrap_or_default();
        self.most = sorted.last().copied().unwrap_or_default();
        let middle = [(sorted.len().saturating_sub(1)) / 2, sorted.len() / 2];
        self.median = middle.iter().filter_map(|place| sorted.get(*place)).sum::<f64>() / 2.0;
    }
}

/// The tables' names in their order.
pub(crate) fn groups(columns: &[Column]) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for column in columns {
        if !groups.contains(&column.group) {
            groups.push(column.group.clone());
        }
    }
    groups
}

/// One table: a line for each product.
fn table(group: &str, columns: &[&Column], peers: &[Peer]) -> String {
    let mut rows = vec![vec![group.to_owned()]];
    let heads = columns.iter().map(|column| format!("{}, {}", column.name, column.unit));
    rows.iter_mut().for_each(|row| row.extend(heads.clone()));
    for peer in peers.iter().filter(|peer| columns.iter().any(|column| column.of(peer.product).is_some())) {
        let cells = columns.iter().map(|column| column.cell(peer.product));
        rows.push(std::iter::once(peer.name().to_owned()).chain(cells).collect());
    }
    let width = |place: usize| {
        rows.iter().filter_map(|row| row.get(place)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..=columns.len()).map(width).collect();
    let mut text = String::from("\n");
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("| {cell:<width$} "));
        }
        text.push_str("|\n");
        if number == 0 {
            let rules = widths.iter().map(|width| format!("|{}", "-".repeat(width + 2)));
            text.push_str(&format!("{}|\n", rules.collect::<String>()));
        }
    }
    text
}

/// Three digits, or all of them where there are more before the point.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.0 => 0,
        _ => 3,
    };
    format!("{value:.decimals$}")
}
