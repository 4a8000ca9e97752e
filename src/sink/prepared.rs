//! The plan made ready for one database: its statements, and the numbers that collections and tables have there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    guards, key_rule,
    owner::Owned,
    statements::{CollectionStatements, TableStatements},
};
use crate::{
    mapping::{CollectionPlan, Plan, Rows, target::Catalog},
    postgres::{
        Error, Look, Session, Tables,
        identity::{self, OURS},
        read_catalog,
        schema::LOCK,
        session::field,
    },
};

/// A plan that can be applied.
#[derive(Debug)]
pub struct Prepared {
    plan: Arc<Plan>,
    statements: Vec<CollectionStatements>,
    ids: Vec<i32>,
    /// Parallel to the tables of each collection.
    relations: Vec<Vec<i32>>,
    /// Tables that have refused a `COPY`, and until when none is tried; for good, where it is refused as such.
    refused_copies: Mutex<HashMap<String, Option<Instant>>>,
    tables: Tables,
    look: Look,
}

/// How long a table is written row by row after it has refused a copied row: where one was there already, others are, too.
const COPY_PAUSE: Duration = Duration::from_secs(60);

impl Prepared {
    /// Writes the statements and registers collections and tables.
    ///
    /// # Errors
    /// [`Error::TableGone`], [`Error::TableTaken`], [`Error::KeyRuleChanged`] and [`Error::KeyChanged`] halt; [`Error::Statement`] by its cause.
    pub async fn new(session: &Session, plan: Arc<Plan>, catalog: &Catalog) -> Result<Self, Error> {
        let statements = statements(session, &plan, catalog).await?;
        let registered = register(session, &plan, &statements);
        let registered = session.transaction("register the mapping", true, registered).await?;
        Self::with(session, plan, catalog, statements, registered).await
    }

    /// Writes the statements, and finds the collections and tables as the sink has registered them; registers nothing.
    ///
    /// # Errors
    /// [`Error::NotRegistered`] until the sink has registered this mapping; else those of [`Self::new`].
    pub async fn find(session: &Session, plan: Arc<Plan>, catalog: &Catalog) -> Result<Self, Error> {
        let statements = statements(session, &plan, catalog).await?;
        if let Some(taken) = identity::tables_taken(session, &plan).await?.into_iter().next() {
            return Err(Error::TableTaken(taken));
        }
        let ids = find_collections(session, &plan).await?;
        key_rule::compare(session, &plan).await?;
        let mut relations = Vec::with_capacity(statements.len());
        for collection in &statements {
            relations.push(find_tables(session, &collection.tables).await?);
        }
        Self::with(session, plan, catalog, statements, (ids, relations)).await
    }

    async fn with(
        session: &Session,
        plan: Arc<Plan>,
        catalog: &Catalog,
        statements: Vec<CollectionStatements>,
        (ids, relations): (Vec<i32>, Vec<Vec<i32>>),
    ) -> Result<Self, Error> {
        let tables = Tables::of(&plan);
        let look = Look::at(session, &tables).await?;
        // Later looks are compared with this one, so it has to be of the catalog that the plan was made from.
        if read_catalog(session).await? != *catalog {
            return Err(Error::CatalogChanged);
        }
        Ok(Self { plan, statements, ids, relations, refused_copies: Mutex::default(), tables, look })
    }

    /// The look of the target when the plan was made ready.
    pub(crate) fn look(&self) -> Look {
        self.look
    }

    /// The tables that decide whether the plan still fits.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Makes sure that the catalog is the one that the plan was made from.
    ///
    /// # Errors
    /// [`Error::CatalogChanged`]: make the plan again. [`Error::Statement`] by its cause.
    pub(crate) async fn still_fits(&self, session: &Session) -> Result<(), Error> {
        match Look::at(session, &self.tables).await?.has_same_tables(&self.look) {
            true => Ok(()),
            false => Err(Error::CatalogChanged),
        }
    }

    /// The plan itself.
    pub fn all(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Place of a collection in the plan.
    pub fn named(&self, collection: &str) -> Option<usize> {
        self.plan.collections().iter().position(|known| known.collection == collection)
    }

    pub(crate) fn plan(&self, collection: usize) -> &CollectionPlan {
        &self.plan.collections()[collection]
    }

    pub(crate) fn statements(&self, collection: usize) -> &CollectionStatements {
        &self.statements[collection]
    }

    pub(crate) fn id(&self, collection: usize) -> i32 {
        self.ids[collection]
    }

    /// All collections of the plan.
    pub(crate) fn ids(&self) -> &[i32] {
        &self.ids
    }

    pub(crate) fn collection_of(&self, id: i32) -> Option<usize> {
        self.ids.iter().position(|known| *known == id)
    }

    pub(crate) fn name(&self, collection: usize) -> String {
        self.plan(collection).collection.clone()
    }

    /// The root tables of a collection, each with its relation, in the order of the fields of a document's keys.
    pub(crate) fn roots(&self, collection: usize) -> impl Iterator<Item = (&TableStatements, i32)> {
        let tables = self.statements[collection].tables.iter().zip(self.relations[collection].iter().copied());
        tables.filter(|(table, _)| table.root)
    }

    /// The root table that holds the document's root row, if it has one.
    pub(crate) fn root_of(&self, collection: usize, rows: &Rows) -> Option<usize> {
        let tables = self.statements[collection].tables.iter().zip(&rows.tables);
        tables.filter(|(table, rows)| table.root && !rows.is_empty()).map(|(table, _)| table.of).next()
    }

    /// The relation of a root table.
    pub(crate) fn relation(&self, collection: usize, root: usize) -> Option<i32> {
        self.roots(collection).nth(root).map(|(_, relation)| relation)
    }

    /// The relation of any table of a collection.
    pub(crate) fn relation_of(&self, collection: usize, table: usize) -> i32 {
        self.relations[collection][table]
    }

    /// The relations of those of the tables, quoted, that the plan writes.
    pub(crate) fn relations_named(&self, tables: &[String]) -> impl Iterator<Item = i32> {
        let ours = self.statements.iter().zip(&self.relations);
        let ours = ours.flat_map(|(statements, relations)| statements.tables.iter().zip(relations.iter().copied()));
        ours.filter(|(table, _)| tables.contains(&table.quoted)).map(|(_, relation)| relation)
    }

    /// The collections, by number, of which a document may wait for rows of that table, `schema.table`: for a value that one
    /// holds, or for a parent.
    pub(crate) fn waiters(&self, table: &str) -> impl Iterator<Item = i32> {
        let waits = move |own: &TableStatements| own.name == table || own.parents.iter().any(|parent| parent == table);
        let collections = self.statements.iter().zip(&self.ids);
        collections.filter(move |(statements, _)| statements.tables.iter().any(waits)).map(|(_, id)| *id)
    }

    /// The root table of that relation; none when the plan no longer has it.
    pub(crate) fn root_named(&self, collection: usize, relation: i32) -> Option<usize> {
        self.roots(collection).position(|(_, known)| known == relation)
    }

    /// Whether a `COPY` into that table may succeed: none was refused of late.
    pub(crate) fn may_copy(&self, table: &str) -> bool {
        let refused = self.refused_copies.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(table).is_none_or(|until| until.is_some_and(|until| until <= Instant::now()))
    }

    /// A `COPY` into that table was refused: for a row, or for good.
    pub(crate) fn copy_refused(&self, table: &str, for_good: bool) {
        let until = (!for_good).then(|| Instant::now() + COPY_PAUSE);
        self.refused_copies.lock().unwrap_or_else(PoisonError::into_inner).insert(table.to_owned(), until);
    }

    /// Who owns the rows of a table; none when the rows say so themselves.
    pub(crate) fn owned(&self, collection: usize, table: usize) -> Option<Owned<'_>> {
        let statements = &self.statements[collection].tables[table];
        Some(Owned {
            table: statements,
            statements: statements.owned.as_ref()?,
            relation: self.relations[collection][table],
            collection: self.ids[collection],
        })
    }

    /// The collections that write a table of one of them, each with the places of the table in its plan.
    pub(crate) fn writers(&self, collection: usize, table: usize) -> Vec<(usize, Vec<usize>)> {
        let Some(relation) = self.relations[collection].get(table) else { return Vec::new() };
        let tables = |relations: &Vec<i32>| {
            relations.iter().enumerate().filter(|(_, known)| *known == relation).map(|(table, _)| table).collect()
        };
        let writers = self.relations.iter().map(tables).enumerate();
        writers.filter(|(_, tables): &(usize, Vec<usize>)| !tables.is_empty()).collect()
    }

    /// Whether no collection before this one writes the table, so that what is said of the whole table is said once.
    pub(crate) fn speaks_for(&self, collection: usize, table: usize) -> bool {
        let relation = self.relations[collection][table];
        let tables = self
            .relations
            .iter()
            .enumerate()
            .flat_map(|(c, tables)| tables.iter().enumerate().map(move |(t, r)| (c, t, r)));
        tables.filter(|(_, _, known)| **known == relation).map(|(c, t, _)| (c, t)).next() == Some((collection, table))
    }
}

async fn statements(session: &Session, plan: &Plan, catalog: &Catalog) -> Result<Vec<CollectionStatements>, Error> {
    let tables = plan.collections().iter().flat_map(|collection| &collection.tables);
    let mut tables = tables.map(|table| table.table.to_string()).collect::<Vec<_>>();
    tables.sort();
    tables.dedup();
    let guards = guards::find(session, &tables).await?;
    plan.collections().iter().map(|collection| CollectionStatements::new(collection, catalog, &guards)).collect()
}

/// Numbers collections and their tables, unless another migration writes one of these.
async fn register(
    session: &Session,
    plan: &Plan,
    statements: &[CollectionStatements],
) -> Result<(Vec<i32>, Vec<Vec<i32>>), Error> {
    // Two migrations that start at once must not both find a table free.
    session.execute("register the mapping", "SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    identity::ensure(session).await?;
    let names = plan.collections().iter().map(|collection| collection.collection.as_str()).collect::<Vec<_>>();
    let act = "register collections";
    let sql = "INSERT INTO driftless.collection (migration, name) \
               SELECT i.id, e.* FROM driftless.identity AS i, unnest($1::text[]) AS e WHERE i.prefix = $2 \
               ON CONFLICT DO NOTHING";
    session.execute(act, sql, &[&names, &session.prefix()]).await?;
    let ids = find_collections(session, plan).await?;
    key_rule::record(session, plan).await?;
    let tables = statements.iter().flat_map(|collection| &collection.tables);
    let tables = tables.map(|table| table.quoted.as_str()).collect::<Vec<_>>();
    if let Some(taken) = identity::tables_taken(session, plan).await?.into_iter().next() {
        return Err(Error::TableTaken(taken));
    }
    let sql = format!("UPDATE driftless.relation SET written = name = ANY ($2) WHERE {OURS}");
    session.execute("register tables", &sql, &[&session.prefix(), &tables]).await?;
    let mut relations = Vec::with_capacity(statements.len());
    for collection in statements {
        relations.push(register_tables(session, &collection.tables).await?);
    }
    Ok((ids, relations))
}

/// The numbers of the collections.
async fn find_collections(session: &Session, plan: &Plan) -> Result<Vec<i32>, Error> {
    let act = "find collections";
    let names = plan.collections().iter().map(|collection| collection.collection.as_str()).collect::<Vec<_>>();
    let sql = "SELECT c.id FROM unnest($1::text[]) WITH ORDINALITY AS e(name, place) \
               LEFT JOIN (driftless.identity AS i JOIN driftless.collection AS c ON c.migration = i.id) \
                      ON i.prefix = $2 AND c.name = e.name ORDER BY e.place";
    let rows = session.query(act, sql, &[&names, &session.prefix()]).await?;
    let ids = rows.iter().zip(&names).map(|(row, name)| {
        field::<Option<i32>>(row, 0, act)?.ok_or_else(|| Error::NotRegistered(format!("collection {name}")))
    });
    ids.collect()
}

/// Numbers the tables of a collection, and makes sure that what is remembered of them can still be read.
async fn register_tables(session: &Session, tables: &[TableStatements]) -> Result<Vec<i32>, Error> {
    let act = "register tables";
    let names = tables.iter().map(|table| table.quoted.as_str()).collect::<Vec<_>>();
    let keys = tables.iter().map(|table| table.owned.as_ref().map(|owned| owned.key.as_str())).collect::<Vec<_>>();
    let sql = "INSERT INTO driftless.relation (migration, name) \
               SELECT DISTINCT i.id, e.* FROM driftless.identity AS i, unnest($1::text[]) AS e WHERE i.prefix = $2 \
               ON CONFLICT DO NOTHING";
    session.execute(act, sql, &[&names, &session.prefix()]).await?;
    let sql = "UPDATE driftless.relation AS r SET key = e.key FROM unnest($1::text[], $2::text[]) AS e(name, key) \
                WHERE r.name = e.name AND r.key IS DISTINCT FROM e.key AND e.key IS NOT NULL \
                  AND r.migration = (SELECT id FROM driftless.identity WHERE prefix = $3) \
                  AND NOT EXISTS (SELECT FROM driftless.owner AS o WHERE o.relation = r.id)";
    session.execute(act, sql, &[&names, &keys, &session.prefix()]).await?;
    find_tables(session, tables).await
}

/// The numbers of the tables of a collection, whose remembered keys can be read.
async fn find_tables(session: &Session, tables: &[TableStatements]) -> Result<Vec<i32>, Error> {
    let act = "find tables";
    let names = tables.iter().map(|table| table.quoted.as_str()).collect::<Vec<_>>();
    let sql = "SELECT r.id, r.key FROM unnest($1::text[]) WITH ORDINALITY AS e(name, place) \
               LEFT JOIN (driftless.identity AS i JOIN driftless.relation AS r ON r.migration = i.id) \
                      ON i.prefix = $2 AND r.name = e.name AND r.written ORDER BY e.place";
    let rows = session.query(act, sql, &[&names, &session.prefix()]).await?;
    let mut relations = Vec::with_capacity(rows.len());
    for (row, table) in rows.iter().zip(tables) {
        let known: Option<&str> = field(row, 1, act)?;
        let wanted = table.owned.as_ref().map(|owned| owned.key.as_str());
        if let (Some(known), Some(wanted)) = (known, wanted)
            && known != wanted
        {
            return Err(Error::KeyChanged {
                table: table.name.clone(),
                known: known.to_owned(),
                wanted: wanted.to_owned(),
            });
        }
        let relation = field::<Option<i32>>(row, 0, act)?;
        relations.push(relation.ok_or_else(|| Error::NotRegistered(format!("table {}", table.name)))?);
    }
    Ok(relations)
}
