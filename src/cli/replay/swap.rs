//! `driftless replay --into SCHEMA --swap`, and `--drop`: the two ends of a replay into a fresh schema.

use serde::Serialize;

use super::Replay;
use crate::{
    cli::{
        Exit,
        finding::Finding,
        print,
        setup::{Beside, Setup, operator},
        status,
    },
    control::{
        processes,
        siblings::{self, Obstacles, Swap, Swapped},
    },
    log::removal,
    mapping::target::TableName,
    postgres::Session,
    reconcile::verdict::{Judged, Verdict},
    status::Role,
};

/// A swap, carried out or only planned.
#[derive(Debug, Serialize)]
struct Report {
    executed: bool,
    /// The schema where the new tables go, and that of the old ones.
    home: String,
    aside: String,
    verdict: Judged,
    #[serde(flatten)]
    obstacles: Obstacles,
    swapped: Option<Swapped>,
}

/// Swaps, or prints what a swap would meet.
pub(super) async fn swap(replay: &Replay, setup: &Setup, into: &Beside, session: &Session) -> anyhow::Result<Exit> {
    let sibling = siblings::find(session, &into.schema).await?;
    if sibling.digest != into.mapping.digest() {
        anyhow::bail!(
            "swap: the replay into {} was begun with another mapping; name that file with --mapping",
            into.schema
        );
    }
    let aside = replay.steps.aside.clone().unwrap_or_else(|| format!("{}_before", into.home));
    if aside == into.home {
        anyhow::bail!("swap: the old tables cannot stay in {aside}; name another schema with --aside");
    }
    let verdict = status::judge(setup, &setup.session().await?).await?;
    let obstacles = siblings::obstacles(session, &sibling, &into.home, &aside).await?;
    let stands = verdict.verdict != Verdict::InSync || !obstacles.left_behind.is_empty();
    let refused = !obstacles.faults.is_empty() || (stands && !replay.steps.force);
    let mut report = Report { executed: false, home: into.home.clone(), aside, verdict, obstacles, swapped: None };
    if replay.execute && !refused {
        let (who, why) = (operator(), replay.why.as_deref().unwrap_or_default());
        let (home, aside) = (report.home.as_str(), report.aside.as_str());
        let swap =
            Swap { session, sibling: &sibling, mappings: (&setup.mapping, &into.mapping), home, aside, who: &who, why };
        match swap.run().await? {
            Ok(swapped) => (report.executed, report.swapped) = (true, Some(swapped)),
            Err(faults) => {
                print::faults(&faults.into_iter().map(Finding::from).collect::<Vec<_>>());
                return Ok(Exit::Faults);
            }
        }
    }
    if replay.json {
        print::json(&report)?
    } else {
        report.print(refused)
    }
    Ok(if refused { Exit::Failure } else { Exit::Success })
}

impl Report {
    fn print(&self, refused: bool) {
        let (home, aside) = (&self.home, &self.aside);
        if let Some(swapped) = &self.swapped {
            print::line(format!("Swapped: {} are the tables of the running migration now.", swapped.home.join(", ")));
            print::line(format!(
                "The old ones are {}; they and their state are the replay into {aside}, which can be swapped back or dropped.",
                swapped.aside.join(", ")
            ));
            print::line(format!(
                "The proof goes on for {} and the guard for {}.",
                print::count(swapped.proven, "collection"),
                print::count(swapped.guarded, "table")
            ));
            print::line(
                "Give the daemon the new mapping file: it takes it up by itself. Until then its sink and its reconciler rest.",
            );
            return;
        }
        if self.verdict.verdict != Verdict::InSync {
            print::line("It is not proven to be in sync:");
            self.verdict.blockers.iter().for_each(|blocker| print::line(format!("  {blocker}")));
        }
        let list = |title: &str, lines: &[String]| {
            if !lines.is_empty() {
                print::line(title);
                lines.iter().for_each(|line| print::line(format!("  {line}")));
            }
        };
        list("In the way:", &self.obstacles.faults);
        list("What names a table by its identity stays with the old one:", &self.obstacles.left_behind);
        print::line(match refused {
            true if self.obstacles.faults.is_empty() => {
                "Nothing was changed. Correct this, or add `--force` if it is meant.".to_owned()
            }
            true => "Nothing was changed.".to_owned(),
            false => format!(
                "The tables of the running migration would move from {home} to {aside}, and the new ones to {home}, with their state. \
                 Nothing was changed. Add `--execute --why TEXT` to swap."
            ),
        });
    }
}

/// The end of a replay, carried out or only planned.
#[derive(Debug, Serialize)]
struct Dropped {
    executed: bool,
    schema: String,
    /// Its tables.
    tables: Vec<String>,
    tables_dropped: bool,
}

/// Forgets the replay, or prints what that would mean.
pub(super) async fn drop(replay: &Replay, setup: &Setup, into: &Beside, session: &Session) -> anyhow::Result<Exit> {
    let sibling = siblings::find(session, &into.schema).await?;
    let running = processes::live(&setup.session().await?).await?;
    let works = |process: &&processes::Process| {
        [Role::Sink, Role::Reconciler].iter().any(|role| process.roles.contains_key(role.as_str()))
    };
    let names: Vec<&str> = running.iter().filter(works).map(|process| process.instance.as_str()).collect();
    if !names.is_empty() {
        anyhow::bail!("drop the replay into {}: stop its processes first: {}", into.schema, names.join(", "));
    }
    let mut tables: Vec<String> = siblings::tables(session, sibling.id).await?.iter().map(TableName::label).collect();
    if replay.execute {
        // First the log: afterwards nobody knows of the group.
        removal::remove(&setup.config.log, &removal::of_sibling(&setup.config.log)).await?;
        let why = replay.why.as_deref().unwrap_or_default();
        tables = siblings::drop(session, &sibling, replay.steps.tables, (&operator(), why)).await?;
    }
    let dropped = Dropped {
        executed: replay.execute,
        schema: into.schema.clone(),
        tables,
        tables_dropped: replay.execute && replay.steps.tables,
    };
    if replay.json {
        print::json(&dropped)?
    } else {
        dropped.print(replay.steps.tables)
    }
    Ok(Exit::Success)
}

impl Dropped {
    fn print(&self, with_tables: bool) {
        let Self { schema, tables, executed, .. } = self;
        let state = format!(
            "the state of the replay into {schema}: ledger, positions, findings, proofs, guard, and its consumer group"
        );
        let tables = if tables.is_empty() { "no tables".to_owned() } else { tables.join(", ") };
        print::line(match (executed, with_tables) {
            (true, true) => format!("Dropped: {state}; and {tables}."),
            (true, false) => format!("Dropped: {state}. Left: {tables}."),
            (false, true) => format!("Would drop {state}; and {tables}."),
            (false, false) => format!("Would drop {state}, and leave {tables}; `--tables` drops them, too."),
        });
        if !executed {
            print::line("Nothing was changed. Add `--execute --why TEXT` to drop it.");
        }
    }
}
