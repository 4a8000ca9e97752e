//! Ids: the rule that makes a table's key of `_id`s, and columns that hold ids of other rows.

use super::{
    Fitter,
    values::{self, Taken},
    words::{Likeness, TableLikeness, core, table_likeness, words},
};
use crate::{
    draft::{ObjectIds, key, text},
    mapping::target::{Column, ColumnType, ForeignKey, Table, TableName},
    profile::{Collection, Field, Form, IdForm, Reference},
};

/// The values of a field, each with the collection that it names, if it names one.
type Meanings = Vec<(String, Option<String>)>;

/// References of which more than this share leads nowhere say little about where they lead.
const SURE: f64 = 0.1;

/// The key of a collection's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    /// The column.
    pub(super) column: String,
    /// The rule, as the mapping file has it.
    pub(super) rule: String,
    pub(super) sort: Sort,
}

/// The sort of the `_id`s, as their rule takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Form(IdForm),
    /// UUIDs as texts.
    UuidText,
}

/// Who writes a table.
#[derive(Clone, Debug)]
pub(super) enum Claim {
    /// The documents of a collection, with the key that an id rule makes, if one does.
    Documents { collection: String, id: Option<Id> },
    /// Something embedded in them.
    Embedded,
}

/// A way to fill a column from a path.
#[derive(Clone, Debug, Default)]
pub(super) struct Fit {
    /// How alike the names must be.
    pub(super) needs: Option<Likeness>,
    /// Whether a foreign key and the ids themselves say that the column belongs to the path.
    pub(super) proven: bool,
    pub(super) settings: Vec<String>,
    pub(super) remarks: Vec<String>,
    /// The table of embedded rows whose ids these are: they must follow from the `_id` of the element alone.
    pub(super) row: Option<TableName>,
    /// The path that says which collection the ids point into.
    pub(super) kind: Option<String>,
}

impl From<Taken> for Fit {
    fn from(Taken { needs, settings, remarks }: Taken) -> Self {
        Self { needs: Some(needs), settings, remarks, ..Self::default() }
    }
}

impl Fit {
    fn id(setting: String, needs: Likeness) -> Self {
        Self { needs: Some(needs), settings: vec![setting], ..Self::default() }
    }
}

/// The foreign key that this column alone is.
pub(super) fn foreign_key<'t>(table: &'t Table, column: &str) -> Option<&'t ForeignKey> {
    table.foreign_keys.iter().find(|key| key.columns == [column])
}

/// The columns by which a row is found: the primary key, or else a unique constraint over columns that refuse NULL.
pub(super) fn row_key(table: &Table) -> &[String] {
    let refuses_null = |names: &&Vec<String>| {
        !names.is_empty() && names.iter().all(|name| table.column(name).is_some_and(|column| column.not_null))
    };
    match table.primary_key.as_slice() {
        [] => table.uniques.iter().find(refuses_null).map(Vec::as_slice).unwrap_or_default(),
        key => key,
    }
}

/// The rule for ObjectIds in columns of UUIDs.
pub(super) fn uuids(ids: ObjectIds) -> &'static str {
    match ids {
        ObjectIds::Uuid5 | ObjectIds::Text | ObjectIds::Native => "uuid5",
        ObjectIds::Ordered => "pad_right",
        ObjectIds::Padded => "pad_left",
        ObjectIds::Md5 => "md5",
    }
}

/// The id rule that fills a column of that type with the `_id`s of a collection.
pub(super) fn rule(collection: &Collection, kind: &ColumnType, ids: ObjectIds) -> Option<(String, Sort)> {
    let is = |form: IdForm| collection.id_forms.contains(&form);
    let own = collection.fields.iter().find(|field| field.name == "_id")?;
    let plain = |rule: &str, form: IdForm| Some((text(rule), Sort::Form(form)));
    match kind.base() {
        ColumnType::Uuid if is(IdForm::ObjectId) => plain(uuids(ids), IdForm::ObjectId),
        ColumnType::Uuid if is(IdForm::Uuid) => plain("uuid", IdForm::Uuid),
        ColumnType::Uuid if own.kinds() == ["string"] && own.forms.contains(&Form::Uuid) => {
            Some(("{ rule = \"uuid\", type = \"string\" }".to_owned(), Sort::UuidText))
        }
        ColumnType::Uuid if is(IdForm::Integer) => plain("uuid5", IdForm::Integer),
        ColumnType::Uuid if is(IdForm::HashedText) => {
            Some(("{ rule = \"uuid5\", type = \"string\" }".to_owned(), Sort::Form(IdForm::HashedText)))
        }
        ColumnType::Uuid if is(IdForm::Mixed) => plain("uuid5", IdForm::Mixed),
        ColumnType::Text | ColumnType::Varchar(_) => match kind.base() {
            ColumnType::Varchar(Some(length)) if is(IdForm::Text) && own.longest > u64::from(*length) => None,
            ColumnType::Varchar(Some(length)) if is(IdForm::ObjectId) && *length < 24 => None,
            _ if is(IdForm::ObjectId) => plain("hex", IdForm::ObjectId),
            _ if is(IdForm::Text) => plain("text", IdForm::Text),
            _ if is(IdForm::Uuid) => plain("uuid", IdForm::Uuid),
            _ => None,
        },
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 | ColumnType::Numeric { .. } if is(IdForm::Integer) => {
            plain("integer", IdForm::Integer)
        }
        ColumnType::Bytea if is(IdForm::ObjectId) => plain("bytes", IdForm::ObjectId),
        _ => None,
    }
}

/// Whether every value of a path can be such an id.
fn can_refer(field: &Field, sort: Sort) -> bool {
    match sort {
        Sort::Form(form) => field.refers.contains(&form),
        Sort::UuidText => field.forms.contains(&Form::Uuid),
    }
}

/// Whether some values are ids by their type, though others are not.
fn partly_refers(field: &Field, sort: Sort) -> bool {
    let wanted: &[&str] = match sort {
        Sort::Form(IdForm::ObjectId) => &["objectId"],
        Sort::Form(IdForm::Integer) => &["int", "long"],
        _ => return false,
    };
    field.count(wanted) > 0 && field.kinds().iter().all(|kind| wanted.contains(kind) || *kind == "string")
}

impl<'a> Fitter<'a> {
    /// How a column could take the values of a path; `around` are the other fields of the same object, one of which may say what an id
    /// points to.
    pub(super) fn fit(&self, table: &Table, column: &Column, field: &Field, around: &[&Field]) -> Option<Fit> {
        if let Some(foreign) = foreign_key(table, &column.name) {
            return self.along(foreign, column, field, around);
        }
        let target = |reference: &Option<Reference>, kind: &ColumnType| {
            let to = &reference.as_ref()?.collection;
            let (target, id) = self.id_of(to)?;
            let own = self.target.catalog.table(target)?.column(&id.column)?;
            (own.kind.base() == kind.base()
                || matches!((own.kind.base(), kind.base()), (ColumnType::Varchar(_), ColumnType::Text)))
            .then(|| format!("reference = {}", text(to)))
        };
        match (column.kind.base(), field.elements.as_deref()) {
            (ColumnType::Array(kind), Some(elements)) if field.kinds() == ["array"] => {
                if let Some(reference) = target(&elements.reference, kind) {
                    return Some(Fit { proven: true, ..Fit::id(reference, Likeness::Part) });
                }
            }
            (kind @ (ColumnType::Uuid | ColumnType::Bytea | ColumnType::Text | ColumnType::Varchar(_)), _) => {
                if let Some(fit) = self.by_kind(kind, field, around) {
                    return Some(fit);
                }
                if let Some(reference) = target(&field.reference, kind) {
                    return Some(Fit::id(reference, Likeness::Part));
                }
            }
            _ => {}
        }
        values::taken_by(column, field, self.target.allowed(&table.name, &column.name)).map(Fit::from)
    }

    /// Along a foreign key: to the documents of a collection, to rows embedded in them, or to a table that is looked up.
    fn along(&self, foreign: &ForeignKey, column: &Column, field: &Field, around: &[&Field]) -> Option<Fit> {
        let kinds = field.kinds();
        let scalar = !kinds.iter().any(|kind| matches!(*kind, "object" | "array"));
        if !scalar {
            return None;
        }
        match self.claims.get(&foreign.parent) {
            Some(Claim::Documents { collection, id }) => {
                let id = id.as_ref().filter(|id| foreign.parent_columns == [id.column.as_str()])?;
                let elsewhere =
                    |reference: &Reference| reference.collection != *collection && reference.dangling() <= SURE;
                if field.reference.as_ref().is_some_and(elsewhere) {
                    return None;
                }
                let reference = format!("reference = {}", text(collection));
                let found = field.reference.as_ref().is_some_and(|reference| reference.collection == *collection);
                let when = self.kinds_at(field, around).and_then(|(path, values)| {
                    let own = values.iter().filter(|(_, to)| to.as_deref() == Some(collection.as_str()));
                    let own: Vec<String> = own.map(|(value, _)| text(value)).collect();
                    let is = if own.len() == 1 { own[0].clone() } else { format!("[{}]", own.join(", ")) };
                    (!own.is_empty()).then(|| (format!("when = {{ path = {}, is = {is} }}", text(&path)), path))
                });
                if can_refer(field, id.sort) && !kinds.is_empty() {
                    let needs = if found || when.is_some() { Likeness::Part } else { Likeness::Synonym };
                    let proven = found || when.is_some();
                    let (when, kind) = when.unzip();
                    let settings = std::iter::once(reference).chain(when).collect();
                    return Some(Fit { needs: Some(needs), proven, settings, kind, ..Fit::default() });
                }
                let remark = || {
                    vec![format!("some values are no ids of {collection} and are refused: empty or misfit = \"null\"")]
                };
                let partly = kinds.is_empty() || partly_refers(field, id.sort);
                partly.then(|| Fit {
                    remarks: if kinds.is_empty() { Vec::new() } else { remark() },
                    ..Fit::id(reference, Likeness::Inner)
                })
            }
            Some(Claim::Embedded) => {
                let is_id = field.refers.contains(&IdForm::ObjectId) && !kinds.is_empty();
                let rule = text(uuids(self.ids));
                (is_id && matches!(column.kind.base(), ColumnType::Uuid)).then(|| Fit {
                    row: Some(foreign.parent.clone()),
                    proven: true,
                    ..Fit::id(format!("id = {rule}"), Likeness::Part)
                })
            }
            None => {
                let parent = self.target.catalog.table(&foreign.parent)?;
                let texts = parent.uniques.iter().filter_map(|unique| match unique.as_slice() {
                    [name] => parent.column(name).filter(|column| is_text(&column.kind) && !column.folds),
                    _ => None,
                });
                let [from] = texts.collect::<Vec<_>>()[..] else { return None };
                let [to] = foreign.parent_columns.as_slice() else { return None };
                (kinds == ["string"]).then(|| {
                    let id = format!(
                        "id = {{ rule = \"lookup\", table = {}, from = {}, to = {} }}",
                        text(&parent.name.label()),
                        text(&from.name),
                        text(to)
                    );
                    Fit::id(id, Likeness::Core)
                })
            }
        }
    }

    /// The reference of ids that point into several collections, which another field names.
    fn by_kind(&self, kind: &ColumnType, field: &Field, around: &[&Field]) -> Option<Fit> {
        if !field.refers.contains(&IdForm::ObjectId) || field.count(&["objectId"]) == 0 {
            return None;
        }
        if field.reference.as_ref().is_some_and(|reference| reference.dangling() <= SURE) {
            return None;
        }
        let (path, values) = self.kinds_at(field, around)?;
        let to: Option<Vec<String>> = values
            .iter()
            .map(|(value, to)| {
                let to = to.as_ref()?;
                let (table, id) = self.id_of(to)?;
                let own = self.target.catalog.table(table)?.column(&id.column)?;
                (own.kind.base() == kind).then(|| format!("{} = {}", key(value), text(to)))
            })
            .collect();
        let reference = format!("reference = {{ by = {}, to = {{ {} }} }}", text(&path), to?.join(", "));
        Some(Fit { kind: Some(path), ..Fit::id(reference, Likeness::Part) })
    }

    /// The field that says which collection an id points into, and the collection of each of its values.
    fn kinds_at(&self, field: &Field, around: &[&Field]) -> Option<(String, Meanings)> {
        const NAMES: [&str; 5] = ["for", "type", "kind", "model", "on"];
        let own = core(&words(&field.name));
        let says = |other: &&&Field| {
            let names = words(&other.name);
            let is_kind = names.last().is_some_and(|last| NAMES.contains(&last.as_str()));
            let shares = core(&names).intersection(&own).next().is_some();
            is_kind && (shares || names.len() == 1) && other.kinds() == ["string"]
        };
        let mut found = around.iter().filter(says).filter_map(|other| {
            let values: Meanings = other.few.as_ref()?.keys().map(|value| (value.clone(), self.named(value))).collect();
            let any = values.iter().any(|(_, to)| to.is_some());
            (any && values.len() > 1).then(|| (crate::mapping::Path::field(other.name.clone()).to_string(), values))
        });
        found.next().filter(|_| found.next().is_none())
    }

    /// The only mapped collection that a value names: `account` is `crm_Accounts`.
    fn named(&self, value: &str) -> Option<String> {
        let mut alike = self
            .analysis
            .collections
            .iter()
            .map(|collection| &collection.name)
            .filter(|name| self.id_of(name).is_some() && table_likeness(name, value) >= TableLikeness::Behind);
        alike.next().filter(|_| alike.next().is_none()).cloned()
    }

    /// The table and the key of a collection, if an id rule makes it.
    pub(super) fn id_of(&self, collection: &str) -> Option<(&TableName, &Id)> {
        self.claims.iter().find_map(|(table, claim)| match claim {
            Claim::Documents { collection: name, id: Some(id) } if name == collection => Some((table, id)),
            _ => None,
        })
    }
}

fn is_text(kind: &ColumnType) -> bool {
    matches!(kind.base(), ColumnType::Text | ColumnType::Varchar(_))
}
