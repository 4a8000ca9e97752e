//! The report as one page that needs nothing else: plots as inline SVG, no script, no font and no address. Pure.

use super::{
    report::{Example, ExampleRow, QueryReport, Report},
    timing::Timing,
};
use crate::control::shadow::Outcome;

/// Width of a plot, without its labels.
const WIDTH: f64 = 420.0;
/// Room for the labels left of a plot.
const LABEL: f64 = 90.0;
/// Height of the line of one side.
const LINE: f64 = 26.0;

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #d8dee6 }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.equal { color: #17693a } .different { color: #b3261e } .undecided { color: #8a5a00 } code { font-size: .9em }
svg text { font: 12px system-ui, sans-serif; fill: #1c2430 } svg .axis { stroke: #8995a3 }
svg .postgresql { fill: #336791 } svg .mongodb { fill: #3d8b40 }
@media (prefers-color-scheme: dark) { body { color: #e3e8ee; background: #14191f } th, td { border-color: #333d48 }
svg text { fill: #e3e8ee } .equal { color: #6fcf97 } .different { color: #ff8a80 } .undecided { color: #ffd166 }
svg .postgresql { fill: #7fb2e5 } svg .mongodb { fill: #7ccf7f } }
";

/// Writes the page.
pub(crate) fn page(report: &Report) -> String {
    let title = format!("Shadow reads: {}", escaped(&report.file));
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width\"/>\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    let outcome = report.outcome().as_str();
    html.push_str(&format!(
        "<p>{} to {} (UTC), {} runs of {} queries: <strong class=\"{outcome}\">{outcome}</strong>.</p>\n",
        report.began_at.strftime("%Y-%m-%d %H:%M:%S"),
        report.ended_at.strftime("%H:%M:%S"),
        report.runs,
        report.queries.len(),
    ));
    html.push_str(&summary(report));
    report.queries.iter().for_each(|query| html.push_str(&section(query)));
    html.push_str("</body>\n</html>\n");
    html
}

fn summary(report: &Report) -> String {
    let heads = ["query", "answers", "PostgreSQL p50", "MongoDB p50", "ratio", "plan"];
    let heads: String = heads
        .iter()
        .enumerate()
        .map(|(at, head)| format!("<th{}>{head}</th>", if (2..5).contains(&at) { " class=\"number\"" } else { "" }))
        .collect();
    let rows: String = report.queries.iter().map(row).collect();
    format!("<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n")
}

fn row(query: &QueryReport) -> String {
    let outcome = query.outcome().as_str();
    let ratio = query.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}"));
    let plan: Vec<String> = query.scans.iter().map(|scan| escaped(&scan.to_string())).collect();
    format!(
        "<tr><td>{}</td><td class=\"{outcome}\">{outcome}</td><td class=\"number\">{:.2} ms</td><td class=\"number\">{:.2} ms</td>\
         <td class=\"number\">{ratio}</td><td>{}</td></tr>\n",
        escaped(&query.name),
        query.postgresql.p50_ms,
        query.mongodb.p50_ms,
        plan.join("<br/>"),
    )
}

fn section(query: &QueryReport) -> String {
    let outcome = query.outcome().as_str();
    let mut html = format!(
        "<h2>{}</h2>\n<p><span class=\"{outcome}\">{} equal, {} different, {} undecided</span>; {}.</p>\n",
        escaped(&query.name),
        query.equal,
        query.different,
        query.undecided,
        if query.order { "the order counts" } else { "the order does not count" },
    );
    html.push_str(&plot(query));
    if let (Outcome::Undecided, Some(reason)) = (query.outcome(), &query.reason) {
        html.push_str(&format!("<p>Undecided: {}.</p>\n", escaped(reason)));
    }
    for scan in &query.scans {
        html.push_str(&format!("<p>The statement scans {}.</p>\n", escaped(&scan.to_string())));
    }
    query.examples.iter().for_each(|example| html.push_str(&shown(example)));
    html
}

/// One dot for each answer, and a mark at each percentile; both sides on one scale from 0.
fn plot(query: &QueryReport) -> String {
    let sides = [("PostgreSQL", "postgresql", &query.postgresql), ("MongoDB", "mongodb", &query.mongodb)];
    let longest = sides.iter().flat_map(|(_, _, timing)| &timing.all_ms).fold(0.0_f64, |most, ms| most.max(*ms));
    if longest <= 0.0 {
        return String::new();
    }
    let height = LINE * 2.0 + 24.0;
    let lines: String =
        sides.iter().enumerate().map(|(at, (name, class, timing))| line(at, name, class, timing, longest)).collect();
    let base = LINE * 2.0 + 4.0;
    format!(
        "<svg role=\"img\" aria-label=\"latencies of {}\" viewBox=\"0 0 {} {height}\" width=\"{}\" height=\"{height}\">\n{lines}\
         <line class=\"axis\" x1=\"{LABEL}\" y1=\"{base}\" x2=\"{}\" y2=\"{base}\"/>\
         <text x=\"{LABEL}\" y=\"{}\">0 ms</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{longest:.2} ms</text>\n</svg>\n",
        escaped(&query.name),
        LABEL + WIDTH + 10.0,
        LABEL + WIDTH + 10.0,
        LABEL + WIDTH,
        base + 15.0,
        LABEL + WIDTH,
        base + 15.0,
    )
}

fn line(at: usize, name: &str, class: &str, timing: &Timing, longest: f64) -> String {
    let middle = LINE * (at as f64 + 0.5);
    let x = |ms: f64| LABEL + WIDTH * ms / longest;
    let dots: String = timing
        .all_ms
        .iter()
        .map(|ms| {
            format!("<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"3\" opacity=\"0.35\"/>", x(*ms))
        })
        .collect();
    let marks = [("p50", timing.p50_ms), ("p95", timing.p95_ms), ("p99", timing.p99_ms)];
    let marks: String = marks
        .iter()
        .map(|(percentile, ms)| {
            format!(
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"2\" height=\"18\"><title>{name} {percentile}: {ms:.2} ms</title></rect>",
                x(*ms) - 1.0,
                middle - 9.0,
            )
        })
        .collect();
    format!("<text x=\"0\" y=\"{:.1}\">{name}</text>{dots}{marks}\n", middle + 4.0)
}

fn shown(example: &Example) -> String {
    let documents: Vec<String> = example
        .parameters
        .iter()
        .map(|(collection, id)| format!("<code>{} {}</code>", escaped(collection), escaped(id)))
        .collect();
    let of =
        if documents.is_empty() { String::new() } else { format!(", with parameters of {}", documents.join(", ")) };
    let rows: String = example.rows.iter().map(|row| format!("<li>{}</li>\n", escaped(&row.to_string()))).collect();
    format!(
        "<p class=\"different\">As of {}{of}: {}.</p>\n<ul>\n{}{rows}</ul>\n",
        example.as_of,
        escaped(&example.what()),
        values(example),
    )
}

/// The values of the parameters and rows, where they were asked for.
fn values(example: &Example) -> String {
    let parameters = example.values.iter().enumerate();
    let parameters: String =
        parameters.map(|(at, value)| format!("<li>${} = <code>{}</code></li>\n", at + 1, escaped(value))).collect();
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
    let of = |row: &ExampleRow| -> String {
        let values = row.values.iter();
        let each = values.map(|(name, (expected, found))| {
            let (expected, found) = (escaped(&text(expected)), escaped(&text(found)));
            format!(
                "<li>row {}, {}: MongoDB <code>{expected}</code>, PostgreSQL <code>{found}</code></li>\n",
                row.place,
                escaped(name)
            )
        });
        each.collect()
    };
    example.rows.iter().map(of).fold(parameters, |all, row| all + &row)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::shadow::scan::Scan;

    fn report() -> Report {
        let taken = [1, 2, 30].map(Duration::from_millis);
        let example = Example {
            parameters: vec![("users".to_owned(), "{\"$oid\":\"507f1f77bcf86cd799439011\"}".to_owned())],
            values: vec!["\"</script>\"".to_owned()],
            as_of: crate::model::ClusterTime { t: 5, i: 1 },
            order: false,
            refused: None,
            count: 1,
            rows: vec![ExampleRow {
                kind: "different",
                place: 1,
                key: [("id".to_owned(), Some("7".to_owned()))].into(),
                columns: vec!["total".to_owned()],
                values: [("total".to_owned(), (Some("1 < 2".to_owned()), None))].into(),
            }],
        };
        let query = QueryReport {
            name: "plans & <b>more</b>".to_owned(),
            order: true,
            collections: vec!["plans".to_owned()],
            equal: 2,
            different: 1,
            undecided: 0,
            reason: None,
            postgresql: Timing::of(&taken),
            mongodb: Timing::of(&taken),
            scans: vec![Scan { table: "app.plans".to_owned(), bytes: 9 << 20, missing_index: true }],
            examples: vec![example],
        };
        let (began_at, ended_at) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        Report { file: "a<b>.toml".to_owned(), began_at, ended_at, runs: 3, queries: vec![query] }
    }

    /// The names of all elements, which must be closed in their order.
    fn elements(html: &str) -> Vec<String> {
        let (mut open, mut seen) = (Vec::new(), Vec::new());
        let body = html.strip_prefix("<!DOCTYPE html>").expect("a page");
        for tag in body.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("every tag ends");
            let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a name").to_owned();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "{tag}");
            } else {
                seen.push(name.clone());
                if !tag.ends_with('/') {
                    open.push(name);
                }
            }
        }
        assert_eq!(open, [] as [String; 0]);
        seen
    }

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        let html = page(&report());
        let seen = elements(&html);
        let count = |name: &str| seen.iter().filter(|seen| *seen == name).count();
        assert_eq!((count("svg"), count("circle"), count("rect")), (1, 6, 6));
        assert!(["script", "link", "img", "iframe", "object", "image", "use", "b"].iter().all(|name| count(name) == 0));
        assert!(["src=", "href", "url(", "@import", "://"].iter().all(|address| !html.contains(address)), "{html}");
    }

    #[test]
    fn texts_of_others_are_no_markup() {
        let html = page(&report());
        assert!(html.contains("plans &amp; &lt;b&gt;more&lt;/b&gt;") && html.contains("1 &lt; 2"));
        assert!(html.contains("a&lt;b&gt;.toml") && !html.contains("</script>"));
    }
}
