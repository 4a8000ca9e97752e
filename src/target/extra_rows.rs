//! Rows that belong to no document, counted for whole tables.

use super::TargetReader;
use crate::postgres::{
    Error,
    session::{Param, field},
};

impl TargetReader<'_> {
    /// Counts the rows that belong to no document: by table, only those that have any.
    ///
    /// The counts are exact at any time, because rows, ledger and owners commit together and are counted in one transaction: a
    /// root table has as many rows as the ledger says, a table with remembered owners has as many as are owned, and each child
    /// row has a root row. A table that several collections write is counted for the first of them. Every row is read.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn extra_rows(&self, collection: usize) -> Result<Vec<(String, u64)>, Error> {
        let mut extra_rows = Vec::new();
        for (table, statements) in self.prepared.statements(collection).tables.iter().enumerate() {
            let act = format!("count rows of {}", statements.name);
            let count = async |sql: &str, params: &[Param<'_>]| {
                let row = self.session.query_one(&act, sql, params).await?;
                Ok::<_, Error>(u64::try_from(field::<i64>(&row, 0, &act)?).unwrap_or(0))
            };
            let found = if let Some(owned) = self.prepared.owned(collection, table) {
                if !self.prepared.speaks_for(collection, table) {
                    continue;
                }
                let sql = "SELECT count(*) FROM driftless.owner WHERE relation = $1";
                count(&statements.count, &[]).await?.saturating_sub(count(sql, &[&owned.relation]).await?)
            } else if let (true, Some(relation)) = (statements.root, self.prepared.relation(collection, statements.of))
            {
                let sql = "SELECT count(*) FROM driftless.ledger WHERE collection = $1 AND root = $2";
                let known = count(sql, &[&self.prepared.id(collection), &relation]).await?;
                count(&statements.count, &[]).await?.saturating_sub(known)
            } else if let Some(missing_parent) = &statements.missing_parent {
                count(missing_parent, &[]).await?
            } else {
                continue;
            };
            if found > 0 {
                extra_rows.push((statements.name.clone(), found));
            }
        }
        Ok(extra_rows)
    }
}
