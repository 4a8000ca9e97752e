//! The SQL that looks at the rows of a table in pages, in the order of its key; see [`crate::target::RowSearch`].
//!
//! ```text
//!  by id        root   each row, with the hash of its id                    which rows the ids of documents explain
//!               child  each row whose root row is not there, likewise      is decided outside of PostgreSQL
//!  remembered   each row without an owner, with the hash of its key, or whose owner is no live document
//! ```
//! A page is one statement, so it shows one instant. Its last row comes along, and says how many rows were looked at.

use crate::{
    mapping::Found,
    postgres::sql::{Sql, join, numbered},
};

/// The statements that look at one table.
#[derive(Clone, Debug)]
pub(crate) enum PageStatements {
    /// The statement for a table whose rows hold the document's id.
    ById {
        /// Position, end, limit, whether all rows are named, seed. Gives the number of rows; for each that is looked for, its hash;
        /// for each that is named, and the last, its key as texts.
        page: String,
        /// Seed, then ids of documents as array; gives the hash of each, NULL where no row can have the id.
        hashes: String,
    },
    /// The statement for a table whose rows are remembered in the owner table.
    Remembered {
        /// Position, end, limit, whether all rows are named, seed, relation, collection. Gives the number of rows; for each without an
        /// owner, its hash; for each that is named, and the last, its key as texts; for each whose owner is a document of that
        /// collection that is not live, the document, and whether it is a deleted one.
        page: String,
        /// Seed, then key columns of rows; gives the hash of each.
        hashes: String,
    },
}

impl PageStatements {
    pub(super) fn new(sql: &Sql<'_>) -> Self {
        match sql.plan.found {
            Found::ById { column, .. } => {
                Self::ById { page: sql.page_by_id(column), hashes: sql.hashes_of_ids(column) }
            }
            Found::Remembered => Self::Remembered { page: sql.page_of_remembered(), hashes: sql.hashes_of_keys() },
        }
    }

    /// Returns the statement that reads a page.
    pub(crate) fn page(&self) -> &str {
        match self {
            Self::ById { page, .. } | Self::Remembered { page, .. } => page,
        }
    }

    /// Returns the statement that gives the hashes of rows that documents have.
    pub(crate) fn hashes(&self) -> &str {
        match self {
            Self::ById { hashes, .. } | Self::Remembered { hashes, .. } => hashes,
        }
    }
}

impl Sql<'_> {
    fn page_by_id(&self, column: usize) -> String {
        let root = self.root.key.first().map_or_else(String::new, |&at| self.root_name(at));
        let sought = match self.plan.root {
            true => "true".to_owned(),
            false => format!("NOT EXISTS (SELECT FROM {} AS r WHERE r.{root} = t.id)", self.root.table),
        };
        format!(
            "SELECT e.rows, CASE WHEN e.sought THEN e.hash END, CASE WHEN $4 OR e.place = e.rows THEN {key} END\n  \
               FROM (SELECT t.*, {hash} AS hash, {sought} AS sought\n          FROM {page} AS t) AS e\n \
              WHERE e.sought OR e.place = e.rows ORDER BY e.place",
            key = self.key_as_texts("e"),
            hash = self.record_hash(&[column], |_| "t.id".to_owned(), "$5::int8"),
            page = self.page(&format!(", t.{} AS id", self.name(column)), 3, Some(2)),
        )
    }

    fn hashes_of_ids(&self, column: usize) -> String {
        format!(
            "SELECT CASE WHEN e.id IS NOT NULL THEN {} END\n  FROM (SELECT p.n, {} AS id FROM {}) AS e ORDER BY e.n",
            self.record_hash(&[column], |_| "e.id".to_owned(), "$1::int8"),
            self.value_of("p.p", column),
            numbered("p", [(2, self.root_key(), "p".to_owned())]),
        )
    }

    fn page_of_remembered(&self) -> String {
        format!(
            "SELECT e.rows, CASE WHEN NOT e.owned THEN e.hash END, CASE WHEN $4 OR e.place = e.rows THEN {key} END,\n       \
                    e.document, e.target, e.deleted\n  \
               FROM (SELECT t.*, {hash} AS hash, o.key IS NOT NULL AS owned, l.target, l.deleted IS NOT NULL AS deleted,\n               \
                            CASE WHEN o.collection = $7::int4 AND l.deleted IS NOT FALSE THEN o.key END AS document\n          \
                       FROM {page} AS t\n          \
                       LEFT JOIN driftless.owner AS o ON o.relation = $6::int4 AND o.row_hash = {key_hash}\n          \
                       LEFT JOIN driftless.ledger AS l ON l.collection = o.collection AND l.key = o.key) AS e\n \
              WHERE NOT e.owned OR e.document IS NOT NULL OR e.place = e.rows ORDER BY e.place",
            key = self.key_as_texts("e"),
            page = self.page("", 3, Some(2)),
            hash = self.record_hash(&self.plan.key, |at| format!("t.{}", self.key_alias(at)), "$5::int8"),
            key_hash = self.key_hash(|at| format!("t.{}", self.key_alias(at))),
        )
    }

    fn hashes_of_keys(&self) -> String {
        format!(
            "SELECT {} FROM {} ORDER BY e.n",
            self.record_hash(&self.plan.key, |at| self.value("e", at), "$1::int8"),
            numbered("e", self.keys_as_params(2)),
        )
    }

    /// A page of the table: its rows behind the position ($1), with the columns of the key and `more`, their places and their number.
    fn page(&self, more: &str, limit: usize, until: Option<usize>) -> String {
        let columns = join(", ", &self.plan.key, |&at| format!("t.{} AS {}", self.name(at), self.key_alias(at)));
        let order = join(", ", &self.plan.key, |&at| format!("t.{}", self.name(at)));
        let aliases = join(", ", &self.plan.key, |&at| format!("t.{}", self.key_alias(at)));
        let mut within = format!("($1::text[] IS NULL OR {})", self.compared(">", 1));
        if let Some(until) = until {
            within.push_str(&format!(" AND (${until}::text[] IS NULL OR {})", self.compared("<=", until)));
        }
        format!(
            "(SELECT t.*, row_number() OVER (ORDER BY {aliases}) AS place, count(*) OVER () AS rows FROM (\n           \
                SELECT {columns}{more} FROM {} AS t\n            WHERE {within}\n            \
                ORDER BY {order} LIMIT ${limit}::int8) AS t)",
            self.plan.table,
        )
    }

    /// The condition that the key compares so with a key as texts, in the order of the key's index.
    fn compared(&self, operator: &str, param: usize) -> String {
        let value =
            |place: usize, at: usize| format!("(${param}::text[])[{}]::{}", place + 1, self.plan.columns[at].sql_type);
        let keys = || self.plan.key.iter().copied().enumerate();
        if keys().all(|(_, at)| self.schema_of_operators(at).is_none()) {
            let names = join(", ", &self.plan.key, |&at| format!("t.{}", self.name(at)));
            let values = keys().map(|(place, at)| value(place, at)).collect::<Vec<_>>();
            return format!("({names}) {operator} ({})", values.join(", "));
        }
        // A comparison of whole rows looks all of its operators up in one schema.
        let mut condition = None;
        for (place, at) in keys().collect::<Vec<_>>().into_iter().rev() {
            let one =
                |operator: &str| format!("t.{} {} {}", self.name(at), self.operator(operator, at), value(place, at));
            let strict = &operator[..1];
            condition = Some(match condition {
                None => one(operator),
                Some(rest) => format!("{} AND ({} OR ({rest}))", one(&format!("{strict}=")), one(strict)),
            });
        }
        condition.unwrap_or_default()
    }

    fn key_as_texts(&self, rows: &str) -> String {
        let texts = join(", ", &self.plan.key, |&at| format!("{rows}.{}::text", self.key_alias(at)));
        format!("ARRAY[{texts}]")
    }

    fn key_alias(&self, at: usize) -> String {
        format!("k{at}")
    }

    fn root_name(&self, at: usize) -> String {
        crate::mapping::target::quote_ident(&self.root.columns[at].name)
    }
}
