//! `driftless replay`: applies records of the log again, while the daemon runs.
//!
//! ```text
//!  flags ─▶ chosen partitions ─▶ positions, ends of the log ─▶ plan ─▶ report ─▶ with --execute: moved in one transaction
//! ```

mod arguments;
mod follow;
mod into;
mod report;
mod swap;
mod target;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use clap::{ArgGroup, Args};
use jiff::{SignedDuration, Timestamp};

use self::{
    arguments::TopicArgument,
    report::Report,
    target::{Chosen, Target, place},
};
use super::{
    Exit,
    finding::Finding,
    print,
    setup::{IntoArgs, Setup, operator},
};
use crate::{
    control::replay::{self, Applied},
    log::{Offsets, Topic, TopicPartition, Topics, topic_name},
    mapping::Plan,
    model::Namespace,
    postgres::{Session, read_catalog},
};

/// Apply records of the log again, while the daemon runs.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").args(["collections", "topics", "all_topics", "from_file", "into"]).required(true).multiple(true)))]
#[command(group(ArgGroup::new("to").args(["to_earliest", "to_offset", "to_datetime", "by_duration", "shift_by", "from_file", "into"]).required(true)))]
pub(crate) struct Replay {
    /// Replay this collection; may be repeated.
    #[arg(long = "collection", value_name = "NAME", conflicts_with = "into")]
    collections: Vec<String>,
    /// Replay only this partition of the topics of the collections; may be repeated.
    #[arg(long = "partition", value_name = "NUMBER", requires = "collections")]
    partitions: Vec<i32>,
    /// Replay this topic, or some of its partitions; may be repeated.
    #[arg(long = "topic", value_name = "TOPIC[:PARTITIONS]", value_parser = arguments::topic, conflicts_with = "into")]
    topics: Vec<TopicArgument>,
    /// Replay the topics of all collections of the mapping.
    #[arg(long, conflicts_with_all = ["collections", "topics", "into"])]
    all_topics: bool,
    /// Replay from the first record that the log holds.
    #[arg(long)]
    to_earliest: bool,
    /// Replay from this offset.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// Replay from the first record at or after this time, by the clock of the source; UTC unless it has an offset.
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    to_datetime: Option<Timestamp>,
    /// Replay from the first record of the last so long, for example `PT1H30M`.
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    by_duration: Option<SignedDuration>,
    /// Replay from so many offsets before the present position, for example `-1000`.
    #[arg(long, value_name = "NUMBER", value_parser = arguments::shift, allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// Replay from the offsets in this file: lines `topic,partition,offset`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["collections", "topics", "all_topics"])]
    from_file: Option<PathBuf>,
    #[command(flatten)]
    into: IntoArgs,
    #[command(flatten)]
    steps: into::Steps,
    /// Do it. Without it the command prints what it would do.
    #[arg(long, requires = "why", conflicts_with = "dry_run")]
    execute: bool,
    /// Print what would be done, and change nothing: the default.
    #[arg(long)]
    dry_run: bool,
    /// The reason; it is recorded.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Show the progress until everything is applied again. An interruption does not stop the replay.
    #[arg(long, requires = "execute", conflicts_with_all = ["json", "into"])]
    follow: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Partitions by topic; none: all of them.
type Which = BTreeMap<String, BTreeSet<i32>>;

impl Replay {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load_into(path, &self.into) else { return Ok(Exit::Faults) };
        if let Some(into) = setup.into.as_ref().filter(|_| self.into.into.is_some()) {
            return into::execute(&self, &setup, into).await;
        }
        match self.plan(&setup).await? {
            Ok((session, report)) => self.act(&session, report).await,
            Err(faults) => {
                print::faults(&faults);
                Ok(Exit::Faults)
            }
        }
    }

    /// Looks up everything that the replay rests on; changes nothing.
    async fn plan(&self, setup: &Setup) -> anyhow::Result<Result<(Session, Report), Vec<Finding>>> {
        let target = match self.target() {
            Ok(target) => target,
            Err(faults) => return Ok(Err(faults)),
        };
        let (which, names) = match self.which(setup, &target) {
            Ok(which) => which,
            Err(faults) => return Ok(Err(faults)),
        };
        let session = setup.session().await?;
        let mapping = match Plan::compile(&setup.mapping, &read_catalog(&session).await?) {
            Ok(plan) => plan,
            Err(faults) => return Ok(Err(faults.into_iter().map(Finding::from).collect())),
        };
        let applied = replay::applied(&session).await?;
        let database = &setup.config.source.database;
        let namespaces: Vec<Namespace> = names.iter().map(|name| Namespace::new(database, name)).collect();
        let topics = Topics::find(&setup.config.log, &namespaces).await?;
        let partitions = match partitions(&which, topics.collections()) {
            Ok(partitions) => partitions,
            Err(faults) => return Ok(Err(faults)),
        };
        let offsets = Offsets::new(&setup.config.log)?;
        let chosen = chosen(&target, &partitions, &topics, &applied, &offsets).await?;
        let plan = match target::plan(&target, &chosen) {
            Ok(plan) => plan,
            Err(faults) => return Ok(Err(faults)),
        };
        let starts = plan.moves.iter().map(|planned| (planned.wanted.partition.clone(), planned.first));
        let times = offsets.times(starts.collect()).await?;
        Ok(Ok((session, Report::new(plan, times, &applied, &mapping, &names, &setup.config.sink))))
    }

    async fn act(self, session: &Session, mut report: Report) -> anyhow::Result<Exit> {
        if self.execute && !report.is_empty() {
            let why = self.why.as_deref().unwrap_or_default();
            report.moved(replay::replay(session, &report.moves(), &operator(), why).await?);
        }
        if self.json {
            print::json(&report)?;
        } else {
            report.print();
        }
        if report.is_empty() {
            return Ok(Exit::Failure);
        }
        if self.follow {
            follow::follow(session, report.executed()).await?;
        }
        Ok(Exit::Success)
    }

    fn target(&self) -> Result<Target, Vec<Finding>> {
        if let Some(file) = &self.from_file {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).map_err(|error| {
                let hint = "name a file with lines `topic,partition,offset`".to_owned();
                vec![Finding { place: name.clone(), what: format!("the file cannot be read: {error}"), hint }]
            })?;
            return arguments::offsets(&text, &name).map(Target::File);
        }
        let time = self.by_duration.map(|by| Timestamp::now() - by).or(self.to_datetime);
        let offset = self.to_offset.map(Target::Offset).or(self.shift_by.map(Target::Shift));
        Ok(offset.or(time.map(Target::Time)).unwrap_or(Target::Earliest))
    }

    /// Returns the chosen topics, and their collections.
    fn which(&self, setup: &Setup, target: &Target) -> Result<(Which, Vec<String>), Vec<Finding>> {
        let config = &setup.config;
        let topic_of = |name: &String| topic_name(&config.log.prefix, &Namespace::new(&config.source.database, name));
        let known: BTreeMap<String, String> = setup.names().into_iter().map(|name| (topic_of(&name), name)).collect();
        let mut which = Which::new();
        for name in &self.collections {
            which.entry(topic_of(name)).or_default().extend(&self.partitions);
        }
        for TopicArgument { topic, partitions } in &self.topics {
            which.entry(topic.clone()).or_default().extend(partitions);
        }
        if self.all_topics {
            which.extend(known.keys().map(|topic| (topic.clone(), BTreeSet::new())));
        }
        if let Target::File(offsets) = target {
            for TopicPartition { topic, partition } in offsets.keys() {
                which.entry(topic.to_string()).or_default().insert(*partition);
            }
        }
        let unknown = which.keys().filter(|topic| !known.contains_key(*topic)).map(|topic| Finding {
            place: topic.clone(),
            what: "no collection of the mapping has this topic".to_owned(),
            hint: format!("the topics are {}", known.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
        });
        let faults: Vec<Finding> = unknown.collect();
        let names =
            known.iter().filter(|(topic, _)| which.contains_key(*topic)).map(|(_, name)| name.clone()).collect();
        if faults.is_empty() { Ok((which, names)) } else { Err(faults) }
    }
}

/// Returns the chosen partitions of the topics as the brokers have them.
fn partitions(which: &Which, topics: &[Topic]) -> Result<Vec<TopicPartition>, Vec<Finding>> {
    let mut partitions = Vec::new();
    let mut faults = Vec::new();
    for topic in topics {
        let Some(numbers) = which.get(&*topic.name) else { continue };
        let all = (0..topic.partitions).collect();
        for &number in if numbers.is_empty() { &all } else { numbers } {
            let partition = TopicPartition { topic: topic.name.clone(), partition: number };
            if (0..topic.partitions).contains(&number) {
                partitions.push(partition);
            } else {
                faults.push(Finding {
                    place: place(&partition),
                    what: "the topic has no such partition".to_owned(),
                    hint: format!("its partitions are 0 to {}", topic.partitions - 1),
                });
            }
        }
    }
    if faults.is_empty() { Ok(partitions) } else { Err(faults) }
}

async fn chosen(
    target: &Target,
    partitions: &[TopicPartition],
    topics: &Topics,
    applied: &[Applied],
    offsets: &Offsets,
) -> anyhow::Result<Vec<Chosen>> {
    let ends = offsets.ends(partitions).await?;
    let since = match target {
        Target::Time(time) => offsets.since(partitions, *time).await?,
        _ => vec![None; partitions.len()],
    };
    let chosen = partitions.iter().zip(ends).zip(since).map(|((partition, (beginning, _)), since)| {
        let position = applied.iter().find(|applied| applied.partition == *partition);
        Chosen {
            partition: partition.clone(),
            topic_id: topics.named(&partition.topic).and_then(|topic| topic.id.clone()),
            applied_topic_id: position.and_then(|position| position.topic_id.clone()),
            next_offset: position.and_then(|position| position.next_offset),
            reread_to: position.and_then(|position| position.reread_to),
            beginning,
            since,
        }
    });
    Ok(chosen.collect())
}
