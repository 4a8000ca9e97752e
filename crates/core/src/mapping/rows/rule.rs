//! The conversion of single values as the columns of a plan convert them: for the parameters and the results of queries, which are
//! no whole documents.

use bson::raw::{RawBsonRef, RawDocument};

use super::{
    level::Level,
    program::Program,
    row::Row,
    step::{Convert, Source, Step},
};
use crate::mapping::{
    Losses, Path,
    language::path::Segment,
    target::ColumnType,
    value::{
        convert,
        id::{self, IdStep},
        policy::{Policy, Written},
        prepare,
        raw::Value,
    },
};
use crate::model::Reason;

/// The conversion of one value as a column does it.
#[derive(Clone, Debug)]
pub struct ColumnRule {
    kind: ColumnType,
    id: IdOf,
    policy: Policy,
    default: Option<Vec<u8>>,
    paths: Vec<Path>,
}

/// Whose id a value is.
#[derive(Clone, Debug)]
enum IdOf {
    /// It is no id.
    Nobody,
    /// The document's own.
    Own(IdStep),
    /// The id of a document that it refers to.
    Another(IdStep),
}

/// Why a column has no conversion of single values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRule {
    /// The plan has no such column.
    Unknown,
    /// Another field decides how the value is converted.
    ByAnotherField,
    /// A condition on the document decides whether the column has the value.
    Conditional,
    /// It takes what other columns leave of a document.
    Rest,
    /// It is the id of an element, which is made of its document's id and its place.
    ElementId,
}

impl NoRule {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "the mapping does not write it",
            Self::ByAnotherField => "another field of the document decides how its value is converted",
            Self::Conditional => "a condition on the document decides whether it has its value",
            Self::Rest => "it takes the rest of a whole document",
            Self::ElementId => "it is made of the document's id and the place of an element",
        }
    }
}

impl ColumnRule {
    /// The conversion into a column of that type for which the mapping declares nothing.
    pub fn plain(kind: ColumnType) -> Self {
        Self { kind, id: IdOf::Nobody, policy: Policy::default(), default: None, paths: Vec::new() }
    }

    /// The same rule for a value of another type, without the column's default.
    #[must_use]
    pub fn in_type(self, kind: ColumnType) -> Self {
        Self { kind, default: None, ..self }
    }

    /// The type of the result.
    pub fn kind(&self) -> &ColumnType {
        &self.kind
    }

    /// Name of the type in which the result travels to PostgreSQL.
    pub fn param_type(&self) -> &'static str {
        self.kind.param().0
    }

    /// The paths of a document that the column takes its value from, in their order.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Whether the column passes over a value: null, which is a value only in JSON, and what the column's policy takes for empty.
    pub fn passes_over(&self, value: RawBsonRef<'_>) -> bool {
        match Value::from(value) {
            Value::Null | Value::Undefined => !self.is_json(),
            value => prepare::is_nothing(value, &self.policy),
        }
    }

    fn is_json(&self) -> bool {
        matches!(self.kind.base(), ColumnType::Json | ColumnType::Jsonb)
    }

    /// Appends the value as a field; an absent or null one becomes the column's default, or NULL.
    ///
    /// # Errors
    /// The reason why the column cannot hold the value; the row is then as it was.
    pub fn write(&self, value: Option<RawBsonRef<'_>>, row: &mut Row) -> Result<(), Reason> {
        let Some(value) = value.filter(|value| !self.passes_over(*value)).map(Value::from) else {
            row.push(self.default.as_deref());
            return Ok(());
        };
        let rule = match &self.id {
            IdOf::Nobody => None,
            IdOf::Another(rule) => Some(rule),
            IdOf::Own(rule) => {
                row.push_scalar(&id::in_column(rule.own(value)?, &self.kind, Reason::KeyTooLong)?);
                return Ok(());
            }
        };
        let (open, mut losses) = (row.open(), Losses::default());
        match convert::write(value, &self.kind, rule, &self.policy, &mut losses, &mut row.0) {
            Ok(Written::Value) => row.close(open),
            Ok(Written::Null) => {
                row.reopen(open);
                row.push(self.default.as_deref());
            }
            Err(reason) => {
                row.reopen(open);
                return Err(reason);
            }
        }
        Ok(())
    }
}

impl Program {
    /// The conversion of a column, in each table for which this holds.
    ///
    /// # Errors
    /// [`NoRule`].
    pub(crate) fn rule(&self, table: &impl Fn(usize) -> bool, column: &str) -> Result<ColumnRule, NoRule> {
        for kind in &self.kinds {
            if let Some(rule) = self.rule_in(&kind.level, &mut Vec::new(), table, column) {
                return rule;
            }
        }
        Err(NoRule::Unknown)
    }

    /// The columns of root tables that take their value from a path alone: table and name.
    pub(crate) fn takers(&self, path: &str) -> Vec<(usize, &str)> {
        let takes = |step: &&Step| match &step.source {
            Source::Root => path == ID,
            Source::Fields(places) => places.iter().any(|place| place.path == path),
            _ => false,
        };
        let of = |level: &'_ Level| level.table;
        let levels = self.kinds.iter().map(|kind| &kind.level);
        levels.flat_map(|level| level.steps.iter().filter(takes).map(move |step| (of(level), &*step.column))).collect()
    }

    fn rule_in<'l>(
        &self,
        level: &'l Level,
        around: &mut Vec<&'l Level>,
        table: &impl Fn(usize) -> bool,
        column: &str,
    ) -> Option<Result<ColumnRule, NoRule>> {
        if table(level.table)
            && let Some(step) = level.steps.iter().find(|step| step.column == column)
        {
            return Some(self.rule_of(step, around));
        }
        around.push(level);
        let found = level.children.iter().find_map(|child| self.rule_in(&child.level, around, table, column));
        around.pop();
        found
    }

    fn rule_of(&self, step: &Step, around: &[&Level]) -> Result<ColumnRule, NoRule> {
        if !step.when.is_empty() {
            return Err(NoRule::Conditional);
        }
        let mut paths = Vec::new();
        let id = match &step.source {
            Source::Rest(..) => return Err(NoRule::Rest),
            Source::Own => return Err(NoRule::ElementId),
            Source::Root => {
                paths.push(Path::field(ID));
                self.id.clone().map_or(IdOf::Nobody, IdOf::Own)
            }
            // The value is that of a column further out, with its rule and in its own type.
            Source::Above { up, column } => {
                let (outer, rest) = around.split_at(around.len().saturating_sub(*up));
                let above = rest.first().and_then(|level| level.steps.get(*column)).ok_or(NoRule::Unknown)?;
                return self.rule_of(above, outer);
            }
            Source::Fields(places) => {
                paths.extend(places.iter().filter_map(|place| Path::parse(&place.path).ok()));
                converted(&step.convert)?
            }
            Source::Index | Source::Name | Source::Constant(_) => converted(&step.convert)?,
        };
        let (policy, default) = (step.policy.clone(), step.default.clone());
        Ok(ColumnRule { kind: step.kind.clone(), id, policy, default, paths })
    }
}

const ID: &str = "_id";

fn converted(convert: &Convert) -> Result<IdOf, NoRule> {
    match convert {
        Convert::Nothing => Ok(IdOf::Nobody),
        Convert::Id(rule) => Ok(IdOf::Another(rule.clone())),
        Convert::By(..) => Err(NoRule::ByAnotherField),
    }
}

/// Finds the value at a path of a document; `None` where there is nothing. With `through`, an array on the way stands for its first
/// element.
///
/// # Errors
/// `TYPE_MISMATCH` where a value on the path is no document, or no array; `MALFORMED`.
pub fn value_at<'d>(document: &'d RawDocument, path: &Path, through: bool) -> Result<Option<RawBsonRef<'d>>, Reason> {
    let mut value = RawBsonRef::Document(document);
    for segment in path.segments() {
        if let (true, Segment::Field(_), RawBsonRef::Array(array)) = (through, segment, value) {
            match array.get(0).map_err(|_| Reason::Malformed)? {
                Some(first) => value = first,
                None => return Ok(None),
            }
        }
        let next = match (segment, value) {
            (_, RawBsonRef::Null | RawBsonRef::Undefined) => return Ok(None),
            (Segment::Field(name), RawBsonRef::Document(document)) => document.get(name),
            (Segment::Index(index), RawBsonRef::Array(array)) => array.get(*index as usize),
            _ => return Err(Reason::TypeMismatch),
        };
        match next.map_err(|_| Reason::Malformed)? {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a", false, Ok(Some(RawBsonRef::Int32(1))))]
    #[case("b.c", false, Ok(Some(RawBsonRef::Int32(2))))]
    #[case("d[1].e", false, Ok(Some(RawBsonRef::Int32(4))))]
    #[case("d.e", true, Ok(Some(RawBsonRef::Int32(3))))]
    #[case("d.e", false, Err(Reason::TypeMismatch))]
    #[case("a.b", true, Err(Reason::TypeMismatch))]
    #[case("f.g", false, Ok(None))]
    #[case("none.at.all", false, Ok(None))]
    #[case("h.i", true, Ok(None))]
    fn finds_values(
        #[case] path: &str,
        #[case] through: bool,
        #[case] expected: Result<Option<RawBsonRef<'_>>, Reason>,
    ) {
        let document = rawdoc! { "a": 1, "b": { "c": 2 }, "d": [{ "e": 3 }, { "e": 4 }], "f": null, "h": [] };
        assert_eq!(value_at(&document, &Path::parse(path).expect("a path"), through), expected);
    }
}
