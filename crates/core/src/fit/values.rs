//! Whether the values of a path fit a column, and what the mapping has to say for it. Ids are in `ids`.

use super::words::Likeness;
use crate::{
    draft::{key, text},
    mapping::target::{Column, ColumnType},
    profile::{Field, Form},
};

const NUMBERS: [&str; 4] = ["int", "long", "double", "decimal"];
/// Types that a text column takes by their text.
const TEXTS: [&str; 9] = ["string", "int", "long", "double", "decimal", "objectId", "symbol", "javascript", "regex"];
/// Texts that `coerce = "boolean"` reads.
const BOOLEANS: [&str; 8] = ["true", "yes", "on", "1", "false", "no", "off", "0"];
/// Numbers that are instants of the years 1973 to 2286, in seconds and in milliseconds.
const SECONDS: (f64, f64) = (1e8, 1e10);
const MILLISECONDS: (f64, f64) = (1e11, 1e13);
/// Most texts that a remark lists.
const LISTED: usize = 5;

/// Values that a column takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// How alike the names must be: types that prove little need more.
    pub(super) needs: Likeness,
    /// Lines of the mapping, such as `coerce = "number"`.
    pub(super) settings: Vec<String>,
    /// Values that the column will refuse, in words.
    pub(super) remarks: Vec<String>,
}

impl Taken {
    fn if_named(needs: Likeness) -> Self {
        Self { needs, settings: Vec::new(), remarks: Vec::new() }
    }

    fn plain() -> Self {
        Self::if_named(Likeness::None)
    }

    fn with(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// Empty texts are no value of any type that texts are coerced to: NULL where the column takes it.
    fn empty(self, count: u64, not_null: bool) -> Self {
        let is_read = |line: &String| line.starts_with("coerce") && line != "coerce = \"text\"";
        match (count > 0 && self.settings.iter().any(is_read), not_null) {
            (false, _) => self,
            (true, false) => self.with("empty = \"null\"").but(true, || format!("{count} empty texts are NULL")),
            (true, true) => {
                self.but(true, || format!("{count} empty texts are refused: empty = \"null\" needs a default"))
            }
        }
    }

    fn but(mut self, holds: bool, remark: impl FnOnce() -> String) -> Self {
        self.remarks.extend(holds.then(remark));
        self
    }
}

/// Whether the values fit a column, empty texts among them; `allowed` are the texts to which a CHECK limits it.
pub(super) fn taken_by(column: &Column, field: &Field, allowed: Option<&[String]>) -> Option<Taken> {
    taken(&column.kind, field, allowed).map(|taken| taken.empty(field.empty, column.not_null))
}

/// Whether the values fit the type.
pub(super) fn taken(kind: &ColumnType, field: &Field, allowed: Option<&[String]>) -> Option<Taken> {
    let kinds = field.kinds();
    if kinds.is_empty() {
        return Some(Taken::if_named(Likeness::Inner));
    }
    let only = |types: &[&str]| kinds.iter().all(|kind| types.contains(kind));
    match kind.base() {
        ColumnType::Bool => boolean(field),
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => number(field).map(|taken| {
            let fits = match kind.base() {
                ColumnType::Int8 => field.forms.contains(&Form::Bigint),
                ColumnType::Int4 => field.forms.contains(&Form::Integer),
                _ => field.numbers.is_some_and(|(low, high)| low >= -32_768.0 && high <= 32_767.0),
            };
            let fractions = !field.forms.contains(&Form::Bigint) && field.count(&["double", "decimal"]) > 0;
            taken
                .but(fractions, || "a fraction is refused: misfit = \"round\" rounds it".to_owned())
                .but(!fits && !fractions && field.count(&["string"]) == 0, || {
                    "some numbers are too large: misfit = \"clamp\" takes the nearest".to_owned()
                })
        }),
        ColumnType::Float4 | ColumnType::Float8 => number(field),
        ColumnType::Numeric { precision, scale } => number(field).map(|taken| {
            let fractions = precision.is_some() && field.count(&["double", "decimal"]) > 0;
            taken.but(fractions, || {
                format!(
                    "numbers with more than {scale} digits after the point are refused: misfit = \"round\" rounds them"
                )
            })
        }),
        ColumnType::Money { .. } => number(field),
        ColumnType::Enum { labels, .. } => texts(field, None, Some(labels.as_slice())),
        ColumnType::Text | ColumnType::Citext => texts(field, None, allowed),
        ColumnType::Varchar(length) | ColumnType::Bpchar(length) => texts(field, *length, allowed),
        ColumnType::Uuid if field.forms.contains(&Form::Uuid) => Some(Taken::if_named(Likeness::Part)),
        ColumnType::Date | ColumnType::Timestamp { .. } | ColumnType::Timestamptz { .. } => instant(field),
        ColumnType::Json | ColumnType::Jsonb if only(&["object", "array"]) => Some(Taken::plain()),
        ColumnType::Json | ColumnType::Jsonb => Some(Taken::if_named(Likeness::Core)),
        ColumnType::Bytea if only(&["binData"]) => Some(Taken::plain()),
        ColumnType::Array(element) if only(&["array"]) => match field.elements.as_deref() {
            Some(elements) => taken(element, elements, None),
            None => Some(Taken::if_named(Likeness::Inner)),
        },
        ColumnType::Hstore if only(&["object"]) => Some(Taken::if_named(Likeness::Core)),
        ColumnType::Point if only(&["object", "array"]) => Some(Taken::if_named(Likeness::Core)),
        ColumnType::Vector(_) if only(&["array"]) => Some(Taken::if_named(Likeness::Core)),
        ColumnType::Uuid
        | ColumnType::Bytea
        | ColumnType::Array(_)
        | ColumnType::Hstore
        | ColumnType::Unsupported(_)
        | ColumnType::Domain(_) => None,
        _ if only(&["string"]) => Some(Taken::if_named(Likeness::Core)),
        _ => None,
    }
}

/// The texts, where there are few; what becomes of empty ones is said by [`Taken::empty`].
fn known(field: &Field) -> Vec<&str> {
    let texts = field.few.iter().flat_map(|few| few.keys().map(String::as_str));
    texts.filter(|text| !text.is_empty()).collect()
}

fn boolean(field: &Field) -> Option<Taken> {
    let kinds = field.kinds();
    if kinds == ["bool"] {
        return Some(Taken::plain());
    }
    let is_flag = field.numbers.is_none_or(|(low, high)| low >= 0.0 && high <= 1.0);
    if !is_flag || kinds.iter().any(|kind| !matches!(*kind, "bool" | "string") && !NUMBERS.contains(kind)) {
        return None;
    }
    let words: Vec<&str> = match &field.few {
        Some(_) => known(field),
        None if kinds.contains(&"string") => return None,
        None => Vec::new(),
    };
    let odd: Vec<&str> =
        words.iter().copied().filter(|word| !BOOLEANS.contains(&word.to_ascii_lowercase().as_str())).collect();
    if kinds == ["string"] && odd.len() == words.len() {
        return None;
    }
    let taken = Taken::if_named(Likeness::Inner).with("coerce = \"boolean\"");
    Some(taken.but(!odd.is_empty(), || refused(&odd, "no boolean", "misfit = \"null\"")))
}

fn number(field: &Field) -> Option<Taken> {
    let kinds = field.kinds();
    let has_numbers = kinds.iter().any(|kind| NUMBERS.contains(kind));
    if kinds.iter().all(|kind| NUMBERS.contains(kind)) {
        return Some(Taken::plain());
    }
    if kinds.iter().any(|kind| *kind != "string" && !NUMBERS.contains(kind)) {
        return None;
    }
    let few = known(field);
    let odd: Vec<&str> = few.iter().copied().filter(|text| text.trim().parse::<f64>().is_err()).collect();
    let is_known = !few.is_empty() && odd.len() < few.len();
    if !has_numbers && field.few.is_some() && !is_known {
        return None;
    }
    let needs = if has_numbers || is_known { Likeness::Part } else { Likeness::Core };
    let taken = Taken::if_named(needs).with("coerce = \"number\"");
    Some(taken.but(!odd.is_empty(), || refused(&odd, "no number", "misfit = \"null\"")))
}

fn instant(field: &Field) -> Option<Taken> {
    let kinds = field.kinds();
    let only = |types: &[&str]| kinds.iter().all(|kind| types.contains(kind));
    if kinds == ["date"] {
        return Some(Taken::plain());
    }
    let within = |(first, last): (f64, f64)| field.numbers.is_some_and(|(low, high)| low >= first && high <= last);
    if kinds.iter().any(|kind| NUMBERS.contains(kind)) {
        let unit = match (within(SECONDS), within(MILLISECONDS)) {
            (true, _) => "seconds",
            (_, true) => "milliseconds",
            _ => return None,
        };
        let known = kinds.iter().all(|kind| NUMBERS.contains(kind) || matches!(*kind, "date" | "string"));
        let taken = Taken::if_named(Likeness::Part).with(&format!("epoch = \"{unit}\""));
        let but = taken.but(field.count(&["string"]) > 0, || {
            format!("{} texts are refused: misfit = \"null\" leaves them out", field.count(&["string"]))
        });
        return known.then_some(but);
    }
    if !only(&["date", "string"]) {
        return None;
    }
    let few = known(field);
    let odd: Vec<&str> = few.iter().copied().filter(|text| !is_day(text)).collect();
    let has_days = odd.len() < few.len() || kinds.contains(&"date");
    if field.few.is_some() && !has_days {
        return None;
    }
    // Many different texts of the length of a day are days more likely than not, and a name decides.
    let is_short = field.few.is_none() && (10..=35).contains(&field.longest);
    let needs = if has_days || is_short { Likeness::Instant } else { Likeness::Core };
    let taken = Taken::if_named(needs).with("coerce = \"date\"");
    Some(taken.but(!odd.is_empty(), || refused(&odd, "no date", "misfit = \"null\"")))
}

/// Whether a text begins as ISO 8601 writes a day.
fn is_day(text: &str) -> bool {
    text.len() >= 10
        && text.bytes().take(10).enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

fn texts(field: &Field, length: Option<u32>, allowed: Option<&[String]>) -> Option<Taken> {
    let kinds = field.kinds();
    let is_text = kinds.iter().all(|kind| TEXTS.contains(kind));
    if !is_text && kinds.iter().any(|kind| !TEXTS.contains(kind) && !matches!(*kind, "bool" | "date")) {
        return None;
    }
    if let Some(allowed) = allowed {
        return Some(listed(field, allowed));
    }
    let taken = match (kinds.contains(&"string"), is_text) {
        (true, true) => Taken::plain(),
        (false, true) => Taken::if_named(Likeness::Inner),
        (_, false) => Taken::if_named(Likeness::Core).with("coerce = \"text\""),
    };
    let long = length.is_some_and(|length| field.longest > u64::from(length));
    Some(
        taken
            .but(long, || {
                format!("texts of up to {} bytes: misfit = \"truncate\" cuts them to the column", field.longest)
            })
            .but(field.nul > 0, || format!("{} with NUL are refused: misfit = \"replace\"", field.nul)),
    )
}

/// Texts in a column that is limited to a list: those that differ from it in their writing alone are translated.
fn listed(field: &Field, allowed: &[String]) -> Taken {
    let Some(few) = &field.few else {
        return Taken::if_named(Likeness::Core).but(true, || format!("the column takes only {}", allowed.join(", ")));
    };
    let plain = |text: &str| -> String {
        text.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let mut pairs = Vec::new();
    let mut odd = Vec::new();
    let mut same = 0;
    for text in few.keys() {
        let mut alike = allowed.iter().filter(|label| plain(label) == plain(text));
        match (allowed.contains(text), alike.next(), alike.next()) {
            (true, ..) => same += 1,
            (false, Some(label), None) => pairs.push((text, label)),
            _ => odd.push(text.as_str()),
        }
    }
    let is_known = same + pairs.len() > 0;
    let mut taken = if is_known { Taken::plain() } else { Taken::if_named(Likeness::Core) };
    if !pairs.is_empty() {
        let pairs: Vec<String> =
            pairs.iter().map(|(text, label)| format!("{} = {}", key(text), self::text(label))).collect();
        taken = taken.with(&format!("translate = {{ {} }}", pairs.join(", ")));
    }
    taken.but(!odd.is_empty(), || {
        format!("{}; the column takes {}", refused(&odd, "not among them", "translate or fallback"), allowed.join(", "))
    })
}

fn refused(texts: &[&str], what: &str, remedy: &str) -> String {
    let listed: Vec<String> = texts.iter().take(LISTED).map(|text| format!("{text:?}")).collect();
    let more = if texts.len() > LISTED { " …" } else { "" };
    format!("{}{more}: {what}, refused without {remedy}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn field(types: &[&str], few: &[&str], numbers: Option<(f64, f64)>) -> Field {
        Field {
            types: types.iter().map(|name| ((*name).to_owned(), 4)).collect(),
            few: (!few.is_empty()).then(|| few.iter().map(|text| ((*text).to_owned(), 4)).collect()),
            forms: vec![Form::Text, Form::Bigint, Form::Integer],
            numbers,
            ..Field::default()
        }
    }

    const INSTANT: ColumnType = ColumnType::Timestamptz { precision: 6 };

    #[rstest]
    #[case::flag(ColumnType::Bool, field(&["int"], &[], Some((0.0, 1.0))), Some(&["coerce = \"boolean\""][..]))]
    #[case::no_flag(ColumnType::Bool, field(&["int"], &[], Some((0.0, 7.0))), None)]
    #[case::no_word(ColumnType::Bool, field(&["string"], &["public", "private"], None), None)]
    #[case::digits(ColumnType::Int4, field(&["string"], &["12"], None), Some(&["coerce = \"number\""][..]))]
    #[case::word(ColumnType::Int4, field(&["string"], &["many"], None), None)]
    #[case::seconds(INSTANT, field(&["int"], &[], Some((1.6e9, 1.7e9))), Some(&["epoch = \"seconds\""][..]))]
    #[case::milliseconds(INSTANT, field(&["long", "double"], &[], Some((1.6e12, 1.7e12))), Some(&["epoch = \"milliseconds\""][..]))]
    #[case::neither(INSTANT, field(&["int"], &[], Some((1.0, 7.0))), None)]
    #[case::day(ColumnType::Date, field(&["string"], &["2025-03-01"], None), Some(&["coerce = \"date\""][..]))]
    #[case::no_day(ColumnType::Date, field(&["string"], &["soon"], None), None)]
    #[case::an_id(ColumnType::Uuid, field(&["objectId"], &[], None), None)]
    #[case::an_object(ColumnType::Text, field(&["object"], &[], None), None)]
    fn values_fit_by_what_they_are(#[case] kind: ColumnType, #[case] field: Field, #[case] expected: Option<&[&str]>) {
        assert_eq!(
            taken(&kind, &field, None).map(|taken| taken.settings.join(", ")),
            expected.map(|all| all.join(", "))
        );
    }

    #[test]
    fn texts_of_a_list_are_translated_where_only_their_writing_differs() {
        let few = field(&["string"], &["draft", "In Review", "gone"], None);
        let allowed = ["draft".to_owned(), "in_review".to_owned()];
        let taken = taken(&ColumnType::Text, &few, Some(&allowed)).expect("texts");
        assert_eq!(taken.settings, ["translate = { \"In Review\" = \"in_review\" }"]);
        assert!(taken.remarks[0].contains("\"gone\""), "{taken:?}");
        let none = field(&["string"], &["a", "b"], None);
        assert_eq!(
            super::taken(&ColumnType::Text, &none, Some(&allowed)).map(|taken| taken.needs),
            Some(Likeness::Core)
        );
    }
}
