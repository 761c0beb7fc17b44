//! The report: one file that needs nothing else, with the tables and a plot of every figure.

use crate::chart;
use crate::report::{Column, Report, groups};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1c1c1e;background:#fff}\
h1,h2{line-height:1.2}h3{font-size:1rem;margin:1.2rem 0 .2rem}h3 small{font-weight:normal;color:#666}\
svg{width:100%;height:auto;font:12px system-ui,sans-serif;fill:currentColor}\
rect.own,polyline.own{fill:#0b6bcb;stroke:#0b6bcb}rect.peer{fill:#b9c0c8}rect.floor{fill:#dcd3b8}\
polyline{fill:none!important;stroke-width:2}polyline.peer{stroke:#8a929b}line{stroke:#333}line.grid{stroke:#ddd}circle{fill:#333}\
li{margin:.3rem 0}.failed{color:#b3261e}@media(prefers-color-scheme:dark){body{background:#16181b;color:#e6e6e6}rect.peer{fill:#5a626b}rect.floor{fill:#6b6245}\
line{stroke:#ccc}line.grid{stroke:#3a3f45}polyline.own{stroke:#4d9fee}rect.own{fill:#2f86dd;stroke:#2f86dd}.failed{color:#ff8a80}circle{fill:#ccc}h3 small{color:#aaa}}";

/// The whole report.
pub(crate) fn report(report: &Report) -> String {
    let columns = report.columns();
    let sections: String = groups(&columns).iter().map(|group| section(group, &columns)).collect();
    let remarks: String = report.remarks.iter().map(|remark| format!("<li>{}</li>\n", escaped(remark))).collect();
    let failures = report.failures.iter();
    let failures: String =
        failures.map(|failure| format!("<p class=\"failed\">Failed: {}</p>\n", escaped(failure))).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>svidgate beside its peers</title><style>{STYLE}</style></head><body>\n<h1>svidgate beside its peers</h1>\n<p>{machine}</p>\n\
         <p>Medians of {rounds} rounds of {seconds} seconds, {workers} workers each. A bar is the median, the line reaches from the least to the \
         most, each dot is a round; the last number is the ratio to svidgate.</p>\n{failures}{sections}<h2>To read these figures</h2>\n<ul>\n{remarks}</ul>\n\
         </body></html>\n",
        machine = escaped(&report.machine.text()),
        rounds = report.rounds,
        seconds = report.seconds,
        workers = report.workers,
    )
}

fn section(group: &str, columns: &[Column]) -> String {
    let columns: Vec<&Column> = columns.iter().filter(|column| column.group == group).collect();
    let mut section = format!("<h2>{}</h2>\n", escaped(group));
    if group.starts_with("scale") {
        section.push_str(&chart::lines(&columns));
    }
    for column in columns {
        let better = if column.lower_is_better { "less is better" } else { "more is better" };
        section.push_str(&format!(
            "<h3>{} <small>{}, {better}</small></h3>\n{}\n",
            escaped(&column.name),
            escaped(&column.unit),
            chart::bars(column)
        ));
    }
    section
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
