//! The analysis as one HTML file: no script, nothing from elsewhere, every text escaped.

use std::fmt::Write;

use super::{
    notes,
    report::{Analysis, Collection, Field},
};

const STYLE: &str = "
body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1f2328;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem;border-bottom:1px solid #d8dee4}th{color:#57606a;font-weight:600}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}.number{text-align:right;white-space:nowrap}.quiet{color:#57606a}
svg{display:block}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}
th,.quiet{color:#8d96a0}}";

/// Colours of the types, by their families.
const COLOURS: [(&[&str], &str); 8] = [
    (&["string", "symbol"], "#4493f8"),
    (&["int", "long", "double", "decimal"], "#3fb950"),
    (&["objectId", "binData"], "#ab7df8"),
    (&["date", "timestamp"], "#d29922"),
    (&["bool"], "#39c5cf"),
    (&["object"], "#f778ba"),
    (&["array"], "#db6d28"),
    (&["null", "undefined"], "#8b949e"),
];
const OTHER_COLOUR: &str = "#f85149";

/// Writes the page; `made` says when and by what.
pub fn page(analysis: &Analysis, made: &str) -> String {
    let mut page = Page(String::new());
    let title = format!("Analysis of {}", analysis.database);
    page.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    page.raw(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    page.raw("<meta name=\"viewport\" content=\"width=device-width\">\n");
    page.element("title", &title);
    page.raw(&format!("<style>{STYLE}</style></head><body>\n"));
    page.element("h1", &title);
    page.raw("<p class=\"quiet\">");
    page.text(made);
    page.text(" It shows values: ranges, and the texts of fields that have few. Treat it as you treat the data.");
    page.raw("</p>\n");
    page.overview(analysis);
    analysis.collections.iter().enumerate().for_each(|(at, collection)| page.collection(at, collection));
    page.raw("</body></html>\n");
    page.0
}

struct Page(String);

impl Page {
    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.raw("&amp;"),
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                '"' => self.raw("&quot;"),
                '\'' => self.raw("&#39;"),
                // Characters that HTML does not allow, and those that turn the direction of the text.
                letter
                    if letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
                {
                    self.0.push('\u{fffd}');
                }
                letter => self.0.push(letter),
            }
        }
    }

    fn element(&mut self, name: &str, text: &str) {
        self.raw(&format!("<{name}>"));
        self.text(text);
        self.raw(&format!("</{name}>\n"));
    }

    fn cell(&mut self, class: &str, text: &str) {
        self.raw(&format!("<td class=\"{class}\">"));
        self.text(text);
        self.raw("</td>");
    }

    fn overview(&mut self, analysis: &Analysis) {
        self.raw("<table><tr><th>collection</th><th>documents</th><th>bytes</th><th></th><th>read</th><th>indexes</th></tr>\n");
        let largest = analysis.collections.iter().map(|collection| collection.bytes).max().unwrap_or(0);
        for (at, collection) in analysis.collections.iter().enumerate() {
            self.raw(&format!("<tr><td><a href=\"#c{at}\"><code>"));
            self.text(&collection.name);
            self.raw("</code></a></td>");
            self.cell("number", &collection.documents.to_string());
            self.cell("number", &collection.bytes.to_string());
            self.raw("<td>");
            self.bar(&[(collection.bytes, "#4493f8")], largest, 200);
            self.raw("</td>");
            self.cell("number", &if collection.all { "all".to_owned() } else { collection.seen.to_string() });
            self.cell("number", &collection.indexes.len().to_string());
            self.raw("</tr>\n");
        }
        self.raw("</table>\n<p class=\"quiet\">Types: ");
        for (types, colour) in COLOURS {
            self.raw(&format!("<svg width=\"10\" height=\"10\" style=\"display:inline\"><rect width=\"10\" height=\"10\" fill=\"{colour}\"/></svg> "));
            self.text(&format!("{}  ", types.join(", ")));
        }
        self.raw("</p>\n");
    }

    fn collection(&mut self, at: usize, collection: &Collection) {
        self.raw(&format!("<h2 id=\"c{at}\"><code>"));
        self.text(&collection.name);
        self.raw("</code></h2>\n");
        if let Some(kinds) = &collection.kinds {
            self.element("p", &kinds.to_string());
        }
        for index in &collection.indexes {
            let keys: Vec<String> = index.keys.iter().map(|(path, kind)| format!("{path}: {kind}")).collect();
            let unique = if index.unique { "unique " } else { "" };
            self.element("p", &format!("{unique}index {} on {}", index.name, keys.join(", ")));
        }
        if let Some(validator) = &collection.validator {
            let enforced = if validator.enforced { "enforced" } else { "not enforced" };
            self.element("p", &format!("It has a validator, which is {enforced}."));
        }
        for (by, name) in &collection.unseen {
            self.element("p", &format!("No document has {name}, of which {by} says something."));
        }
        if collection.cut {
            self.element("p", "It has more paths than are counted.");
        }
        self.raw("<table><tr><th>path</th><th>present</th><th>types</th><th></th><th>notes</th></tr>\n");
        for field in &collection.fields {
            field.each(&mut |path, field| self.field(&path.to_string(), field));
        }
        self.raw("</table>\n");
    }

    fn field(&mut self, path: &str, field: &Field) {
        self.raw("<tr><td><code>");
        self.text(path);
        self.raw("</code></td><td>");
        self.bar(&[(field.present, "#3fb950")], field.of, 60);
        self.text(&share(field));
        self.raw("</td><td>");
        let parts: Vec<(u64, &str)> = field.types.iter().map(|(name, count)| (*count, colour(name))).collect();
        self.bar(&parts, field.types.values().sum(), 120);
        self.raw("</td><td>");
        let mut types: Vec<_> = field.types.iter().collect();
        types.sort_by(|a, b| b.1.cmp(a.1));
        let types: Vec<String> = types.iter().map(|(name, count)| format!("{name} {count}")).collect();
        self.text(&types.join(", "));
        self.raw("</td>");
        self.cell("", &notes(field).join("; "));
        self.raw("</tr>\n");
    }

    /// Parts of a whole, side by side.
    fn bar(&mut self, parts: &[(u64, &str)], whole: u64, width: u32) {
        let scale = |part: u64| part as f64 / whole.max(1) as f64 * f64::from(width);
        self.raw(&format!("<svg width=\"{width}\" height=\"12\" role=\"img\">"));
        self.raw(&format!("<rect width=\"{width}\" height=\"12\" rx=\"2\" fill=\"#8b949e\" fill-opacity=\".2\"/>"));
        let mut x = 0.0;
        for (part, colour) in parts {
            let wide = scale(*part).min(f64::from(width) - x);
            let _ = write!(self.0, "<rect x=\"{x:.1}\" width=\"{wide:.1}\" height=\"12\" fill=\"{colour}\"/>");
            x += wide;
        }
        self.raw("</svg>");
    }
}

fn colour(kind: &str) -> &'static str {
    COLOURS.iter().find(|(types, _)| types.contains(&kind)).map_or(OTHER_COLOUR, |(_, colour)| colour)
}

/// The share of objects that have the field, never rounded up to all.
pub fn share(field: &Field) -> String {
    match field.present {
        present if present >= field.of => "all".to_owned(),
        present => {
            let percent = present as f64 / field.of as f64 * 100.0;
            if percent < 0.1 { "< 0.1 %".to_owned() } else { format!("{:.1} %", (percent * 10.0).floor() / 10.0) }
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::profile::{Database, Facts};

    #[test]
    fn every_text_is_escaped() {
        let mut database = Database::new("<b>");
        let name = "<script>alert(1)</script>";
        database.begin(Facts { name: name.to_owned(), bytes: 10, ..Facts::default() });
        for _ in 0..4 {
            let mut document = rawdoc! { "_id": 1, "kind": "\"><img src=x onerror=\u{202e}y>" };
            document.append(bson::raw::CString::try_from("a<i>&'").expect("no NUL"), bson::raw::RawBson::Null);
            database.add(&document);
        }
        database.end(true);
        let page = page(&database.analysis(), "Made <now>.");
        assert!(
            !page.contains("<script") && !page.contains("<img") && !page.contains("<i>") && !page.contains('\u{202e}')
        );
        assert!(
            page.contains("&lt;script&gt;alert(1)")
                && page.contains("Made &lt;now&gt;.")
                && page.contains("a&lt;i&gt;&amp;&#39;")
        );
        // Well-formed: what is opened is closed.
        for tag in ["table", "tr", "td", "svg", "code", "h2", "p"] {
            let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn a_share_is_never_rounded_to_all() {
        let share = |present, of| share(&Field { present, of, ..Field::default() });
        assert_eq!(
            [share(5, 5), share(99_999, 100_000), share(1, 100_000), share(0, 0)],
            ["all", "99.9 %", "< 0.1 %", "all"]
        );
    }
}
