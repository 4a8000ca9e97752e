//! The rows of single documents, as texts: for a person who asks for them, and as evidence of a repair.

use bson::raw::RawDocumentBuf;

use super::TargetReader;
use crate::{
    model::Key,
    postgres::{
        Error,
        params::{Column, refs},
        session::{Param, field},
    },
};

/// A row as PostgreSQL prints it. It holds values.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ShownRow {
    /// Index of its table in the plan of its collection.
    pub(crate) table: usize,
    /// All columns of the table, with their names; `None` is NULL.
    pub(crate) columns: Vec<(String, Option<String>)>,
}

impl TargetReader<'_> {
    /// Reads the rows of documents, parallel to `documents`, whether the ledger knows the documents or not.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn rows_of(
        &self,
        collection: usize,
        documents: &[(Key, Option<RawDocumentBuf>)],
    ) -> Result<Vec<Vec<ShownRow>>, Error> {
        let plan = self.prepared.plan(collection);
        let ordinals = (0..i32::try_from(documents.len()).unwrap_or(i32::MAX)).collect::<Vec<_>>();
        // An `_id` that no key of the target can hold has no rows there.
        let keys = documents.iter().map(|(_, id)| plan.keys(id.as_ref()?).ok()).collect::<Vec<_>>();
        let mut shown = vec![Vec::new(); documents.len()];
        for (table, statements) in self.prepared.statements(collection).tables.iter().enumerate() {
            let rows = if let Some(owned) = self.prepared.owned(collection, table) {
                let mut column = Column::default();
                documents.iter().for_each(|(key, _)| column.push(Some(key.as_bytes())));
                owned.shown(self.session, &ordinals, &column).await?
            } else if let Some(sql) = &statements.shown {
                let act = format!("read rows of {}", statements.name);
                let mut ids = Column::default();
                keys.iter()
                    .for_each(|key| ids.push(key.as_ref().and_then(|key| key.fields().nth(statements.of).flatten())));
                let mut params: Vec<Param<'_>> = vec![&ordinals];
                let ids = [ids];
                params.extend(refs(&ids));
                let rows = self.session.query(&act, sql, &params).await?;
                rows.iter()
                    .map(|row| Ok((field(row, 0, &act)?, field(row, 1, &act)?)))
                    .collect::<Result<Vec<_>, Error>>()?
            } else {
                continue;
            };
            for (place, texts) in rows {
                let columns = statements.columns.iter().cloned().zip(texts).collect();
                if let Some(shown) = usize::try_from(place).ok().and_then(|place| shown.get_mut(place)) {
                    shown.push(ShownRow { table, columns });
                }
            }
        }
        Ok(shown)
    }
}
