//! The statement that compares both answers. Texts only.
//!
//! PostgreSQL compares them: the expected rows go in as arrays, and only rows that have no counterpart come out. Values are equal
//! as they are for `reconcile`: decimals by value (NaN equals itself), ranges by bounds, JSON by content, everything else by its
//! text, because -0 is not 0 and a day is not 24 hours. NULL equals NULL.
//!
//! The application's statement runs inside of it a second time, in the same snapshot of the target.

use tokio_postgres::types::{Kind, Type};

use crate::postgres::sql::{join, numbered};

/// A column of the result, in the forms in which it is compared.
#[derive(Clone, Debug)]
pub(super) struct ComparedColumn {
    /// Type in which the expected value travels.
    pub(super) param_type: String,
    /// The expected value in the type of the mapped column; `{}` is the parameter's element.
    pub(super) expected: String,
    /// The type of the result, as SQL.
    pub(super) sql_type: String,
    /// How its values are compared.
    pub(super) by: By,
}

/// How two values of a type are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By the type's own equality.
    Value,
    /// As `jsonb`.
    Content,
    /// By the text.
    Text,
}

impl By {
    /// The way of a type.
    pub(super) fn of(kind: &Type) -> Self {
        match kind.kind() {
            Kind::Domain(inner) => Self::of(inner),
            Kind::Range(_) | Kind::Multirange(_) => Self::Value,
            _ if *kind == Type::NUMERIC || *kind == Type::JSONB => Self::Value,
            _ if *kind == Type::JSON => Self::Content,
            _ => Self::Text,
        }
    }

    fn of_value(self, value: &str) -> String {
        match self {
            Self::Value => value.to_owned(),
            Self::Content => format!("{value}::jsonb"),
            Self::Text => format!("{value}::text COLLATE \"C\""),
        }
    }
}

/// Returns the statement. The first `first - 1` parameters are those of `sql`; an array for each column follows. With `placed`, rows are
/// equal only at the same place.
///
/// Each row of the result is one without counterpart: its side (0 was found, 1 was expected), its place from 1, its texts, a digest of
/// each column, and the number of all such rows. Found rows come before expected ones of the same place.
pub(super) fn statement(sql: &str, columns: &[ComparedColumn], first: usize, placed: bool, most: usize) -> String {
    let at: Vec<usize> = (0..columns.len()).collect();
    let names = join(", ", &at, |at| format!("c{at}"));
    let arrays = columns.iter().enumerate();
    let wanted = numbered("w", arrays.map(|(at, column)| (first + at, &*column.param_type, format!("c{at}"))));
    let expected = join(", ", &at, |&at| {
        let ComparedColumn { expected, sql_type, .. } = &columns[at];
        format!("({})::{sql_type}", expected.replace("{}", &format!("w.c{at}")))
    });
    let values = join(", ", &at, |&at| format!("{} AS c{at}", columns[at].by.of_value(&format!("b.c{at}"))));
    let texts = join(", ", &at, |at| format!("b.c{at}::text"));
    let digests = join(", ", &at, |at| format!("hash_record_extended(ROW(v.c{at}), 0)"));
    // Rows that are equal to each other have counterparts by their numbers.
    let (number, by) = match placed {
        true => ("n".to_owned(), "n"),
        false => (format!("row_number() OVER (PARTITION BY side, {names} ORDER BY n)"), "k"),
    };
    format!(
        "WITH found AS MATERIALIZED (SELECT row_number() OVER () AS n, q.* FROM (\n{sql}\n) AS q({names})),
              both_sides AS (SELECT 0 AS side, n, {names} FROM found
                             UNION ALL SELECT 1, w.n, {expected} FROM {wanted}),
              valued AS (SELECT b.side, b.n, ARRAY[{texts}]::text[] AS texts, {values} FROM both_sides AS b),
              numbered AS (SELECT *, {number} AS k FROM valued),
              paired AS (SELECT *, count(*) OVER (PARTITION BY {by}, {names}) AS rows FROM numbered)
         SELECT v.side, v.n, v.texts, ARRAY[{digests}]::int8[], count(*) OVER ()
           FROM paired AS v WHERE v.rows = 1 ORDER BY v.n, v.side LIMIT {most}"
    )
}
