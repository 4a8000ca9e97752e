//! A guard that goes on while its tables get other names and another migration: in one transaction that excludes every writer.

use std::collections::BTreeMap;

use super::{Guarded, Mode, install::install_one, triggers};
use crate::{
    mapping::{MappingFile, Plan},
    postgres::{
        Error, Session, read_catalog,
        session::{Param, field},
    },
};

/// The guards of the tables of a migration, by the name of the table without its schema.
#[derive(Debug, Default)]
pub(crate) struct Held(BTreeMap<String, One>);

#[derive(Debug)]
struct One {
    mode: Mode,
    /// Since when it has held, in microseconds since 1970; `None`: it does not, or did not at some time since it was looked at last.
    since: Option<i64>,
}

impl Held {
    /// Looks at the guards of the tables of a mapping that were installed for the migration of this number.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn find(session: &Session, migration: i32, mapping: &MappingFile) -> Result<Self, Error> {
        let act = "look at the guard";
        let sql = "SELECT relation, mode, fingerprint, CASE WHEN broken IS NULL THEN (extract(epoch FROM since) * 1000000)::int8 END \
                     FROM driftless.guard WHERE migration = $1";
        let mut recorded = BTreeMap::new();
        for row in session.query(act, sql, &[&migration]).await? {
            let mode = Mode::from_name(field(&row, 1, act)?).unwrap_or(Mode::Record);
            let held: (Option<String>, Option<i64>) = (field(&row, 2, act)?, field(&row, 3, act)?);
            recorded.insert(field::<String>(&row, 0, act)?, (mode, held));
        }
        let guarded = guarded(session, mapping).await?;
        let mode = |relation: &str| recorded.get(relation).map_or(Mode::Record, |(mode, _)| *mode);
        let mut held = BTreeMap::new();
        for looked in triggers::find(session, migration, &guarded, mode).await? {
            let Some((mode, (fingerprint, since))) = recorded.get(&looked.relation) else { continue };
            let unbroken = looked.broken.is_empty() && fingerprint.as_ref() == Some(&looked.fingerprint);
            let one = One { mode: *mode, since: since.filter(|_| unbroken) };
            held.insert(guarded[looked.place].table.name.clone(), one);
        }
        Ok(Self(held))
    }

    /// Makes them again for the migration of that number and the tables of that mapping, which have the same names in their schema. A
    /// guard that has held goes on: nobody could write since it was looked at. Returns the number of tables.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn install(
        self,
        session: &Session,
        migration: i32,
        mapping: &MappingFile,
        who: &str,
    ) -> Result<usize, Error> {
        let act = "make the guard again";
        for one in &guarded(session, mapping).await? {
            let Some(held) = self.0.get(&one.table.name) else { continue };
            install_one(session, migration, std::slice::from_ref(one), held.mode, who).await?;
            let sql = "UPDATE driftless.guard SET since = 'epoch'::timestamptz + $3::int8 * interval '1 microsecond' \
                        WHERE migration = $1 AND relation = $2 AND $3::int8 IS NOT NULL";
            let params: [Param<'_>; 3] = [&migration, &one.table.label(), &held.since];
            session.execute(act, sql, &params).await?;
        }
        Ok(self.0.len())
    }
}

/// The tables of a mapping that fits the catalog; what does not fit is reported where the mapping is compiled.
async fn guarded(session: &Session, mapping: &MappingFile) -> Result<Vec<Guarded>, Error> {
    let catalog = read_catalog(session).await?;
    let (plan, _) = Plan::compile_partly(mapping, &catalog);
    Ok(Guarded::all(&plan, &catalog))
}
