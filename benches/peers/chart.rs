//! Plots as inline SVG: a bar for each product's median, a line from the least to the most, a dot for each round.

use crate::products::Product;
use crate::results::{Column, Summary, number};

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

/// The figures of one group as a line for each product, at even steps: for tests whose figures are one quantity at growing sizes.
pub(crate) fn lines(columns: &[&Column]) -> String {
    const HEIGHT: f64 = 220.0;
    const BOTTOM: f64 = 24.0;
    let greatest =
        columns.iter().flat_map(|column| &column.summaries).map(|summary| summary.median).fold(0.0, f64::max);
    let mut svg = String::new();
    let mut places = Vec::new();
    let mut at = LEFT;
    let steps = u32::try_from(columns.len().saturating_sub(1)).map_or(1.0, f64::from).max(1.0);
    for column in columns {
        places.push(at);
        svg.push_str(&format!(
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 6.0,
            column.name
        ));
        at += (WIDTH - LEFT - RIGHT) / steps;
    }
    let y = |value: f64| HEIGHT - BOTTOM - value / greatest.max(f64::MIN_POSITIVE) * (HEIGHT - BOTTOM - 14.0);
    let mut products: Vec<Product> =
        columns.iter().flat_map(|column| column.summaries.iter().map(|summary| summary.product)).collect();
    products.sort_unstable();
    products.dedup();
    for product in products {
        let points: Vec<(f64, f64)> = columns
            .iter()
            .zip(&places)
            .filter_map(|(column, place)| Some((*place, y(column.of(product)?.median))))
            .collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let kind = if product == Product::Svidgate { "own" } else { "peer" };
        svg.push_str(&format!("<polyline class=\"{kind}\" points=\"{}\"/>", path.join(" ")));
        if let Some((x, y)) = points.last() {
            svg.push_str(&format!("<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 8.0, y + 4.0, product.name()));
        }
    }
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">{svg}</svg>")
}
