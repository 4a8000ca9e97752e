//! `driftless replay --into`: a replay into a fresh schema, beside the running migration.
//!
//! ```text
//!  --create ─▶ (nothing) begins it ─▶ `driftless run --into` fills and proves it ─▶ --swap, or --drop
//! ```
//! Each of them only prints what it would do without `--execute`.

use std::{collections::BTreeSet, time::Duration};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Replay, report, swap, target::place};
use crate::{
    cli::{
        Exit,
        finding::Finding,
        print, schema,
        setup::{Beside, Setup, operator},
    },
    control::siblings::{self, Begun},
    log::{Offsets, TopicPartition, Topics},
    mapping::Plan,
    pipeline::namespaces,
    postgres::{Session, faults_of_target, identity, read_catalog},
};

/// The steps of a replay into a fresh schema.
#[derive(Debug, Args)]
pub(crate) struct Steps {
    /// With `--into`: create the schema, and the tables and columns that the mapping names and the schema lacks.
    #[arg(long, requires = "into", conflicts_with_all = ["swap", "drop", "all_topics", "collections", "topics", "from_file"])]
    create: bool,
    /// With `--into`: exchange its tables and state with those of the running migration, in one transaction.
    #[arg(long, requires = "into", conflicts_with_all = ["drop", "all_topics", "collections", "topics", "from_file"])]
    swap: bool,
    /// The schema that takes the tables of the running migration [default: their schema with `_before`].
    #[arg(long, value_name = "SCHEMA", requires = "swap")]
    pub(super) aside: Option<String>,
    /// With `--into`: begin although the topics lack their beginning, or swap although something stands against it.
    #[arg(long, requires = "into", conflicts_with_all = ["drop", "all_topics", "collections", "topics", "from_file"])]
    pub(super) force: bool,
    /// With `--into`: forget it; its tables stay.
    #[arg(long, requires = "into", conflicts_with_all = ["all_topics", "collections", "topics", "from_file"])]
    drop: bool,
    /// Drop its tables, too.
    #[arg(long, requires = "drop")]
    pub(super) tables: bool,
}

/// The beginning of a replay into a schema, carried out or only planned.
#[derive(Debug, Serialize)]
struct Report {
    executed: bool,
    schema: String,
    tables: BTreeSet<String>,
    partitions: Vec<Line>,
    /// Records at most: the offsets of the log's own marks count too.
    records: u64,
    /// About how long it takes, at a rate that every sink should reach.
    estimate_seconds: u64,
    #[serde(skip)]
    rate: u64,
}

#[derive(Debug, Serialize)]
struct Line {
    topic: String,
    partition: i32,
    first_offset: i64,
    end_offset: i64,
    /// Source time of the first record.
    from: Option<Timestamp>,
}

/// Carries out a step.
pub(super) async fn execute(replay: &Replay, setup: &Setup, into: &Beside) -> anyhow::Result<Exit> {
    let steps = &replay.steps;
    if steps.create {
        return schema::add(setup, !replay.execute).await;
    }
    let session = setup.running().await?;
    if steps.swap {
        return swap::swap(replay, setup, into, &session).await;
    }
    if steps.drop {
        return swap::drop(replay, setup, into, &session).await;
    }
    let mut report = match plan(replay, setup, &session).await? {
        Ok(report) => report,
        Err(faults) => {
            print::faults(&faults);
            print::line(
                "`--create` shows the statements that add what the schema lacks, and runs them with `--execute --why TEXT`.",
            );
            return Ok(Exit::Faults);
        }
    };
    let mut outcome = "Nothing was changed. Add `--execute --why TEXT` to begin.".to_owned();
    if replay.execute {
        let why = replay.why.as_deref().unwrap_or_default();
        let begun = siblings::begin(&session, &into.schema, &into.mapping, (&operator(), why)).await?;
        let run = format!("`driftless run --into {}` with the same mapping fills and proves it", into.schema);
        outcome = match begun {
            Begun::Now => format!("Begun. {run}; `driftless status --into {}` shows how far it is.", into.schema),
            Begun::Before => format!("It was begun before, with this mapping. {run}."),
            Begun::OtherMapping => anyhow::bail!(
                "replay into {}: another mapping is being replayed there; drop that first (`--drop`), or name another schema",
                into.schema
            ),
            Begun::NotRunning => anyhow::bail!(
                "replay into {}: the running migration has no mapping yet, the first sink that starts records its own; start the daemon first",
                into.schema
            ),
        };
        report.executed = true;
    }
    if replay.json {
        print::json(&report)?
    } else {
        report.print(&outcome)
    }
    Ok(Exit::Success)
}

/// Looks up everything that the replay rests on; changes nothing.
async fn plan(replay: &Replay, setup: &Setup, session: &Session) -> anyhow::Result<Result<Report, Vec<Finding>>> {
    let Setup { config, mapping, .. } = setup;
    let plan = match Plan::compile(mapping, &read_catalog(session).await?) {
        Ok(plan) => plan,
        Err(faults) => return Ok(Err(faults.into_iter().map(Finding::from).collect())),
    };
    let schema = config.sink.into.as_deref();
    let unfit = faults_of_target(session, &plan).await?.into_iter().filter(|fault| fault.stops);
    let mut faults: Vec<Finding> =
        unfit.map(|fault| Finding { place: "sink".to_owned(), what: fault.what, hint: fault.hint }).collect();
    let own = identity::name(&config.log.prefix, schema);
    for taken in identity::tables_taken(session, &plan).await?.into_iter().filter(|taken| taken.prefix != own) {
        faults.push(Finding {
            place: taken.table,
            what: format!("the migration {} writes this table", taken.prefix),
            hint: "name another schema with --into".to_owned(),
        });
    }
    let topics = Topics::find(&config.log, &namespaces(config, &plan)).await?;
    let partitions = topics.partitions();
    let offsets = Offsets::new(&config.log)?;
    let ends = offsets.ends(&partitions).await?;
    let starts = partitions.iter().cloned().zip(ends.iter().map(|(first, _)| *first)).collect();
    let times = offsets.times(starts).await?;
    let lines: Vec<Line> = partitions
        .iter()
        .zip(ends)
        .zip(times)
        .map(|((partition, ends), from)| Line::new(partition, ends, from))
        .collect();
    faults.extend(
        lines.iter().filter(|line| line.first_offset > 0 && !replay.steps.force).map(Line::lacks_its_beginning),
    );
    if !faults.is_empty() {
        return Ok(Err(faults));
    }
    let records = lines.iter().map(|line| report::records(line.first_offset, line.end_offset)).sum::<u64>();
    let rate = report::rate(&config.sink);
    Ok(Ok(Report {
        executed: false,
        schema: schema.unwrap_or_default().to_owned(),
        tables: plan.collections().iter().flat_map(|plan| &plan.tables).map(|table| table.table.label()).collect(),
        partitions: lines,
        records,
        estimate_seconds: records.div_ceil(rate),
        rate,
    }))
}

impl Line {
    fn new(of: &TopicPartition, (first_offset, end_offset): (i64, i64), from: Option<Timestamp>) -> Self {
        Self { topic: of.topic.to_string(), partition: of.partition, first_offset, end_offset, from }
    }

    fn lacks_its_beginning(&self) -> Finding {
        let partition = TopicPartition { topic: self.topic.as_str().into(), partition: self.partition };
        Finding {
            place: place(&partition),
            what: format!(
                "its records before offset {} are deleted: documents that have not changed since are missing",
                self.first_offset
            ),
            hint: "begin with --force, and have the running migration read the collection again once the replay runs: \
                   `driftless snapshot start C`; both take what it reads"
                .to_owned(),
        }
    }
}

impl Report {
    fn print(&self, outcome: &str) {
        let mut table = print::table(["topic", "partition", "records", "from"]);
        for line in &self.partitions {
            let records = report::records(line.first_offset, line.end_offset).to_string();
            let from = line.from.map_or_else(|| "unknown".to_owned(), print::time);
            table.add_row([line.topic.clone(), line.partition.to_string(), records, from]);
        }
        print::line(table);
        print::line(format!(
            "Up to {} are applied to {}. The tables of the running migration stay as they are.",
            print::count(usize::try_from(self.records).unwrap_or(usize::MAX), "record"),
            self.tables.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        ));
        let estimate = Duration::from_secs(self.estimate_seconds);
        print::line(format!(
            "That takes about {estimate:?} at {} records a second, and a comparison of everything.",
            self.rate
        ));
        print::line(outcome);
    }
}
