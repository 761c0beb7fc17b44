//! Plots as inline SVG: a bar for each product's median, a line from the least to the most, a dot for each round.

use crate::products::Product;
use crate::report::{Column, Summary, number, products};

const WIDTH: f64 = 640.0;
const ROW: f64 = 24.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 130.0;

/// The bars of one figure.
pub(crate) fn bars(column: &Column) -> String {
    let greatest = column.summaries.iter().map(|summary| summary.most).fold(0.0, f64::max);
    let scale = if greatest > 0.0 { (WIDTH - LEFT - RIGHT) / greatest } else { 0.0 };
    let x = |value: f64| LEFT + value.max(0.0) * scale;
    let mut svg = String::new();
    let mut top = 4.0;
    for summary in &column.summaries {
        svg.push_str(&bar(column, summary, top, &x));
        top += ROW;
    }
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{name}\">{svg}</svg>",
        height = top + 4.0,
        name = column.name
    )
}

fn bar(column: &Column, summary: &Summary, top: f64, x: &impl Fn(f64) -> f64) -> String {
    let Summary { product, median, least, most, values } = summary;
    let middle = top + ROW / 2.0;
    let kind = match product {
        Product::Svidgate => "own",
        Product::Floor => "floor",
        _ => "peer",
    };
    let ratio = column.ratio(summary).filter(|_| *product != Product::Svidgate);
    let ratio = ratio.map(|ratio| format!(" · {ratio:.2}×")).unwrap_or_default();
    let dots: String =
        values.iter().map(|value| format!("<circle cx=\"{:.1}\" cy=\"{middle}\" r=\"2\"/>", x(*value))).collect();
    format!(
        "<text x=\"{label}\" y=\"{base}\" text-anchor=\"end\">{name}</text>\
         <rect class=\"{kind}\" x=\"{LEFT}\" y=\"{bar_top}\" width=\"{width:.1}\" height=\"{height}\"/>\
         <line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>{dots}\
         <text x=\"{value_at:.1}\" y=\"{base}\">{value}{ratio}</text>",
        label = LEFT - 8.0,
        base = middle + 4.0,
        name = product.name(),
        bar_top = top + 4.0,
        width = x(*median) - LEFT,
        height = ROW - 8.0,
        from = x(*least),
        to = x(*most),
        value_at = x(*most) + 8.0,
        value = number(*median),
    )
}

/// Height of the plot of [`lines`], and where its zero lies.
const HEIGHT: f64 = 230.0;
const ZERO: f64 = HEIGHT - 24.0;
/// The least distance of two names at the ends of their lines.
const APART: f64 = 14.0;

/// The figures of one group as a line for each product, at even steps: for tests whose figures are one quantity at growing sizes.
pub(crate) fn lines(columns: &[&Column]) -> String {
    let medians = columns.iter().flat_map(|column| &column.summaries).map(|summary| summary.median);
    let greatest = medians.fold(f64::MIN_POSITIVE, f64::max);
    let y = |value: f64| ZERO - value / greatest * (ZERO - 24.0);
    let unit = columns.first().map(|column| column.unit.as_str()).unwrap_or_default();
    let mut svg = format!("<text x=\"0\" y=\"12\">{unit}</text>");
    for value in [0.0, greatest / 2.0, greatest] {
        let (at, end) = (y(value), WIDTH - RIGHT);
        svg.push_str(&format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{label}\" y=\"{base:.1}\" text-anchor=\"end\">{value}</text>",
            label = LEFT - 8.0,
            base = at + 4.0,
            value = number(value),
        ));
    }
    let places = places(columns.len());
    for (column, at) in columns.iter().zip(&places) {
        let (name, base) = (&column.name, HEIGHT - 6.0);
        svg.push_str(&format!("<text x=\"{at:.1}\" y=\"{base}\" text-anchor=\"middle\">{name}</text>"));
    }
    let mut ends = Vec::new();
    for product in products(columns) {
        let figures = columns.iter().zip(&places);
        let points = figures.filter_map(|(column, place)| Some((*place, y(column.of(product)?.median))));
        let points: Vec<(f64, f64)> = points.collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let kind = if product == Product::Svidgate { "own" } else { "peer" };
        svg.push_str(&format!("<polyline class=\"{kind}\" points=\"{}\"/>", path.join(" ")));
        ends.extend(points.last().map(|(x, y)| (*y, *x, product)));
    }
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">{svg}{}</svg>", names(ends))
}

/// Even steps from left to right.
fn places(steps: usize) -> Vec<f64> {
    let gaps = u32::try_from(steps.saturating_sub(1)).map_or(1.0, f64::from).max(1.0);
    (0..u32::try_from(steps).unwrap_or_default())
        .map(|step| LEFT + f64::from(step) * (WIDTH - LEFT - RIGHT) / gaps)
        .collect()
}

/// The products' names where their lines end, moved up where they would lie on each other.
fn names(mut ends: Vec<(f64, f64, Product)>) -> String {
    ends.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
    let mut above = f64::INFINITY;
    let names = ends.into_iter().map(|(y, x, product)| {
        above = y.min(above - APART);
        format!("<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 8.0, above + 4.0, product.name())
    });
    names.collect()
}
