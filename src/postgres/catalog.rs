//! Reads the target's tables from `pg_catalog` into the plain [`Catalog`] that the mapping is checked against.
//!
//! The search path is pinned to `pg_catalog`, so `format_type` names the schema of every type that is not a system type.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::{Error, Session, session::field};
use crate::mapping::target::{Catalog, Column, ColumnType, Filled, ForeignKey, Table, TableName};

const ACT: &str = "read the catalog of the target";

/// Lists ordinary and partitioned tables outside the system schemas and the schema `driftless`.
const TABLES: &str = "
SELECT c.oid, n.nspname::text, c.relname::text
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'driftless') AND n.nspname !~ '^pg_'
 ORDER BY n.nspname, c.relname";

/// Lists columns. `kind` prints the type or leaves it out, because the printed type depends on the search path of the session.
fn columns(kind: &str) -> String {
    format!(
        "SELECT a.attrelid, a.attname::text, a.atttypid, a.atttypmod, {kind},
       a.attnotnull OR t.typnotnull, a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
       CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN a.attidentity <> '' THEN 'identity' ELSE '' END,
       (SELECT format('%I.%I', n.nspname, l.collname) FROM pg_collation AS l JOIN pg_namespace AS n ON n.oid = l.collnamespace
         WHERE l.oid = a.attcollation AND NOT l.collisdeterministic)
  FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
 WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum"
    )
}

/// Lists types with their parts: the base of a domain, the elements of an array, the bounds of a range. `int2vector` has elements
/// but is not an array of them.
const TYPES: &str = "
SELECT t.oid, t.typname::text, t.typtype::text,
       coalesce(nullif(t.typbasetype, 0), r.rngsubtype, m.rngsubtype, e.oid, 0), t.typtypmod, e.oid IS NOT NULL,
       t.typdelim::text, t.typnamespace = 'pg_catalog'::regnamespace,
       ARRAY(SELECT l.enumlabel::text FROM pg_enum AS l WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder)
  FROM pg_type AS t
  LEFT JOIN pg_range AS r ON r.rngtypid = t.oid
  LEFT JOIN pg_range AS m ON m.rngmultitypid = t.oid
  LEFT JOIN pg_type AS e ON e.oid = t.typelem AND e.typarray = t.oid
 WHERE t.typtype IN ('b', 'd', 'e', 'r', 'm', 'c')";

/// Reads the number of decimal digits of `money` in the locale of the server.
const MONEY_SCALE: &str = "SELECT scale(1::numeric::money::numeric)";

/// Lists indexes. An index over expressions or with a predicate is listed without columns, because those would mislead.
const UNIQUES: &str = "
SELECT i.indrelid, i.indisprimary,
       CASE WHEN i.indpred IS NOT NULL OR 0 = ANY (i.indkey) THEN ARRAY[]::text[]
            ELSE ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
                         JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                        WHERE k.place <= i.indnkeyatts ORDER BY k.place) END
  FROM pg_index AS i WHERE i.indrelid = ANY ($1) AND i.indisunique AND i.indislive
 ORDER BY i.indrelid, i.indexrelid";

const FOREIGN_KEYS: &str = "
SELECT f.conrelid, f.conname::text, n.nspname::text, c.relname::text,
       ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k(attnum, place)
               JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.attnum ORDER BY k.place),
       ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k(attnum, place)
               JOIN pg_attribute AS a ON a.attrelid = f.confrelid AND a.attnum = k.attnum ORDER BY k.place)
  FROM pg_constraint AS f JOIN pg_class AS c ON c.oid = f.confrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE f.contype = 'f' AND f.conrelid = ANY ($1) AND f.conparentid = 0
 ORDER BY f.conrelid, f.conname";

/// Computes a digest of everything that these queries return for some tables (`$1`, their oids). The oids count too, because a
/// table that was dropped and created again has lost its rows.
pub(crate) fn digest() -> String {
    let all = |query: &str| format!("(SELECT string_agg(q::text, '|' ORDER BY q::text) FROM ({query}) AS q)");
    let referring = "SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND confrelid = ANY ($1)";
    format!(
        "WITH RECURSIVE types AS (
           SELECT * FROM ({TYPES}) AS t (oid, name, kind, made_of, typmod, is_array, delimiter, is_system, labels)
         ), used (oid) AS (
           SELECT atttypid FROM pg_attribute WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped
           UNION SELECT types.made_of FROM used JOIN types USING (oid)
         )
         SELECT hashtextextended(concat_ws('|', $1::oid[], {}, {}, {}, {},
                                           (SELECT string_agg(types::text, '|' ORDER BY types.oid) FROM types JOIN used USING (oid))), 0)",
        all(&columns("t.typnamespace")),
        all(UNIQUES),
        all(FOREIGN_KEYS),
        all(referring),
    )
}

/// Reads every table of the application.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn read_catalog(session: &Session) -> Result<Catalog, Error> {
    let mut tables = Vec::new();
    let mut place = HashMap::new();
    for row in session.query(ACT, TABLES, &[]).await? {
        let oid: u32 = field(&row, 0, ACT)?;
        place.insert(oid, tables.len());
        let name = TableName::new(field::<String>(&row, 1, ACT)?, field::<String>(&row, 2, ACT)?);
        tables.push(Table::new(name, &[], Vec::new()));
    }
    let oids = place.keys().copied().collect::<Vec<_>>();
    let types = Types::read(session).await?;
    for row in session.query(ACT, &columns("format_type(a.atttypid, a.atttypmod)"), &[&oids]).await? {
        if let Some(table) = owner(&mut tables, &place, &row)? {
            table.columns.push(column(&row, &types)?);
        }
    }
    for row in session.query(ACT, UNIQUES, &[&oids]).await? {
        if let Some(table) = owner(&mut tables, &place, &row)? {
            let columns = field(&row, 2, ACT)?;
            match field(&row, 1, ACT)? {
                true => table.primary_key = columns,
                false => table.uniques.push(columns),
            }
        }
    }
    for row in session.query(ACT, FOREIGN_KEYS, &[&oids]).await? {
        if let Some(table) = owner(&mut tables, &place, &row)? {
            table.foreign_keys.push(ForeignKey {
                name: field(&row, 1, ACT)?,
                parent: TableName::new(field::<String>(&row, 2, ACT)?, field::<String>(&row, 3, ACT)?),
                columns: field(&row, 4, ACT)?,
                parent_columns: field(&row, 5, ACT)?,
            });
        }
    }
    Ok(Catalog { tables })
}

fn owner<'a>(tables: &'a mut [Table], place: &HashMap<u32, usize>, row: &Row) -> Result<Option<&'a mut Table>, Error> {
    let oid: u32 = field(row, 0, ACT)?;
    Ok(place.get(&oid).and_then(|&at| tables.get_mut(at)))
}

fn column(row: &Row, types: &Types) -> Result<Column, Error> {
    let kind = types.resolve(field(row, 2, ACT)?, field(row, 3, ACT)?);
    let mut sql_type: String = field(row, 4, ACT)?;
    // Elements of an array travel as text, and `money` would parse that by the locale of the server.
    if matches!(kind.base(), ColumnType::Array(element) if matches!(element.base(), ColumnType::Money { .. })) {
        sql_type = format!("numeric[]::money[]::{sql_type}");
    }
    let is_citext = *kind.base() == ColumnType::Citext;
    let folding: Option<String> = field(row, 8, ACT)?;
    if let Some(collation) = folding.as_ref().filter(|_| !is_citext) {
        sql_type.push_str(&format!(" COLLATE {collation}"));
    }
    Ok(Column {
        name: field(row, 1, ACT)?,
        kind,
        sql_type,
        folds: is_citext || folding.is_some(),
        not_null: field(row, 5, ACT)?,
        has_default: field(row, 6, ACT)?,
        filled: match field::<&str>(row, 7, ACT)? {
            "generated" => Filled::Generated,
            "identity" => Filled::Identity,
            _ => Filled::ByUs,
        },
    })
}

struct TypeEntry {
    name: String,
    kind: String,
    made_of: u32,
    base_typmod: i32,
    is_array: bool,
    delimiter: u8,
    is_system: bool,
    labels: Vec<String>,
}

struct Types {
    entries: HashMap<u32, TypeEntry>,
    money_scale: u8,
}

impl Types {
    async fn read(session: &Session) -> Result<Self, Error> {
        let mut entries = HashMap::new();
        for row in session.query(ACT, TYPES, &[]).await? {
            let entry = TypeEntry {
                name: field(&row, 1, ACT)?,
                kind: field(&row, 2, ACT)?,
                made_of: field(&row, 3, ACT)?,
                base_typmod: field(&row, 4, ACT)?,
                is_array: field(&row, 5, ACT)?,
                delimiter: field::<&str>(&row, 6, ACT)?.bytes().next().unwrap_or(b','),
                is_system: field(&row, 7, ACT)?,
                labels: field(&row, 8, ACT)?,
            };
            entries.insert(field::<u32>(&row, 0, ACT)?, entry);
        }
        let scale: i32 = field(&session.query_one(ACT, MONEY_SCALE, &[]).await?, 0, ACT)?;
        Ok(Self { entries, money_scale: u8::try_from(scale).unwrap_or(2) })
    }

    /// Resolves a type. The modifier of an array is that of its elements; a domain has its own modifier for its base type.
    fn resolve(&self, oid: u32, typmod: i32) -> ColumnType {
        const MONEY: u32 = 790;
        let Some(entry) = self.entries.get(&oid) else { return ColumnType::Unsupported(format!("type {oid}")) };
        let inner = |typmod| Box::new(self.resolve(entry.made_of, typmod));
        match (entry.kind.as_str(), entry.name.as_str()) {
            ("d", _) => ColumnType::Domain(inner(entry.base_typmod)),
            ("e", _) => ColumnType::Enum { oid, labels: entry.labels.clone() },
            ("r", _) => ColumnType::Range(inner(-1)),
            ("m", _) => ColumnType::Multirange(inner(-1)),
            ("c", name) => ColumnType::Unsupported(name.to_owned()),
            _ if entry.is_array => ColumnType::Array(inner(typmod)),
            _ if oid == MONEY => ColumnType::Money { scale: self.money_scale },
            (_, name) if entry.is_system => ColumnType::builtin(oid, typmod, name),
            (_, name) => ColumnType::extension(name, typmod, entry.delimiter),
        }
    }
}
