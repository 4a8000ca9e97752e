//! Finds the documents that cannot be written because of another one: a unique value that is taken, a parent that is missing, a
//! constraint that PostgreSQL leaves unchecked.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{
    rows::{Rows, Wanted},
    statements::{Constraint, TableStatements},
    write::Touched,
};
use crate::postgres::{
    ConstraintMode, Error, Refusal, Session,
    params::{self, Column, refs},
    session::field,
};

/// An obstacle of a row that may be written later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocker {
    /// Another row holds its unique value.
    UniqueValue,
    /// The row it references is not there.
    MissingParent,
}

impl Rows<'_> {
    /// As in the middle of [`Self::write`]: the places of documents that lack their parent, or want a unique value that
    /// others hold, each with the refusal that it would meet.
    pub(super) async fn blocked(&self, session: &Session, by: Blocker) -> Result<BTreeMap<usize, Refusal>, Error> {
        let mut blocked = BTreeMap::new();
        let freed = self.release(session).await?;
        if by == Blocker::UniqueValue {
            for (statements, place) in self.claim(session).await? {
                if let Entry::Vacant(entry) = blocked.entry(place) {
                    let name = unique_name(session, statements, &statements.key_names).await?;
                    entry.insert(Refusal::of_constraint("23505", &statements.name, name));
                }
            }
        }
        let enforced = session.constraint_mode() == ConstraintMode::Enforce;
        let early = !enforced || (by == Blocker::UniqueValue && self.may_swap_unique(session.constraint_mode()));
        self.clear(session, &freed, early, &mut Touched::new()).await?;
        for (collection, table) in self.order() {
            let statements = self.statements(collection, table);
            let (obstacles, code) = match by {
                Blocker::UniqueValue => (&statements.contested, "23505"),
                Blocker::MissingParent => (&statements.orphaned_children, "23503"),
            };
            let rows = self.rows(collection, table);
            if rows.is_empty() || obstacles.is_empty() {
                continue;
            }
            let arrays = params::columns(statements.width, rows.iter().map(|wanted| wanted.row));
            for obstacle in obstacles {
                let constraint = match &obstacle.constraint {
                    Constraint::ForeignKey(_) if !enforced => continue,
                    Constraint::ForeignKey(name) => Some(name.clone()),
                    Constraint::Unique(columns) => unique_name(session, statements, columns).await?,
                    Constraint::Lookup => None,
                };
                let refusal = Refusal::of_constraint(code, &obstacle.table, constraint);
                let act = format!("find blocked rows of {}", statements.name);
                for place in places(session, &act, &obstacle.sql, &arrays, rows).await? {
                    blocked.entry(place).or_insert_with(|| refusal.clone());
                }
            }
        }
        Ok(blocked)
    }

    /// As after [`Self::write`]: the places of documents whose rows break a constraint that PostgreSQL leaves unchecked, each
    /// with the refusal that it would meet. Of documents that collide with each other only the first is not among them.
    pub(super) async fn unguarded(&self, session: &Session) -> Result<BTreeMap<usize, Refusal>, Error> {
        let mut broken = BTreeMap::new();
        for (collection, table) in self.order() {
            let (statements, rows) = (self.statements(collection, table), self.rows(collection, table));
            for guard in statements.guards.iter().filter(|_| !rows.is_empty()) {
                let Some(sql) = &guard.sql else { continue };
                let keys = statements.key.iter().map(|&at| params::column(at, rows.iter().map(|wanted| wanted.row)));
                let act = format!("check deferrable constraints of {}", statements.name);
                for place in places(session, &act, sql, &keys.collect::<Vec<_>>(), rows).await? {
                    broken.entry(place).or_insert_with(|| guard.refusal());
                }
            }
        }
        Ok(broken)
    }

    /// Whether exchanging unique values by delete and insert is safe for every table concerned.
    pub(super) fn may_swap_unique(&self, mode: ConstraintMode) -> bool {
        mode == ConstraintMode::Replica
            || self.order().iter().all(|&(collection, table)| !self.statements(collection, table).referenced)
    }
}

/// The places of the documents whose rows a question names by their ordinals, from 1.
async fn places(
    session: &Session,
    act: &str,
    sql: &str,
    arrays: &[Column],
    rows: &[Wanted<'_>],
) -> Result<Vec<usize>, Error> {
    let mut places = Vec::new();
    for row in session.query(act, sql, &refs(arrays)).await? {
        let ordinal: i64 = field(&row, 0, act)?;
        places.extend(usize::try_from(ordinal - 1).ok().and_then(|at| rows.get(at)).map(|wanted| wanted.place));
    }
    Ok(places)
}

/// The name of the unique constraint over these columns; the catalog that plans are made from has none.
async fn unique_name(
    session: &Session,
    statements: &TableStatements,
    columns: &[String],
) -> Result<Option<String>, Error> {
    let act = format!("name a constraint of {}", statements.name);
    let sql = "SELECT c.relname::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid \
                WHERE i.indrelid = $1::text::regclass AND i.indisunique AND i.indpred IS NULL \
                  AND ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, place) \
                              JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
                             WHERE k.place <= i.indnkeyatts ORDER BY a.attname) \
                    = ARRAY(SELECT name FROM unnest($2::text[]) AS e(name) ORDER BY name::name) \
                ORDER BY i.indisprimary DESC, c.relname LIMIT 1";
    let row = session.query_opt(&act, sql, &[&statements.quoted, &columns]).await?;
    row.map(|row| field(&row, 0, &act)).transpose()
}
