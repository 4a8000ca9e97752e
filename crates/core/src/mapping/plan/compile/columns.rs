//! Columns: the source of each value, and whether the column can hold it.

use bson::raw::{RawBson, RawBsonRef};

use super::{
    compiler::Compiler,
    draft::{ColumnDraft, Ruled},
    policy,
};
use crate::mapping::{
    At, ColumnFile, IdFile, Lookup, Losses, Path, ReferenceFile, TableFile,
    language::{fault::nearest, file::MISSING},
    rows::{
        condition::Literal,
        step::{Convert, Rules, Source},
    },
    target::{Column, ColumnType, Filled, Table, TableName},
    value::{convert, id::IdStep, json::Omit, policy::Policy},
};

impl<'a> Compiler<'a> {
    /// The columns of a table that are written, in the table's order; `level` is how deep the table is below the document.
    pub(crate) fn columns(
        &mut self,
        file: &'a TableFile,
        table: &'a Table,
        ruled: Vec<Ruled<'a>>,
        level: usize,
    ) -> Vec<ColumnDraft<'a>> {
        self.check_names(file, table, &ruled);
        let mut ruled = ruled;
        let mut drafts = Vec::new();
        for column in &table.columns {
            if file.ignore.iter().any(|name| name.value == column.name) {
                continue;
            }
            if let Some(rule) = ruled.iter().position(|ruled| ruled.column.name == column.name) {
                let rule = ruled.swap_remove(rule);
                drafts.push(ColumnDraft {
                    column,
                    place: self.file.location(&rule.place),
                    source: rule.source,
                    convert: rule.convert,
                    when: Vec::new(),
                    default: None,
                    policy: Policy::default(),
                    lookup: rule.lookup,
                });
                continue;
            }
            let named = file.columns.iter().find(|named| named.name.value == column.name);
            drafts.extend(self.draft(table, &file.table, column, named, level));
        }
        drafts
    }

    /// Columns that the mapping names: they must be there, and have one source.
    fn check_names(&mut self, file: &TableFile, table: &'a Table, ruled: &[Ruled<'_>]) {
        let is_ruled = |name: &str| ruled.iter().any(|ruled| ruled.column.name == name);
        for name in &file.ignore {
            if let Some(column) = self.column(table, name) {
                let what = if is_ruled(&name.value) {
                    "filled by a rule of this mapping"
                } else if file.columns.iter().any(|column| column.name.value == name.value) {
                    "also mapped"
                } else if column.not_null && !column.has_default && column.filled == Filled::ByUs {
                    "NOT NULL and has no default"
                } else {
                    continue;
                };
                let what = format!("column {:?} of {} is ignored, but it is {what}", name.value, table.name);
                self.fault(name, what, "remove it from `ignore`");
            }
        }
        for column in &file.columns {
            if self.column(table, &column.name).is_some() && is_ruled(&column.name.value) {
                let what = format!("column {:?} of {} is already filled by a rule", column.name.value, table.name);
                self.fault(&column.name, what, "remove it from `columns`");
            }
        }
    }

    /// A column that takes a field.
    fn draft(
        &mut self,
        table: &Table,
        at: &At<TableName>,
        column: &'a Column,
        file: Option<&'a ColumnFile>,
        level: usize,
    ) -> Option<ColumnDraft<'a>> {
        let at = file.map_or_else(|| at.with(()), |file| file.name.with(()));
        let name = format!("column {:?} of {}", column.name, table.name);
        if column.filled != Filled::ByUs {
            // A fault only where the mapping names it.
            file?;
            self.fault(&at, format!("{name} is filled by PostgreSQL"), "remove it from `columns`");
            return None;
        }
        if let Some(unsupported) = unsupported(&column.kind) {
            let hint = "list it in `ignore`, or give it a type that this version writes";
            self.fault(&at, format!("{name} has type {unsupported}, which is not supported"), hint);
            return None;
        }
        if matches!(column.kind.base(), ColumnType::Timestamp { .. }) {
            let what = format!("{name} has no time zone: instants are stored in UTC");
            let fault = self.file.fault(&at, what, "use timestamp with time zone, which stores instants");
            self.warnings.push(fault);
        }
        let place = self.file.location(&at);
        let Some(file) = file else {
            return Some(ColumnDraft {
                column,
                place,
                source: Source::Fields(vec![Path::field(column.name.clone())]),
                convert: Convert::Nothing,
                when: Vec::new(),
                default: None,
                policy: Policy::default(),
                lookup: None,
            });
        };
        for path in &file.paths {
            self.reaches(path, level);
        }
        let (convert, lookup) = self.convert(file, column, level);
        if let (Some(default), Some(_)) = (&file.default, &lookup) {
            let what = format!("{name} is looked up, and a default cannot be");
            self.fault(default, what, "remove it, or convert by another rule");
        }
        let policy = self.policy(&name, file, column);
        let reading = policy.as_ref().map(Policy::reading).unwrap_or_default();
        let default = file.default.as_ref().and_then(|value| self.literal(&name, "default", value, column, &reading));
        let source = self.source(&name, file, column);
        let when = self.conditions(&file.when, level);
        Some(ColumnDraft { column, place, source: source?, convert, when, default, policy: policy?, lookup })
    }

    fn source(&mut self, name: &str, file: &ColumnFile, column: &Column) -> Option<Source<Path>> {
        if let Some(at) = &file.rest {
            if !matches!(column.kind.base(), ColumnType::Json | ColumnType::Jsonb) {
                let what = format!("{name} is {} and cannot take the rest of a document", column.kind);
                self.fault(at, what, "make it jsonb");
                return None;
            }
            return Some(Source::Rest(Path::whole(), Omit::default()));
        }
        if let Some(value) = &file.constant {
            return self.literal(name, "constant", value, column, &Policy::default()).map(Source::Constant);
        }
        let mut paths: Vec<Path> = Vec::new();
        for path in &file.paths {
            if paths.contains(&path.value) {
                self.fault(path, format!("`{}` is a candidate twice", path.value), "name it once");
            }
            paths.push(path.value.clone());
        }
        if paths.is_empty() {
            paths.push(Path::field(column.name.clone()));
        }
        Some(Source::Fields(paths))
    }

    /// A value of the mapping file in the column's binary form.
    fn literal(
        &mut self,
        name: &str,
        what: &str,
        value: &At<RawBson>,
        column: &Column,
        policy: &Policy,
    ) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let bson = RawBsonRef::from(&value.value).into();
        match convert::write(bson, &column.kind, None, policy, &mut Losses::default(), &mut bytes) {
            Ok(_) => Some(bytes),
            Err(reason) => {
                let what = format!("{name} is {} and cannot take this {what}: {reason}", column.kind);
                self.fault(value, what, "write it as a document would hold it");
                None
            }
        }
    }

    fn policy(&mut self, name: &str, file: &ColumnFile, column: &Column) -> Option<Policy> {
        match policy::compile(&file.policy, &column.kind) {
            Ok(policy) => {
                if column.not_null && file.default.is_none() && policy.gives_null() {
                    let what = format!("{name} is NOT NULL, and values that become NULL have no default");
                    self.fault(&file.name, what, "give it a `default`, or make the column nullable");
                }
                Some(policy)
            }
            Err(faults) => {
                for fault in faults {
                    let (what, hint) = fault.value.clone();
                    self.fault(&fault, what, hint);
                }
                None
            }
        }
    }

    /// The id rule that converts a column's value, and the table in which PostgreSQL finds the result.
    fn convert(&mut self, file: &'a ColumnFile, column: &Column, level: usize) -> (Convert<Path>, Option<Lookup>) {
        if let Some(id) = &file.id {
            let rule = id.value.step();
            if !fits(&rule, &column.kind) {
                let what = format!("column {:?} is {}, which this id rule cannot fill", column.name, column.kind);
                self.fault(id, what, rule.hint(&column.kind));
                return (Convert::Nothing, None);
            }
            let lookup = self.lookup(&rule, id);
            return (Convert::Id(rule), lookup);
        }
        match &file.reference {
            None => (Convert::Nothing, None),
            Some(ReferenceFile::To(name)) => match self.reference(name, column) {
                None => (Convert::Nothing, None),
                Some(id) => {
                    let rule = id.value.step();
                    let lookup = self.lookup(&rule, id);
                    (Convert::Id(rule), lookup)
                }
            },
            Some(ReferenceFile::By { by, to }) => {
                self.reaches(by, level);
                let mut rules = Rules::default();
                let mut lookups: Vec<Option<Lookup>> = Vec::new();
                for (value, name) in to {
                    if let Some(id) = self.reference(name, column) {
                        let rule = id.value.step();
                        lookups.push(self.lookup(&rule, id));
                        if value.value == MISSING {
                            rules.missing = Some(rule);
                        } else {
                            rules.named.push((Literal::Text(value.value.as_bytes().into()), rule));
                        }
                    }
                }
                lookups.dedup();
                if lookups.len() > 1 {
                    let what = format!("column {:?} would be looked up in several tables", column.name);
                    self.fault(by, what, "a column is looked up in one table, or in none");
                }
                (Convert::By(by.value.clone(), rules), lookups.into_iter().next().flatten())
            }
        }
    }

    /// The id rule of the collection that a column refers to.
    pub(crate) fn reference(&mut self, name: &At<String>, column: &Column) -> Option<&'a At<IdFile>> {
        let known = || self.file.names();
        let mut read = self.file.collections.iter().chain(&self.file.doubtful);
        let Some(collection) = read.find(|collection| collection.name.value == name.value) else {
            // A collection that could not be read has faults of its own.
            if self.file.unread.contains(&name.value) {
                self.is_complete = false;
                return None;
            }
            let hint = match nearest(&name.value, known()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("mapped collections: {}", known().collect::<Vec<_>>().join(", ")),
            };
            self.fault(name, format!("the reference points to `{}`, which is not mapped", name.value), hint);
            return None;
        };
        let Some(id) = &collection.id else {
            // Its id may be what is faulty.
            if self.file.doubtful.iter().any(|doubtful| doubtful.name.value == name.value) {
                self.is_complete = false;
                return None;
            }
            let what = format!("the reference points to `{}`, which has no id rule", name.value);
            self.fault(name, what, "declare how the value is converted: use `id` instead of `reference`");
            return None;
        };
        let rule = id.value.step();
        if !fits(&rule, &column.kind) {
            let what =
                format!("column {:?} is {}, which cannot hold an id of `{}`", column.name, column.kind, name.value);
            self.fault(name, what, rule.hint(&column.kind));
            return None;
        }
        Some(id)
    }

    /// The table in which PostgreSQL finds the ids of a rule.
    pub(crate) fn lookup(&mut self, rule: &IdStep, id: &'a At<IdFile>) -> Option<Lookup> {
        let (mut lookup, names) = (rule.lookup()?.clone(), id.value.lookup.as_ref()?);
        let table = self.table(&names.table)?;
        let (from, to) = (self.column(table, &names.from), self.column(table, &names.to));
        to?;
        let from = from?;
        let unique = |names: &Vec<String>| *names == [from.name.clone()];
        if !std::iter::once(&table.primary_key).chain(&table.uniques).any(unique) {
            let what = format!("column {:?} of {} is not unique: an id could be found twice", from.name, table.name);
            self.fault(&names.from, what, "give it a unique constraint");
        }
        self.folds(&names.from, table, "lookup column", from);
        lookup.from.1.clone_from(&from.sql_type);
        Some(lookup)
    }
}

/// Whether ids go into the column, or into the elements of its array. PostgreSQL cannot look up the elements of an array.
fn fits(rule: &IdStep, kind: &ColumnType) -> bool {
    match kind.base() {
        ColumnType::Array(element) if rule.lookup().is_none() => rule.fits(element),
        kind => rule.fits(kind),
    }
}

/// The unsupported part of a type.
fn unsupported(kind: &ColumnType) -> Option<&ColumnType> {
    match kind.base() {
        ColumnType::Array(element) => match element.base() {
            ColumnType::Array(_) => Some(kind),
            element => unsupported(element),
        },
        kind @ ColumnType::Unsupported(_) => Some(kind),
        _ => None,
    }
}
