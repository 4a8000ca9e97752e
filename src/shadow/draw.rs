//! Parameters out of real documents: each value as MongoDB takes it, and as the mapping converts it for PostgreSQL.

use std::collections::BTreeMap;

use bson::{
    Bson,
    raw::{RawBsonRef, RawDocumentBuf},
};

use super::{
    compile::{Stop, fault},
    parameters::Parameter,
};
use crate::{
    log::ejson,
    mapping::{Row, value_at},
    model::{Key, Reason},
    postgres::params::Field,
    source::{ReadTime, SnapshotReader, id_of},
};

/// The most documents of a collection that are drawn. More runs use them again.
const MAX_DOCUMENTS: usize = 200;

/// The parameters of one run.
#[derive(Clone, Default)]
pub(super) struct Drawn {
    values: Vec<Bson>,
    fields: Row,
    /// The documents that they come from: collection and `_id` as Extended JSON.
    pub(super) documents: Vec<(String, String)>,
}

impl Drawn {
    /// The values by the names of their parameters.
    pub(super) fn named<'p>(&self, parameters: &'p [Parameter]) -> Vec<(&'p str, Bson)> {
        parameters.iter().map(|parameter| parameter.name.as_str()).zip(self.values.iter().cloned()).collect()
    }

    /// The values as PostgreSQL takes them.
    pub(super) fn params(&self) -> Vec<Field> {
        self.fields.fields().map(|field| Field(field.map(<[u8]>::to_vec))).collect()
    }

    /// The values as Extended JSON, for a person who asks to see them.
    pub(super) fn revealed(&self) -> Vec<String> {
        self.values.iter().map(|value| serde_json::to_string(value).unwrap_or_default()).collect()
    }
}

/// Draws parameters for up to `draws` runs; the parameters of one collection come from one document.
///
/// # Errors
/// A fault if no document has a value that can be used; the errors of MongoDB.
pub(super) async fn draw(reader: &SnapshotReader, parameters: &[Parameter], draws: usize) -> Result<Vec<Drawn>, Stop> {
    let mut sampled: BTreeMap<&str, Vec<RawDocumentBuf>> = BTreeMap::new();
    for Parameter { from, .. } in parameters {
        if !sampled.contains_key(from.as_str()) {
            let read = reader.sample(from, draws.clamp(1, MAX_DOCUMENTS), ReadTime::NOW).await?;
            sampled.insert(from, read.value);
        }
    }
    if parameters.is_empty() {
        return Ok(vec![Drawn::default()]);
    }
    // Documents that lack a value are passed over, each collection for itself.
    let mut usable: BTreeMap<&str, Vec<&RawDocumentBuf>> = BTreeMap::new();
    for (from, documents) in &sampled {
        let own: Vec<&Parameter> = parameters.iter().filter(|parameter| parameter.from == *from).collect();
        let mut missing = None;
        let has_all =
            |document: &&RawDocumentBuf| match own.iter().find_map(|own| Some((own, unusable(own, document)?))) {
                None => true,
                Some((own, reason)) => {
                    missing = Some((*own, reason));
                    false
                }
            };
        let kept: Vec<&RawDocumentBuf> = documents.iter().filter(has_all).collect();
        if kept.is_empty() {
            return Err(nothing(own[0], missing));
        }
        usable.insert(from, kept);
    }
    let runs = usable.values().map(Vec::len).max().unwrap_or(1);
    Ok((0..runs).map(|run| drawn(parameters, |from| usable[from][run % usable[from].len()])).collect())
}

fn nothing(first: &Parameter, missing: Option<(&Parameter, Unusable)>) -> Stop {
    let (parameter, what) = match missing {
        None => (first, format!("the collection `{}` has no documents", first.from)),
        Some((parameter, Unusable::Absent)) => {
            let Parameter { from, path, .. } = parameter;
            (parameter, format!("no document that was drawn of `{from}` has a value at `{path}`"))
        }
        Some((parameter, Unusable::Refused(reason))) => {
            let Parameter { from, path, .. } = parameter;
            (parameter, format!("no value at `{path}` that was drawn of `{from}` can be converted: {reason}"))
        }
    };
    let hint = "correct `path`, or draw it from another collection with `from`";
    fault(parameter.line, format!("the parameter `{}`: {what}", parameter.name), hint)
}

/// Why the value of a document is not used.
#[derive(Clone, Copy)]
enum Unusable {
    Absent,
    Refused(Reason),
}

fn unusable(parameter: &Parameter, document: &RawDocumentBuf) -> Option<Unusable> {
    let mut row = Row::default();
    match value_at(document, &parameter.path, true) {
        Ok(Some(value)) if !matches!(value, RawBsonRef::Null) && !parameter.rule.passes_over(value) => {
            match parameter.rule.write(Some(value), &mut row) {
                // NULL finds nothing in a comparison with `=`.
                Ok(()) => row.fields().all(|field| field.is_none()).then_some(Unusable::Absent),
                Err(reason) => Some(Unusable::Refused(reason)),
            }
        }
        Ok(_) | Err(Reason::TypeMismatch) => Some(Unusable::Absent),
        Err(reason) => Some(Unusable::Refused(reason)),
    }
}

fn drawn<'d>(parameters: &[Parameter], document: impl Fn(&str) -> &'d RawDocumentBuf) -> Drawn {
    let mut drawn = Drawn::default();
    for Parameter { from, path, rule, .. } in parameters {
        let document = document(from);
        let value = value_at(document, path, true).ok().flatten();
        drawn.values.push(value.and_then(|value| Bson::try_from(value).ok()).unwrap_or(Bson::Null));
        // The document was found usable before.
        if rule.write(value, &mut drawn.fields).is_err() {
            drawn.fields.push(None);
        }
        if !drawn.documents.iter().any(|(known, _)| known == from) {
            let key = id_of(document).and_then(|id| Key::from_id(&id));
            drawn.documents.push((from.clone(), key.as_ref().map(ejson::id_text).unwrap_or_default()));
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::mapping::{ColumnRule, Path, target::ColumnType};

    fn parameter(path: &str) -> Parameter {
        Parameter {
            name: "p".to_owned(),
            from: "plans".to_owned(),
            path: Path::parse(path).expect("a path"),
            rule: ColumnRule::plain(ColumnType::Int4),
            line: 7,
        }
    }

    #[rstest]
    #[case(None, "the parameter `p`: the collection `plans` has no documents")]
    #[case(Some(Unusable::Absent), "the parameter `p`: no document that was drawn of `plans` has a value at `a.b`")]
    #[case(
        Some(Unusable::Refused(Reason::RangeInt)),
        "the parameter `p`: no value at `a.b` that was drawn of `plans` can be converted: RANGE_INT"
    )]
    fn nothing_to_draw_is_a_fault(#[case] why: Option<Unusable>, #[case] expected: &str) {
        let parameter = parameter("a.b");
        let Stop::Faults(faults) = nothing(&parameter, why.map(|why| (&parameter, why))) else { panic!("faults") };
        assert_eq!(faults.iter().map(|fault| (fault.line, fault.what.as_str())).collect::<Vec<_>>(), [(7, expected)]);
    }

    #[test]
    fn parameters_of_a_collection_come_from_one_document() {
        let parameters = [parameter("a"), parameter("list.b")];
        let document = bson::rawdoc! { "_id": 5, "a": 1, "list": [{ "b": 2 }, { "b": 3 }] };
        let drawn = drawn(&parameters, |_| &document);
        assert_eq!(drawn.values, [Bson::Int32(1), Bson::Int32(2)]);
        assert_eq!(drawn.documents, [("plans".to_owned(), "5".to_owned())]);
        assert_eq!(
            drawn.fields.fields().collect::<Vec<_>>(),
            [1i32.to_be_bytes(), 2i32.to_be_bytes()].each_ref().map(|bytes| Some(&bytes[..]))
        );
    }
}
