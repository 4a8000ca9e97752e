//! The triggers of the guard: what they should be, and what is there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::{Guarded, Mode};
use crate::{
    mapping::target::{quote_ident, quote_text},
    postgres::{
        Error, Session,
        identity::{self, OURS},
        session::{Param, field},
    },
};

/// Most rows of a statement whose keys are recorded. More than that is no slip of somebody's hand, and comparing the whole
/// collection again costs less than keeping the keys.
const MAX_KEYS: usize = 100;

/// A trigger of the guard.
pub(super) struct Trigger {
    pub(super) name: &'static str,
    events: &'static str,
    function: &'static str,
    /// `tgtype` in `pg_trigger`: ROW 1, INSERT 4, DELETE 8, UPDATE 16, TRUNCATE 32.
    kind: i16,
}

/// PostgreSQL copies it from a partitioned table to all partitions.
const ROWS: Trigger = Trigger {
    name: "driftless_guard_rows",
    events: "AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW",
    function: "driftless.guard",
    kind: 1 | 4 | 8 | 16,
};
const ALL: [&Trigger; 3] = [
    &ROWS,
    &Trigger {
        name: "driftless_guard_end",
        events: "AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH STATEMENT",
        function: "driftless.guard_end",
        kind: 4 | 8 | 16,
    },
    &Trigger {
        name: "driftless_guard_truncate",
        events: "AFTER TRUNCATE ON {table} FOR EACH STATEMENT",
        function: "driftless.guard",
        kind: 32,
    },
];

/// A write of the sink's own is marked, unless a trigger or a cascade that it fired has made it. The depth is that of the
/// statement, because the condition is evaluated when the row is written and not when the trigger runs.
const WHEN: &str = "WHEN (pg_catalog.current_setting('driftless.writer', true) IS DISTINCT FROM 'sink' OR pg_catalog.pg_trigger_depth() > 0)";

/// A guarded table as it is.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    /// Its place among those that were asked for.
    pub(super) place: usize,
    /// The table as the guard's rows name it.
    pub(super) relation: String,
    /// The fault of its triggers, in words.
    pub(super) broken: Vec<String>,
    /// The statements that put it right.
    pub(super) repair: Vec<String>,
    /// Changes with the triggers, the partitions and the files of the table.
    pub(super) fingerprint: String,
}

/// One of the tables and partitions that a mapped table consists of.
#[derive(Default)]
struct Member {
    root: bool,
    /// Its file, and the versions of its columns: a rewrite changes rows without a trigger.
    storage: String,
    found: BTreeMap<String, FoundTrigger>,
}

struct FoundTrigger {
    identity: String,
    enabled: bool,
    function: String,
    kind: i16,
    arguments: Vec<u8>,
}

const FIND: &str = "
WITH mapped AS (
    SELECT e.n, c.oid FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS e(schema, name, n)
      JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name
), members AS (
    SELECT n, oid AS root, oid FROM mapped UNION SELECT m.n, m.oid, p.relid::oid FROM mapped AS m, pg_partition_tree(m.oid) AS p
)
SELECT m.n - 1, format('%I.%I', n.nspname, c.relname), m.oid = m.root,
       concat_ws(' ', m.oid, pg_relation_filenode(m.oid),
                 (SELECT string_agg(a.xmin::text, ' ' ORDER BY a.attnum) FROM pg_attribute AS a
                   WHERE a.attrelid = m.oid AND a.attnum > 0 AND NOT a.attisdropped)),
       t.tgname::text, concat_ws(' ', t.oid, t.xmin, p.xmin), t.tgenabled = 'O', t.tgfoid::regproc::text, t.tgtype, t.tgargs
  FROM members AS m JOIN pg_class AS c ON c.oid = m.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_trigger AS t ON t.tgrelid = m.oid AND t.tgname = ANY ($3) LEFT JOIN pg_proc AS p ON p.oid = t.tgfoid
 ORDER BY m.n, m.oid, t.tgname";

/// Looks at these tables. `mode` gives the mode that each should have. A table that does not exist is left out.
pub(super) async fn find(
    session: &Session,
    migration: i32,
    guarded: &[Guarded],
    mode: impl Fn(&str) -> Mode,
) -> Result<Vec<Looked>, Error> {
    let act = "look at the triggers of the guard";
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        guarded.iter().map(|guarded| (&*guarded.table.schema, &*guarded.table.name)).unzip();
    let triggers: Vec<&str> = ALL.iter().map(|trigger| trigger.name).collect();
    let mut tables: BTreeMap<usize, BTreeMap<String, Member>> = BTreeMap::new();
    for row in session.query(act, FIND, &[&schemas, &names, &triggers]).await? {
        let place = usize::try_from(field::<i64>(&row, 0, act)?).unwrap_or(usize::MAX);
        let member = tables.entry(place).or_default().entry(field(&row, 1, act)?).or_default();
        (member.root, member.storage) = (field(&row, 2, act)?, field(&row, 3, act)?);
        if let Some(name) = field::<Option<String>>(&row, 4, act)? {
            let found = FoundTrigger {
                identity: field(&row, 5, act)?,
                enabled: field(&row, 6, act)?,
                function: field(&row, 7, act)?,
                kind: field(&row, 8, act)?,
                arguments: field(&row, 9, act)?,
            };
            member.found.insert(name, found);
        }
    }
    let looked = tables.into_iter().filter_map(|(place, members)| {
        let Guarded { table, columns } = guarded.get(place)?;
        let relation = table.label();
        let arguments = arguments(migration, &relation, mode(&relation), columns);
        Some(Looked { place, ..looked(relation, &members, &arguments) })
    });
    Ok(looked.collect())
}

fn arguments(migration: i32, relation: &str, mode: Mode, columns: &[String]) -> Vec<String> {
    let mut arguments =
        vec![migration.to_string(), relation.to_owned(), mode.as_str().to_owned(), MAX_KEYS.to_string()];
    arguments.extend(columns.iter().cloned());
    arguments
}

fn looked(relation: String, members: &BTreeMap<String, Member>, arguments: &[String]) -> Looked {
    let wanted: Vec<u8> = arguments.iter().flat_map(|argument| argument.bytes().chain([0])).collect();
    let (mut broken, mut repair, mut identity) = (Vec::new(), Vec::new(), String::new());
    for (name, member) in members {
        identity += &format!("\n{name} {}", member.storage);
        for trigger in ALL {
            let problem = match member.found.get(trigger.name) {
                None => Some("is missing"),
                Some(found) if !found.enabled => Some("is disabled"),
                Some(found)
                    if found.arguments != wanted
                        || found.kind != trigger.kind
                        || found.function != trigger.function =>
                {
                    Some("was made for another mode or mapping")
                }
                Some(_) => None,
            };
            identity += member.found.get(trigger.name).map_or("", |found| &found.identity);
            let Some(problem) = problem else { continue };
            broken.push(format!("{} of {name} {problem}", trigger.name));
            // A copy on a partition is put right at the table itself.
            let of_root = members.iter().find(|(_, member)| member.root).map(|(name, _)| name);
            let table = of_root.filter(|_| trigger.name == ROWS.name).unwrap_or(name);
            let create = trigger.create(table, arguments);
            if !repair.contains(&create) {
                repair.push(create);
            }
            if problem == "is disabled" {
                repair.push(format!("ALTER TABLE {name} ENABLE TRIGGER {}", trigger.name));
            }
        }
    }
    Looked { place: 0, relation, broken, repair, fingerprint: format!("{:032x}", xxh3_128(identity.as_bytes())) }
}

impl Trigger {
    /// The statement that makes the trigger, whatever was there. `table` is written as in SQL.
    fn create(&self, table: &str, arguments: &[String]) -> String {
        let arguments = arguments.iter().map(|argument| quote_text(argument)).collect::<Vec<_>>().join(", ");
        format!(
            "CREATE OR REPLACE TRIGGER {} {} {WHEN} EXECUTE FUNCTION {}({arguments})",
            quote_ident(self.name),
            self.events.replace("{table}", table),
            self.function,
        )
    }
}

/// The guard of a mapped table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GuardState {
    /// The table, as its [label](crate::mapping::target::TableName::label).
    pub relation: String,
    /// Its place among the mapped tables.
    #[serde(skip)]
    pub(crate) place: usize,
    /// Its mode; `None` where no guard was installed.
    pub mode: Option<Mode>,
    /// Since when it has held without a break; `None` where it does not hold.
    pub since: Option<Timestamp>,
    /// Why it does not hold.
    pub broken: Option<String>,
    /// Writes of others that are not compared again yet.
    pub unjudged: u64,
}

impl GuardState {
    /// Returns whether the guard holds.
    pub fn holds(&self) -> bool {
        self.mode.is_some() && self.broken.is_none()
    }
}

/// A row of `driftless.guard`.
struct Recorded {
    mode: Mode,
    since: Option<Timestamp>,
    fingerprint: Option<String>,
}

async fn recorded(session: &Session) -> Result<BTreeMap<String, Recorded>, Error> {
    let act = "read which tables are guarded";
    let sql = format!(
        "SELECT relation, mode, (extract(epoch FROM since) * 1000000)::int8, fingerprint FROM driftless.guard WHERE {OURS}"
    );
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    let recorded = rows.iter().map(|row| {
        let recorded = Recorded {
            mode: Mode::from_name(field(row, 1, act)?).unwrap_or(Mode::Record),
            since: Timestamp::from_microsecond(field(row, 2, act)?).ok(),
            fingerprint: field(row, 3, act)?,
        };
        Ok((field(row, 0, act)?, recorded))
    });
    recorded.collect()
}

/// Reads the state of the guard of each mapped table that exists, and records nothing.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn status(session: &Session, guarded: &[Guarded]) -> Result<Vec<GuardState>, Error> {
    if !session.has_table("look for the guard", "driftless.guard").await? {
        let unguarded = |guarded: &Guarded| GuardState { relation: guarded.table.label(), ..GuardState::default() };
        return Ok(guarded.iter().map(unguarded).collect());
    }
    Ok(states(session, guarded).await?.into_iter().map(|(state, _)| state).collect())
}

async fn states(session: &Session, guarded: &[Guarded]) -> Result<Vec<(GuardState, Looked)>, Error> {
    let recorded = recorded(session).await?;
    let migration = identity::number(session).await?.unwrap_or_default();
    let mode = |relation: &str| recorded.get(relation).map_or(Mode::Record, |recorded| recorded.mode);
    let unjudged = super::open_counts(session).await?;
    let looked = find(session, migration, guarded, mode).await?;
    let states = looked.into_iter().map(|looked| {
        let known = recorded.get(&looked.relation);
        let changed = known.is_some_and(|known| known.fingerprint.as_ref() != Some(&looked.fingerprint));
        let broken = match known {
            None => None,
            Some(_) if !looked.broken.is_empty() => Some(looked.broken.join("; ")),
            Some(_) if changed => Some(CHANGED.to_owned()),
            Some(_) => None,
        };
        let state = GuardState {
            relation: looked.relation.clone(),
            place: looked.place,
            mode: known.map(|known| known.mode),
            since: known.and_then(|known| known.since).filter(|_| broken.is_none()),
            broken,
            unjudged: unjudged.get(&looked.relation).copied().unwrap_or(0),
        };
        (state, looked)
    });
    Ok(states.collect())
}

/// The triggers are right, and were not always since the last look.
const CHANGED: &str = "its triggers, partitions or files have changed since the last look";

/// Looks at the guard of each mapped table and records what it finds: a break moves [`GuardState::since`] on.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn look(session: &Session, guarded: &[Guarded]) -> Result<Vec<GuardState>, Error> {
    let act = "record the state of the guard";
    let mut states = states(session, guarded).await?;
    let installed = states.iter().filter(|(state, _)| state.mode.is_some());
    let (mut relations, mut broken, mut fingerprints) = (Vec::new(), Vec::new(), Vec::new());
    for (state, looked) in installed {
        relations.push(state.relation.clone());
        broken.push((!looked.broken.is_empty()).then(|| looked.broken.join("; ")));
        fingerprints.push(looked.fingerprint.clone());
    }
    let sql = format!(
        "UPDATE driftless.guard AS g SET looked_at = clock_timestamp(), broken = e.broken, fingerprint = e.fingerprint, \
                since = CASE WHEN e.broken IS NULL AND g.fingerprint = e.fingerprint THEN g.since ELSE clock_timestamp() END \
           FROM unnest($2::text[], $3::text[], $4::text[]) AS e(relation, broken, fingerprint) \
          WHERE g.relation = e.relation AND g.{OURS}"
    );
    let params: [Param<'_>; 4] = [&session.prefix(), &relations, &broken, &fingerprints];
    session.execute(act, &sql, &params).await?;
    let recorded = recorded(session).await?;
    for (state, looked) in &mut states {
        // From now on the break is a fact of `since`.
        if looked.broken.is_empty() {
            state.broken = None;
            state.since = recorded.get(&state.relation).and_then(|recorded| recorded.since);
        }
    }
    Ok(states.into_iter().map(|(state, _)| state).collect())
}
