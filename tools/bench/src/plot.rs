//! Bar charts as SVG, drawn by hand: a dozen elements need no library. Pure.

use std::fmt::Write as _;

use crate::report::number;

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// Text to its left.
    pub(crate) label: String,
    /// Its length.
    pub(crate) value: f64,
    /// Its meaning, shown as a colour.
    pub(crate) tone: Tone,
}

/// The meaning of a bar, shown as a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A limit of the servers.
    Ceiling,
    /// The daemon.
    Ours,
    /// Another program.
    Peer,
}

impl Tone {
    fn colour(self) -> &'static str {
        match self {
            Self::Ceiling => "#b8c0cc",
            Self::Ours => "#2f6fb0",
            Self::Peer => "#c9803a",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ceiling => "what the servers allow",
            Self::Ours => "driftless",
            Self::Peer => "Debezium",
        }
    }
}

const WIDTH: f64 = 860.0;
const LABELS: f64 = 330.0;
const VALUES: f64 = 90.0;
const ROW: f64 = 26.0;
const TOP: f64 = 66.0;

/// Draws horizontal bars from zero, all on one scale.
pub(crate) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let height = TOP + ROW * bars.len() as f64 + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" fill=\"#222222\">{} ({})</text>\n",
        escaped(title),
        escaped(unit),
    );
    let mut at = 16.0;
    for tone in [Tone::Ceiling, Tone::Ours, Tone::Peer] {
        if bars.iter().any(|bar| bar.tone == tone) {
            let _ = writeln!(
                svg,
                "<rect x=\"{at}\" y=\"38\" width=\"12\" height=\"12\" fill=\"{}\"/>\
                 <text x=\"{}\" y=\"49\" fill=\"#555555\">{}</text>",
                tone.colour(),
                at + 18.0,
                tone.word(),
            );
            at += 40.0 + 8.0 * tone.word().len() as f64;
        }
    }
    for (place, bar) in bars.iter().enumerate() {
        let top = TOP + ROW * place as f64;
        let length = (WIDTH - LABELS - VALUES) * (bar.value / longest).max(0.0);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#222222\">{}</text>\
             <rect x=\"{LABELS}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{}\" fill=\"#222222\">{}</text>",
            LABELS - 10.0,
            top + 17.0,
            escaped(&bar.label),
            top + 4.0,
            ROW - 8.0,
            bar.tone.colour(),
            LABELS + length + 6.0,
            top + 17.0,
            number(bar.value),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: f64, tone: Tone) -> Bar {
        Bar { label: label.to_owned(), value, tone }
    }

    #[test]
    fn the_longest_bar_fills_the_width_and_half_of_it_half() {
        let svg = bars("Rates", "rows/s", &[bar("a", 10.0, Tone::Ceiling), bar("b", 5.0, Tone::Ours)]);
        assert!(svg.contains("width=\"440.0\"") && svg.contains("width=\"220.0\""), "{svg}");
    }

    #[test]
    fn the_legend_names_what_is_there() {
        let svg = bars("Rates", "rows/s", &[bar("a", 10.0, Tone::Ours)]);
        assert!(svg.contains("driftless") && !svg.contains("Debezium"), "{svg}");
    }

    #[test]
    fn text_cannot_break_the_drawing() {
        let svg = bars("a < b & c", "s", &[bar("<x>", 0.0, Tone::Ours)]);
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("&lt;x&gt;"), "{svg}");
        assert!(svg.contains("width=\"0.0\""), "{svg}");
    }

    #[test]
    fn no_bars_are_a_drawing_too() {
        assert!(bars("t", "s", &[]).ends_with("</svg>\n"));
    }
}
