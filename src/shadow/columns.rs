//! The columns of a result: where each value is in MongoDB's answer, and how it is converted.

use tokio_postgres::{
    Column, Statement,
    types::{Kind, Type},
};

use super::{
    Error,
    compare::{By, ComparedColumn},
    compile::{Compiler, Planned, Stop, fault},
    file::{ColumnName, Fault, QueryFile},
};
use crate::{
    mapping::{
        ColumnRule, Path,
        target::{ColumnType, TableName},
    },
    postgres::{session::field, sql::looked_up},
};

/// A column of the result.
pub(super) struct ResultColumn {
    pub(super) name: String,
    /// Where its value may be in a result document.
    pub(super) paths: Vec<Path>,
    pub(super) rule: ColumnRule,
    /// Whether it is of the key of a mapped table.
    pub(super) is_key: bool,
    pub(super) compared: ComparedColumn,
}

impl Compiler<'_> {
    pub(super) async fn columns(&self, file: &QueryFile, statement: &Statement) -> Result<Vec<ResultColumn>, Stop> {
        let found = statement.columns();
        if found.is_empty() {
            return Err(fault(file.sql_line, "the statement gives no columns", "write one SELECT"));
        }
        let mut faults = Vec::new();
        for (name, declared) in &file.columns {
            if !found.iter().any(|column| column.name() == name) {
                let what = format!("the statement has no result column `{name}`");
                faults.push(Fault {
                    line: declared.line,
                    what,
                    hint: "name it in the SELECT, or remove it here".to_owned(),
                });
            }
        }
        let mut columns: Vec<ResultColumn> = Vec::new();
        for column in found {
            if columns.iter().any(|known| known.name == column.name()) {
                let what = format!("two result columns are called `{}`", column.name());
                faults.push(Fault { line: file.sql_line, what, hint: "name each with AS".to_owned() });
            }
            match self.column(file, column).await {
                Ok(column) => columns.push(column),
                Err(Stop::Faults(more)) => faults.extend(more),
                Err(error) => return Err(error),
            }
        }
        if faults.is_empty() { Ok(columns) } else { Err(Stop::Faults(faults)) }
    }

    async fn column(&self, file: &QueryFile, column: &Column) -> Result<ResultColumn, Stop> {
        let name = column.name().to_owned();
        let declared = file.columns.get(&name);
        let line = declared.map_or(file.sql_line, |declared| declared.line);
        let (sql_type, origin) = self.catalog(column).await?;
        let asked = declared.and_then(|declared| declared.column.clone());
        let explicit = asked.is_some();
        let by = By::of(column.type_());
        let wanted_path = declared.and_then(|declared| declared.path.clone());
        let of = asked.or(origin);
        let collection = &file.command.collection;
        let mapped = of.as_ref().and_then(|of| Some((of, self.planned(of, collection)?)));
        let Some((of, planned)) = mapped else {
            if let (true, Some(of)) = (explicit, of) {
                let what = format!("the mapping writes no column {}", of.label());
                return Err(fault(line, what, "name a column of a mapped table"));
            }
            let rule = plain(column.type_()).ok_or_else(|| {
                let what = format!("the result column `{name}` is {sql_type}, which is not compared");
                fault(line, what, "cast it to text or jsonb in the SELECT")
            })?;
            let param_type = rule.param_type().to_owned();
            let compared = ComparedColumn { param_type, expected: "{}".to_owned(), sql_type, by };
            let paths = vec![wanted_path.unwrap_or_else(|| Path::field(name.clone()))];
            return Ok(ResultColumn { name, paths, rule, is_key: false, compared });
        };
        let rule = planned.plan.rule(&of.table, &of.column).map_err(|why| {
            let what = format!(
                "the result column `{name}` cannot be made of one value: it is {}, and {}",
                of.label(),
                why.as_str()
            );
            fault(line, what, "leave it out, or give `column` another column of the mapping")
        })?;
        let Planned { plan, table, at } = planned;
        let column = planned.column();
        let expected = column.lookup.as_ref().map_or("{}".to_owned(), |lookup| looked_up(lookup, "{}"));
        let expected = format!("({expected})::{}", column.sql_type);
        let compared = ComparedColumn { param_type: column.param_type.clone(), expected, sql_type, by };
        // The documents of a `find` are those of the collection; an aggregation may give any.
        let is_own = file.command.is_find() && plan.collection == *collection && table.root;
        let as_mapped = is_own && !rule.paths().is_empty();
        let paths = match wanted_path {
            Some(path) => vec![path],
            None if as_mapped => rule.paths().to_vec(),
            None => vec![Path::field(name.clone())],
        };
        Ok(ResultColumn { name, paths, rule, is_key: table.key.contains(&at), compared })
    }

    /// The type of a result column as SQL, and the column of a table that it shows as it is.
    async fn catalog(&self, column: &Column) -> Result<(String, Option<ColumnName>), Error> {
        let act = "read the types of a result";
        let sql = "SELECT format_type($1, NULL), n.nspname::text, c.relname::text, a.attname::text FROM (SELECT) AS one \
                     LEFT JOIN pg_attribute AS a ON a.attrelid = $2 AND a.attnum = $3 \
                     LEFT JOIN pg_class AS c ON c.oid = a.attrelid LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace";
        let (table, number) = (column.table_oid(), column.column_id());
        let row = self.session.query_one(act, sql, &[&column.type_().oid(), &table, &number]).await?;
        let names: [Option<String>; 3] = [field(&row, 1, act)?, field(&row, 2, act)?, field(&row, 3, act)?];
        let origin = match names {
            [Some(schema), Some(name), Some(column)] => {
                Some(ColumnName { table: TableName::new(schema, name), column })
            }
            _ => None,
        };
        Ok((field(&row, 0, act)?, origin))
    }
}

/// The conversion into a type without a column; `None` for types that no single value becomes.
pub(super) fn plain(kind: &Type) -> Option<ColumnRule> {
    let kind = match kind.kind() {
        // Labels travel as text.
        Kind::Enum(_) => ColumnType::Text,
        Kind::Domain(inner) => return plain(inner),
        Kind::Array(element) => ColumnType::Array(Box::new(plain(element)?.kind().clone())),
        Kind::Simple => match ColumnType::builtin(kind.oid(), -1, kind.name()) {
            ColumnType::Unsupported(name) if name == "citext" => ColumnType::Text,
            ColumnType::Unsupported(_) => return None,
            known => known,
        },
        _ => return None,
    };
    Some(ColumnRule::plain(kind))
}
