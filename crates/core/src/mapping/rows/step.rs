//! One column: the source of its value, and how the value gets into the row.

use super::{
    condition::{Condition, Literal, all_hold},
    level::Level,
    row::{Reject, Row},
    scope::{Place, Scope},
    tree::Slot,
};
use crate::mapping::{
    Loss, Losses,
    target::ColumnType,
    value::{
        convert,
        id::{self, IdStep},
        json::{self, Omit},
        number,
        policy::{Policy, Written},
        prepare,
        raw::Value,
    },
};
use crate::model::Reason;

/// One column.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) column: String,
    pub(crate) source: Source,
    pub(crate) kind: ColumnType,
    pub(crate) not_null: bool,
    pub(crate) convert: Convert,
    /// The value is taken only when all of these hold.
    pub(crate) when: Vec<Condition>,
    /// The value for an absent or null one, in binary form.
    pub(crate) default: Option<Vec<u8>>,
    pub(crate) policy: Policy,
}

/// Where a column's value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source<P = Place> {
    /// The id of the document's row.
    Root,
    /// A column of the row that many steps further out.
    Above { up: usize, column: usize },
    /// The place in the array or map.
    Index,
    /// The name in the map.
    Name,
    /// The id of the element's own.
    Own,
    /// The mapping file, in binary form.
    Constant(Vec<u8>),
    /// The first of these paths that leads to a value.
    Fields(Vec<P>),
    /// The whole document or element, without the fields that others take.
    Rest(P, Omit),
}

/// The conversion of a value, besides the column's type.
#[derive(Clone, Debug)]
pub(crate) enum Convert<P = Place> {
    Nothing,
    /// It is an id.
    Id(IdStep),
    /// It is an id, and the value of another field says by which rule.
    By(P, Rules),
}

/// The rules of ids of several collections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// By the value of the other field.
    pub(crate) named: Vec<(Literal, IdStep)>,
    /// Where that is absent or null.
    pub(crate) missing: Option<IdStep>,
}

/// The value of a column among its candidates.
struct Chosen<'s, 'a> {
    place: Option<&'s Place>,
    slot: Slot<'a>,
    /// How many candidates held a value that the policy takes for empty.
    emptied: usize,
}

impl Step {
    pub(crate) fn write(&self, scope: &Scope<'_, '_>, losses: &mut Losses, row: &mut Row) -> Result<(), Reason> {
        if !all_hold(&self.when, scope) {
            return self.write_nothing(row);
        }
        // Index, name and own id belong to children only; their plans are made so.
        match &self.source {
            Source::Fields(_) => return self.write_field(&self.chosen(scope), scope, losses, row),
            Source::Rest(place, omit) => return self.write_rest(scope.slot(place), omit, losses, row),
            Source::Name => return self.write_value(Value::String(scope.name), self.convert.rule(scope)?, losses, row),
            Source::Constant(bytes) => row.push(Some(bytes)),
            Source::Above { up, column } => match scope.around(*up).and_then(|scope| scope.row) {
                Some(around) => match around.field(*column) {
                    Some(field) => row.push(Some(field)),
                    None => return self.write_nothing(row),
                },
                // The row around was refused, and its refusal is noted there.
                None => row.push(None),
            },
            Source::Index => {
                let index = i64::try_from(scope.index).map_err(|_| Reason::RangeInt)?;
                row.push_scalar(&number::integer(index, &self.kind)?);
            }
            Source::Root | Source::Own => {
                let scope = if matches!(self.source, Source::Root) { scope.root() } else { scope };
                match scope.own {
                    Some(id) => row.push_scalar(&id::in_column(id.clone(), &self.kind, Reason::KeyTooLong)?),
                    // The id was refused, and its refusal is noted there.
                    None => row.push(None),
                }
            }
        }
        Ok(())
    }

    /// The path that gives the value, and what is there.
    ///
    /// JSON has a null of its own, and a wrapper for undefined: in a JSON column, null is a value. A value that the policy takes
    /// for empty is passed over as null is. A blocked path gives way to one that leads to a value, and refuses when there is
    /// none.
    fn chosen<'s, 'a>(&'s self, scope: &Scope<'_, 'a>) -> Chosen<'s, 'a> {
        let mut chosen = Chosen { place: None, slot: Slot::Absent, emptied: 0 };
        let Source::Fields(places) = &self.source else { return chosen };
        chosen.place = places.first();
        let is_json = self.is_json();
        for place in places {
            match scope.slot(place) {
                Slot::Present(value) if prepare::is_nothing(value, &self.policy) => chosen.emptied += 1,
                slot @ Slot::Present(value) if is_json || !matches!(value, Value::Null | Value::Undefined) => {
                    return Chosen { place: Some(place), slot, ..chosen };
                }
                Slot::Blocked if chosen.slot == Slot::Absent => {
                    chosen = Chosen { place: Some(place), slot: Slot::Blocked, ..chosen };
                }
                Slot::Present(_) | Slot::Absent | Slot::Blocked => {}
            }
        }
        chosen
    }

    /// Whether its only source is this slot of its own document or element.
    pub(crate) fn takes(&self, slot: usize) -> bool {
        matches!(&self.source, Source::Fields(places)
            if matches!(places.as_slice(), [place] if place.up == 0 && place.slot == slot))
    }

    fn is_json(&self) -> bool {
        matches!(self.kind.base(), ColumnType::Json | ColumnType::Jsonb)
    }

    fn write_field(
        &self,
        chosen: &Chosen<'_, '_>,
        scope: &Scope<'_, '_>,
        losses: &mut Losses,
        row: &mut Row,
    ) -> Result<(), Reason> {
        (0..chosen.emptied).for_each(|_| losses.add(Loss::Emptied));
        match chosen.slot {
            Slot::Absent => self.write_nothing(row),
            Slot::Blocked => Err(Reason::TypeMismatch),
            Slot::Present(value) => {
                let rule = self.convert.rule(scope)?;
                self.write_value(value, rule, losses, row)
            }
        }
    }

    fn write_value(
        &self,
        value: Value<'_>,
        rule: Option<&IdStep>,
        losses: &mut Losses,
        row: &mut Row,
    ) -> Result<(), Reason> {
        let open = row.open();
        match convert::write(value, &self.kind, rule, &self.policy, losses, &mut row.0)? {
            Written::Value => row.close(open),
            Written::Null => {
                row.reopen(open);
                self.write_nothing(row)?;
            }
        }
        Ok(())
    }

    fn write_rest(&self, slot: Slot<'_>, omit: &Omit, losses: &mut Losses, row: &mut Row) -> Result<(), Reason> {
        let Slot::Present(value @ Value::Document(_)) = slot else { return Err(Reason::TypeMismatch) };
        let open = row.open();
        if *self.kind.base() == ColumnType::Jsonb {
            row.0.push(json::JSONB_VERSION);
        }
        json::write_without(value, omit, losses, &mut row.0)?;
        row.close(open);
        Ok(())
    }

    fn write_nothing(&self, row: &mut Row) -> Result<(), Reason> {
        if self.default.is_none() && self.not_null {
            return Err(Reason::NotNull);
        }
        row.push(self.default.as_deref());
        Ok(())
    }

    /// The paths that give the value, as messages write them; `around` are the levels around that of the column.
    pub(super) fn paths<'l>(&'l self, around: &[&'l Level]) -> Vec<&'l str> {
        match &self.source {
            Source::Fields(places) => places.iter().map(|place| place.path.as_str()).collect(),
            Source::Above { up, column } => {
                let (outer, rest) = around.split_at(around.len().saturating_sub(*up));
                rest.first().and_then(|level| level.steps.get(*column)).map_or(Vec::new(), |step| step.paths(outer))
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn reject(&self, reason: Reason, scope: &Scope<'_, '_>) -> Reject {
        let path = match &self.source {
            Source::Root => Some("_id".to_owned()),
            Source::Fields(_) => return self.reject_field(reason, scope),
            Source::Rest(place, _) => Some(place.path.clone()),
            Source::Above { .. } | Source::Index | Source::Name | Source::Own | Source::Constant(_) => None,
        };
        Reject { column: Some(self.column.clone()), path, ..Reject::new(reason) }
    }

    /// The refusal of a field, with the first of the elements that an array column refuses, and how many those are.
    fn reject_field(&self, reason: Reason, scope: &Scope<'_, '_>) -> Reject {
        let chosen = self.chosen(scope);
        let path = chosen.place.map(|place| place.path.clone());
        let elements = match (self.kind.base(), chosen.slot, self.convert.rule(scope)) {
            (ColumnType::Array(element), Slot::Present(Value::Array(array)), Ok(rule)) => {
                convert::array::refused(array, element, rule, &self.policy)
            }
            _ => Vec::new(),
        };
        let reject = Reject { column: Some(self.column.clone()), path, ..Reject::new(reason) };
        let (Some(first), Some(path)) = (elements.first(), &reject.path) else { return reject };
        let around = scope.locate(path).unwrap_or_else(|| path.clone());
        let around = around.strip_suffix(".$").unwrap_or(&around);
        Reject { element: Some(format!("{around}[{first}]")), times: elements.len() as u64, ..reject }
    }
}

impl Convert {
    fn rule(&self, scope: &Scope<'_, '_>) -> Result<Option<&IdStep>, Reason> {
        match self {
            Self::Nothing => Ok(None),
            Self::Id(rule) => Ok(Some(rule)),
            Self::By(place, rules) => {
                let rule = match scope.slot(place) {
                    Slot::Absent | Slot::Present(Value::Null | Value::Undefined) => rules.missing.as_ref(),
                    Slot::Present(value) => {
                        rules.named.iter().find(|(literal, _)| literal.equals(value)).map(|(_, rule)| rule)
                    }
                    Slot::Blocked => None,
                };
                rule.map(Some).ok_or(Reason::TypeMismatch)
            }
        }
    }
}

impl<P> Source<P> {
    /// The same source with another sort of path.
    pub(crate) fn resolve<Q>(self, resolve: &impl Fn(P) -> Q) -> Source<Q> {
        match self {
            Self::Root => Source::Root,
            Self::Above { up, column } => Source::Above { up, column },
            Self::Index => Source::Index,
            Self::Name => Source::Name,
            Self::Own => Source::Own,
            Self::Constant(bytes) => Source::Constant(bytes),
            Self::Fields(paths) => Source::Fields(paths.into_iter().map(resolve).collect()),
            Self::Rest(path, omit) => Source::Rest(resolve(path), omit),
        }
    }
}

impl<P> Convert<P> {
    /// The same conversion with another sort of path.
    pub(crate) fn resolve<Q>(self, resolve: &impl Fn(P) -> Q) -> Convert<Q> {
        match self {
            Self::Nothing => Convert::Nothing,
            Self::Id(rule) => Convert::Id(rule),
            Self::By(path, rules) => Convert::By(resolve(path), rules),
        }
    }
}
