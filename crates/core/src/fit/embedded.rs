//! Arrays, objects and maps that are embedded in a document and may have rows of their own.

use super::{columns::Bench, model::Shape};
use crate::profile::Field;

/// Something embedded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Embedded<'a> {
    /// Its place among the candidates of the row around.
    pub(super) at: usize,
    pub(super) shape: Shape,
    pub(super) fields: &'a [Field],
    /// Elements that are no objects.
    pub(super) whole: Option<&'a Field>,
    pub(super) total: u64,
}

/// The value embedded at a path, if rows can be made of it.
pub(super) fn embedded<'a>(bench: &Bench<'a>, at: usize) -> Option<Embedded<'a>> {
    let field = bench.candidates[at].field;
    if bench.candidates[at].names.is_empty() {
        return None;
    }
    let of = |inner: &'a Field, shape| {
        let kinds = inner.kinds();
        let objects = kinds == ["object"] && !inner.map;
        let scalars = !kinds.is_empty() && !kinds.iter().any(|kind| matches!(*kind, "object" | "array"));
        let fields: &'a [Field] = if objects { &inner.fields } else { &[] };
        (objects || scalars).then(|| Embedded {
            at,
            shape,
            fields,
            whole: scalars.then_some(inner),
            total: inner.present,
        })
    };
    match field.kinds()[..] {
        ["array"] => of(field.elements.as_deref()?, Shape::Array),
        ["object"] if field.map => of(field.fields.first()?, Shape::Map),
        ["object"] if is_sparse(field) => of_entries(field, at),
        ["object"] => {
            let total = field.count(&["object"]);
            Some(Embedded { at, shape: Shape::Document, fields: &field.fields, whole: None, total })
        }
        _ => None,
    }
}

/// Whether an object may be a map although it has few names: no name is in every object, and all values are of one scalar type.
fn is_sparse(field: &Field) -> bool {
    const MIN_NAMES: usize = 6;
    let [first, ..] = field.fields.as_slice() else { return false };
    let kinds = first.kinds();
    let is_scalar = kinds.len() == 1 && !matches!(kinds[0], "object" | "array");
    let objects = field.count(&["object"]);
    is_scalar
        && field.fields.len() >= MIN_NAMES
        && field.fields.iter().all(|other| other.kinds() == kinds && other.present < objects)
}

/// A map whose entries are all like the first.
fn of_entries<'a>(field: &'a Field, at: usize) -> Option<Embedded<'a>> {
    let total = field.fields.iter().map(|entry| entry.present).sum();
    field.fields.first().map(|first| Embedded { at, shape: Shape::Map, fields: &[], whole: Some(first), total })
}
