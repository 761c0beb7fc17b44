//! The report of a run: printed as tables, kept as JSON, and read from there again.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::options::Options;
use crate::products::{Peer, Product};
use crate::results::Figure;

/// All of it, as JSON has it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) seconds: u64,
    pub(crate) rounds: u64,
    pub(crate) workers: u64,
    products: Vec<Participant>,
    figures: Vec<Kept>,
    pub(crate) remarks: Vec<String>,
    pub(crate) failures: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Participant {
    name: String,
    version: String,
    remark: String,
}

/// One figure of one product, from all rounds. Median and ratio are for those who read the file; they follow from the values.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) test: String,
    pub(crate) figure: String,
    unit: String,
    pub(crate) product: String,
    lower_is_better: bool,
    pub(crate) values: Vec<f64>,
    median: f64,
    ratio_to_svidgate: Option<f64>,
}

impl Kept {
    pub(crate) fn new(product: Product, figure: Figure) -> Self {
        let Figure { group, name, unit, value, lower_is_better } = figure;
        Self {
            test: group,
            figure: name,
            unit,
            product: product.name().to_owned(),
            lower_is_better,
            values: vec![value],
            median: value,
            ratio_to_svidgate: None,
        }
    }
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
    pub(crate) unit: String,
    pub(crate) lower_is_better: bool,
    pub(crate) summaries: Vec<Summary>,
}

impl Column {
    fn is_of(&self, kept: &Kept) -> bool {
        self.group == kept.test && self.name == kept.figure
    }

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

impl Report {
    pub(crate) fn new(
        machine: Machine,
        peers: &[Peer],
        options: &Options,
        figures: Vec<Kept>,
        remarks: Vec<String>,
        failures: Vec<String>,
    ) -> Self {
        let products = peers.iter().map(|peer| Participant {
            name: peer.name().to_owned(),
            version: peer.version.clone(),
            remark: peer.product.remark().to_owned(),
        });
        let Options { seconds, rounds, workers, .. } = *options;
        let products = products.collect();
        let mut report = Self { machine, seconds, rounds, workers, products, figures, remarks, failures };
        let columns = report.columns();
        for kept in &mut report.figures {
            let column = columns.iter().find(|column| column.is_of(kept));
            let summary = column.and_then(|column| Some((column, column.of(Product::named(&kept.product)?)?)));
            if let Some((column, summary)) = summary {
                kept.median = summary.median;
                kept.ratio_to_svidgate = column.ratio(summary);
            }
        }
        report
    }

    /// Reads what was kept of an earlier run.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("`{}` is no report of this bench", path.display()))
    }

    /// Every figure of everybody who has it.
    pub(crate) fn columns(&self) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        for kept in &self.figures {
            let Some(product) = Product::named(&kept.product) else { continue };
            let summary = Summary::new(product, kept.values.clone());
            match columns.iter_mut().find(|column| column.is_of(kept)) {
                Some(column) => column.summaries.push(summary),
                None => columns.push(Column {
                    group: kept.test.clone(),
                    name: kept.figure.clone(),
                    unit: kept.unit.clone(),
                    lower_is_better: kept.lower_is_better,
                    summaries: vec![summary],
                }),
            }
        }
        for column in &mut columns {
            column.summaries.sort_by_key(|summary| summary.product);
        }
        columns
    }

    /// The tables in Markdown, aligned for the eye: fit for a terminal and for `benches/README.md`.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "\n{}\n\nMedians of {} rounds of {} s, {} workers; in brackets the least and the most; then the ratio to svidgate.\n",
            self.machine.text(),
            self.rounds,
            self.seconds,
            self.workers
        );
        let columns = self.columns();
        for group in groups(&columns) {
            let columns: Vec<&Column> = columns.iter().filter(|column| column.group == group).collect();
            text.push_str(&table(&group, &columns));
        }
        text.push('\n');
        for remark in &self.remarks {
            text.push_str(&format!("- {remark}\n"));
        }
        text
    }
}

impl Summary {
    fn new(product: Product, values: Vec<f64>) -> Self {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = [(sorted.len().saturating_sub(1)) / 2, sorted.len() / 2];
        Self {
            product,
            median: middle.iter().filter_map(|place| sorted.get(*place)).sum::<f64>() / 2.0,
            least: sorted.first().copied().unwrap_or_default(),
            most: sorted.last().copied().unwrap_or_default(),
            values,
        }
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

/// Who has any of these figures.
pub(crate) fn products(columns: &[&Column]) -> Vec<Product> {
    let mut products: Vec<Product> =
        columns.iter().flat_map(|column| column.summaries.iter().map(|summary| summary.product)).collect();
    products.sort_unstable();
    products.dedup();
    products
}

/// One table: a line for each product.
fn table(group: &str, columns: &[&Column]) -> String {
    let mut rows = vec![vec![group.to_owned()]];
    let heads = columns.iter().map(|column| format!("{}, {}", column.name, column.unit));
    rows.iter_mut().for_each(|row| row.extend(heads.clone()));
    for product in products(columns) {
        let cells = columns.iter().map(|column| column.cell(product));
        rows.push(std::iter::once(product.name().to_owned()).chain(cells).collect());
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
