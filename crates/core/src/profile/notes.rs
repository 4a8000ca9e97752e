//! What is remarkable about a path, in words.

use jiff::Timestamp;

use super::{
    Claim, Form,
    report::{Distinct, Field, Reference},
};

/// Most letters of the values that a note lists: more make a table too wide to read.
const MAX_LISTED: usize = 80;
/// Fewer values than this say nothing about whether they are unique.
const MIN_UNIQUE: u64 = 20;
/// Fewer values than this on average make no list of kinds.
const MIN_EACH: u64 = 3;

impl Field {
    /// The texts to which the field seems to be limited, with how often each came.
    pub fn kinds_of_text(&self) -> Option<Vec<(&str, u64)>> {
        let few = self.few.as_ref().filter(|few| few.values().sum::<u64>() >= MIN_EACH * few.len() as u64)?;
        let mut few: Vec<_> = few.iter().map(|(text, count)| (text.as_str(), *count)).collect();
        few.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        Some(few)
    }

    /// How many values came more than once, if the field seems to be unique otherwise.
    pub fn nearly_unique(&self) -> Option<Distinct> {
        const NEARLY_ALL: f64 = 0.95;
        let distinct = self.distinct?;
        let values = self.types.values().sum::<u64>() - self.count(&["null", "undefined"]);
        let is_key =
            self.reference.is_none() && values >= MIN_UNIQUE && distinct.values as f64 >= NEARLY_ALL * values as f64;
        is_key.then_some(distinct)
    }
}

/// The notes on a field, for a person who may see values.
pub fn notes(field: &Field) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |holds: bool, text: &dyn Fn() -> String| {
        if holds {
            notes.push(text());
        }
    };
    if let Some(reference @ Reference { looked, found, exact, .. }) = &field.reference {
        let about = if *exact { "" } else { "about " };
        let (to, dangling) = (reference.to(), looked - found);
        note(dangling == 0, &|| format!("→ {to}"));
        note(dangling > 0, &|| format!("→ {to}, {about}{dangling} of {looked} dangle"));
    }
    note(field.map, &|| "map: its keys are data".to_owned());
    match (field.whole, field.numbers) {
        (Some((low, high)), _) if field.count(&["double", "decimal"]) == 0 => note(true, &|| range(low, high)),
        (_, Some((low, high))) => note(true, &|| range(number(low), number(high))),
        _ => {}
    }
    if let Some((first, last)) = field.dates {
        note(true, &|| range(date(first), date(last)));
    }
    note(field.out_of_range > 0, &|| format!("{} beyond PostgreSQL's range", field.out_of_range));
    note(field.nonfinite > 0, &|| format!("{} NaN or infinite", field.nonfinite));
    if let Some(kinds) = field.kinds_of_text() {
        let texts: Vec<&str> = kinds.iter().map(|(text, _)| *text).collect();
        note(true, &|| format!("{}: {}", counted(texts.len(), "value"), listed(&texts)));
    } else {
        note(field.longest > 0, &|| format!("longest {} B", field.longest));
    }
    note(field.empty > 0, &|| format!("{} empty", field.empty));
    note(field.nul > 0, &|| format!("{} with NUL", field.nul));
    note(field.bad_utf8 > 0, &|| format!("{} not UTF-8", field.bad_utf8));
    if let Some(lengths) = field.lengths {
        note(true, &|| format!("{} elements", range(lengths.min, lengths.max)));
    }
    if let Some(Distinct { repeated, exact, .. }) = field.nearly_unique() {
        let about = if exact { "" } else { "about " };
        note(repeated == 0 && exact, &|| "unique".to_owned());
        note(repeated == 0 && !exact, &|| "unique where looked at".to_owned());
        note(repeated > 0, &|| format!("{about}{repeated} repeated, otherwise unique"));
    }
    let mixed =
        field.reference.is_none() && field.kinds().len() > 1 && !field.forms.iter().any(|form| *form != Form::Text);
    note(mixed, &|| "mixed types".to_owned());
    field.claims.iter().for_each(|claim| note(true, &|| claimed(claim)));
    notes
}

/// A claim in words: `the Prisma schema: required, default "open", one of open, paid`.
fn claimed(claim: &Claim) -> String {
    let reference = claim.reference.as_ref().map(|to| match &to.field {
        Some(field) => format!("→ {}.{field}", to.collection),
        None => format!("→ {}", to.collection),
    });
    let parts = [
        claim.required.then(|| "required".to_owned()),
        claim.default.as_ref().map(|default| format!("default {default}")),
        (!claim.texts.is_empty()).then(|| format!("one of {}", listed(&claim.texts))),
        reference,
    ];
    format!("{}: {}", claim.by, parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// As many of the texts as there is room for, and the first in any case.
fn listed(texts: &[impl AsRef<str>]) -> String {
    let mut letters = 0;
    let fit = texts.iter().map(AsRef::<str>::as_ref).enumerate().take_while(|(place, text)| {
        letters += text.chars().count();
        *place == 0 || letters <= MAX_LISTED
    });
    let fit: Vec<&str> = fit.map(|(_, text)| text).collect();
    if fit.len() < texts.len() { format!("{}, …", fit.join(", ")) } else { fit.join(", ") }
}

fn range<T: PartialEq + std::fmt::Display>(low: T, high: T) -> String {
    if low == high { low.to_string() } else { format!("{low} … {high}") }
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A number for people: four places are enough to see a range.
fn number(number: f64) -> String {
    const PLACES: f64 = 1e4;
    match number.abs() {
        0.0 => "0".to_owned(),
        size if (1e-3..1e15).contains(&size) => ((number * PLACES).round() / PLACES).to_string(),
        _ => format!("{number:.3e}"),
    }
}

/// A date for people; one that no calendar here has is shown by its milliseconds.
fn date(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => time.strftime("%Y-%m-%d").to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_say_what_is_remarkable() {
        let few = [("open", 7), ("done", 9)].map(|(text, count)| (text.to_owned(), count));
        let field = Field { few: Some(few.into()), longest: 4, nul: 1, present: 17, of: 17, ..Field::default() };
        assert_eq!(notes(&field), ["2 values: done, open", "1 with NUL"]);
        assert_eq!(
            [listed(&["a".repeat(90), "b".to_owned()]), listed(&["a".to_owned(), "b".repeat(90)])],
            ["a".repeat(90) + ", …", "a, …".to_owned()]
        );
        let field = Field {
            types: [("int".to_owned(), 30)].into(),
            whole: Some((1, 30)),
            numbers: Some((1.0, 30.0)),
            distinct: Some(Distinct { values: 29, repeated: 1, exact: true }),
            forms: vec![Form::Integer],
            ..Field::default()
        };
        assert_eq!(notes(&field), ["1 … 30", "1 repeated, otherwise unique"]);
        assert_eq!(
            [0.0, -0.18771111, 12.5, 1.5e300, 5e-324].map(number),
            ["0", "-0.1877", "12.5", "1.500e300", "4.941e-324"]
        );
        let far = Field { dates: Some((0, i64::MAX)), out_of_range: 1, ..Field::default() };
        assert_eq!(notes(&far), ["1970-01-01 … 9223372036854775807 ms", "1 beyond PostgreSQL's range"]);
    }
}
