//! Builds the parts of the statements for a table: names, values, comparisons, rows as arrays. Texts only.
//!
//! Only system names are found without a schema, and this includes operators: `=` of `citext` must be named with its schema,
//! otherwise the values would be compared as texts.

use crate::mapping::{
    Lookup, PlanColumn, TablePlan,
    target::{ColumnType, Table, quote_ident, quote_text},
};

/// A planned table with its catalog entry.
pub(crate) struct Sql<'a> {
    pub(crate) plan: &'a TablePlan,
    pub(crate) found: &'a Table,
    /// The root table of its document, possibly the table itself.
    pub(crate) root: &'a TablePlan,
    /// All tables that the same document writes: the root table and its descendants.
    pub(crate) kin: &'a [TablePlan],
}

impl Sql<'_> {
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> {
        0..self.plan.columns.len()
    }

    /// Returns the columns in which rows with an equal key may differ: all others, and key columns whose `=` ignores differences.
    pub(crate) fn beside_key(&self) -> Vec<usize> {
        let forgiving = |at: &usize| {
            let found = self.found.column(&self.plan.columns[*at].name);
            found.is_some_and(|column| column.folds || forgives(column.kind.base()))
        };
        self.positions().filter(|at| !self.plan.key.contains(at) || forgiving(at)).collect()
    }

    pub(crate) fn name(&self, at: usize) -> String {
        quote_ident(&self.plan.columns[at].name)
    }

    pub(crate) fn kind(&self, at: usize) -> Option<&ColumnType> {
        self.found.column(&self.plan.columns[at].name).map(|column| column.kind.base())
    }

    /// Returns the value of a column in the rows named `rows`, in the type of the column.
    pub(crate) fn value(&self, rows: &str, at: usize) -> String {
        self.value_of(&format!("{rows}.c{at}"), at)
    }

    /// Returns the value of an array element; it is NULL if an id has no entry.
    pub(crate) fn value_of(&self, element: &str, at: usize) -> String {
        let column = &self.plan.columns[at];
        match &column.lookup {
            None => format!("{element}::{}", column.sql_type),
            Some(lookup) => looked_up(lookup, element),
        }
    }

    /// Returns the value to write; the statement fails if an id has no entry.
    pub(crate) fn written(&self, rows: &str, at: usize) -> String {
        let column = &self.plan.columns[at];
        match &column.lookup {
            None => self.value(rows, at),
            Some(lookup) => format!(
                "CASE WHEN {rows}.c{at} IS NOT NULL THEN coalesce({}, driftless.no_entry({}, NULL::{})) END",
                looked_up(lookup, &format!("{rows}.c{at}")),
                quote_text(&lookup.table.label()),
                column.sql_type,
            ),
        }
    }

    pub(crate) fn all_names(&self) -> String {
        join(", ", &self.plan.columns, |column| quote_ident(&column.name))
    }

    /// Returns all columns of the table, also those that we do not write, as one array of texts.
    pub(crate) fn texts(&self, table: &str) -> String {
        let texts = join(", ", &self.found.columns, |column| format!("{table}.{}::text", quote_ident(&column.name)));
        format!("ARRAY[{texts}]::text[]")
    }

    pub(crate) fn all_written(&self, rows: &str) -> String {
        self.positions().map(|at| self.written(rows, at)).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn key_names(&self) -> String {
        join(", ", &self.plan.key, |&at| self.name(at))
    }

    pub(crate) fn keys_match(&self, table: &str, rows: &str) -> String {
        self.same(&self.plan.key, table, rows)
    }

    /// Returns the condition that these columns of the table equal those of a row of parameters.
    pub(crate) fn same(&self, columns: &[usize], table: &str, rows: &str) -> String {
        join(" AND ", columns, |&at| format!("{table}.{} {} {}", self.name(at), self.equals(at), self.value(rows, at)))
    }

    pub(crate) fn equals(&self, at: usize) -> String {
        self.operator("=", at)
    }

    /// Returns the operator for the values of a column, with its schema where it needs one.
    pub(crate) fn operator(&self, operator: &str, at: usize) -> String {
        match self.schema_of_operators(at) {
            Some(schema) => format!("OPERATOR({schema}.{operator})"),
            None => operator.to_owned(),
        }
    }

    /// Returns the schema of the operators of a column's type, where it is not that of the system.
    pub(crate) fn schema_of_operators(&self, at: usize) -> Option<&str> {
        let schema = self.plan.columns[at].sql_type.rsplit_once('.').map(|(schema, _)| schema);
        schema.filter(|_| matches!(self.kind(at), Some(ColumnType::Citext)))
    }

    /// Returns the condition on the key of the root. It travels in the type of the root and is compared in the type of the column.
    pub(crate) fn of_document(&self, column: usize, element: &str) -> String {
        format!("t.{} {} {}", self.name(column), self.equals(column), self.value_of(element, column))
    }

    pub(crate) fn root_key(&self) -> &str {
        self.root.key.first().map_or("text", |&at| param_type(&self.root.columns[at]))
    }

    /// Returns an expression for sixteen bytes that are equal exactly for keys that PostgreSQL considers equal.
    pub(crate) fn key_hash(&self, value: impl Fn(usize) -> String) -> String {
        let half = |seed: &str| format!("int8send({})", self.record_hash(&self.plan.key, &value, seed));
        format!("{} || {}", half("0"), half("1"))
    }

    /// Returns an expression for a number that is equal for values of columns that PostgreSQL considers equal.
    ///
    /// Source: `hash_record_extended`, which uses the hash functions of the columns' types, as hash partitioning does.
    pub(crate) fn record_hash(&self, columns: &[usize], value: impl Fn(usize) -> String, seed: &str) -> String {
        let fields = join(", ", columns, |&at| {
            let value = value(at);
            if self.kind(at).is_some_and(has_hash) { value } else { format!("({value})::text") }
        });
        format!("hash_record_extended(ROW({fields}), {seed})")
    }

    pub(crate) fn columns_as_params(&self, first: usize) -> impl Iterator<Item = (usize, &str, String)> {
        columns_as_params(self.plan, first)
    }

    pub(crate) fn keys_as_params(&self, first: usize) -> impl Iterator<Item = (usize, &str, String)> {
        let keys = self.plan.key.iter().enumerate();
        keys.map(move |(place, &at)| (first + place, param_type(&self.plan.columns[at]), format!("c{at}")))
    }

    pub(crate) fn rows(&self, first: usize, alias: &str) -> String {
        unnest(alias, self.columns_as_params(first))
    }

    pub(crate) fn numbered_rows(&self, alias: &str) -> String {
        numbered(alias, self.columns_as_params(1))
    }
}

/// Returns the columns of rows that arrive as arrays: number, element type, name.
pub(crate) fn columns_as_params(plan: &TablePlan, first: usize) -> impl Iterator<Item = (usize, &str, String)> {
    plan.columns.iter().enumerate().map(move |(at, column)| (first + at, param_type(column), format!("c{at}")))
}

pub(crate) fn looked_up(lookup: &Lookup, element: &str) -> String {
    let (from, kind) = &lookup.from;
    format!(
        "(SELECT l.{} FROM {} AS l WHERE l.{} = {element}::{kind})",
        quote_ident(&lookup.to),
        lookup.table,
        quote_ident(from),
    )
}

/// Returns whether a type certainly has a hash function; values of other types are distinguished by their text.
pub(crate) fn has_hash(kind: &ColumnType) -> bool {
    matches!(
        kind,
        ColumnType::Bool
            | ColumnType::Int2
            | ColumnType::Int4
            | ColumnType::Int8
            | ColumnType::Float4
            | ColumnType::Float8
            | ColumnType::Numeric { .. }
            | ColumnType::Text
            | ColumnType::Varchar(_)
            | ColumnType::Bpchar(_)
            | ColumnType::Citext
            | ColumnType::Uuid
            | ColumnType::Date
            | ColumnType::Timestamp { .. }
            | ColumnType::Timestamptz { .. }
            | ColumnType::Time { .. }
            | ColumnType::Timetz { .. }
            | ColumnType::Interval { .. }
            | ColumnType::Range(_)
            | ColumnType::Multirange(_)
            | ColumnType::Bytea
            | ColumnType::Enum { .. }
    )
}

/// Returns whether `COPY` stores values of this type exactly as `INSERT` does, in the form in which they travel. A text that is too
/// long for a `varchar` is cut by a cast and refused by `COPY`; refused rows are then inserted.
pub(crate) fn is_copied(kind: &ColumnType) -> bool {
    matches!(
        kind,
        ColumnType::Bool
            | ColumnType::Int2
            | ColumnType::Int4
            | ColumnType::Int8
            | ColumnType::Float4
            | ColumnType::Float8
            | ColumnType::Numeric { .. }
            | ColumnType::Text
            | ColumnType::Varchar(_)
            | ColumnType::Uuid
            | ColumnType::Date
            | ColumnType::Timestamp { .. }
            | ColumnType::Timestamptz { .. }
            | ColumnType::Json
            | ColumnType::Jsonb
            | ColumnType::Bytea
    )
}

/// Returns whether equal values of this type, as the mapping writes them, mostly have the same bytes in PostgreSQL's binary form. Numbers
/// of any scale and `jsonb` have not.
pub(crate) fn has_one_form(kind: &ColumnType) -> bool {
    is_copied(kind) && !matches!(kind, ColumnType::Numeric { .. } | ColumnType::Json | ColumnType::Jsonb)
}

/// Returns whether values of this type, of those with one form, have any length.
pub(crate) fn is_long(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Bytea)
}

/// Returns whether different values of this type can be equal.
fn forgives(kind: &ColumnType) -> bool {
    matches!(
        kind,
        ColumnType::Citext
            | ColumnType::Numeric { .. }
            | ColumnType::Float4
            | ColumnType::Float8
            | ColumnType::Interval { .. }
            | ColumnType::Range(_)
            | ColumnType::Multirange(_)
            | ColumnType::Other { .. }
            | ColumnType::Unsupported(_)
    )
}

fn param_type(column: &PlanColumn) -> &str {
    &column.param_type
}

pub(crate) fn unnest<'a>(alias: &str, params: impl IntoIterator<Item = (usize, &'a str, String)>) -> String {
    let (arrays, names) = arrays_and_names(params);
    format!("unnest({arrays}) AS {alias}({names})")
}

/// Returns the same with the ordinal of each row as `n`, from 1.
pub(crate) fn numbered<'a>(alias: &str, params: impl IntoIterator<Item = (usize, &'a str, String)>) -> String {
    let (arrays, names) = arrays_and_names(params);
    format!("unnest({arrays}) WITH ORDINALITY AS {alias}({names}, n)")
}

fn arrays_and_names<'a>(params: impl IntoIterator<Item = (usize, &'a str, String)>) -> (String, String) {
    let (arrays, names): (Vec<_>, Vec<_>) =
        params.into_iter().map(|(number, kind, name)| (format!("${number}::{kind}[]"), name)).unzip();
    (arrays.join(", "), names.join(", "))
}

pub(crate) fn join<T>(separator: &str, of: &[T], text: impl FnMut(&T) -> String) -> String {
    of.iter().map(text).collect::<Vec<_>>().join(separator)
}

/// Returns the condition that the stored bytes would change.
pub(crate) fn differs(kind: Option<&ColumnType>, found: &str, wanted: &str) -> String {
    match kind {
        Some(
            ColumnType::Bool
            | ColumnType::Int2
            | ColumnType::Int4
            | ColumnType::Int8
            | ColumnType::Uuid
            | ColumnType::Date
            | ColumnType::Timestamp { .. }
            | ColumnType::Timestamptz { .. }
            | ColumnType::Time { .. }
            | ColumnType::Timetz { .. }
            | ColumnType::Bit(_)
            | ColumnType::Varbit(_)
            | ColumnType::Bytea,
        ) => format!("{found} IS DISTINCT FROM {wanted}"),
        // `=` equates 1.0 and 1.00, -0 and 0, a day and 24 hours, and does not exist for json, xml and point.
        _ => format!("{found}::text COLLATE \"C\" IS DISTINCT FROM {wanted}::text COLLATE \"C\""),
    }
}

/// Returns the condition that two values differ in meaning. Decimals compare by value (NaN equals itself), ranges by bounds, JSON by
/// content. Floats compare by text, because -0 is not 0. A day is not 24 hours.
pub(crate) fn differs_in_meaning(kind: Option<&ColumnType>, found: &str, wanted: &str) -> String {
    match kind {
        Some(ColumnType::Numeric { .. } | ColumnType::Range(_) | ColumnType::Multirange(_) | ColumnType::Jsonb) => {
            format!("{found} IS DISTINCT FROM {wanted}")
        }
        Some(ColumnType::Json) => format!("{found}::jsonb IS DISTINCT FROM {wanted}::jsonb"),
        other => differs(other, found, wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_quotes() {
        assert_eq!(quote_text("o'clock"), "'o''clock'");
        assert_eq!(quote_ident("a\"b"), "\"a\"\"b\"");
    }
}
