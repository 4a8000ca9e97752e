//! `driftless pause` and `driftless resume`: roles and collections rest while an operator wants it.

use std::{collections::BTreeSet, path::Path, time::Duration};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    Exit, print, requests,
    setup::{Setup, operator},
};
use crate::{
    control::{
        pauses::{self, Subject},
        processes,
    },
    log::Topics,
    model::Namespace,
    postgres::{Session, migrate},
    reconcile::blockers::{leader, span},
    status::{Led, Role},
};

/// Pause roles, or the application of collections.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    which: Which,
    /// The reason; it is shown and recorded.
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Resume by itself after this time [default: when somebody resumes].
    #[arg(long = "for", value_name = "DURATION", value_parser = requests::wait)]
    duration: Option<Duration>,
    /// Pause even for longer than the servers keep what is missed.
    #[arg(long)]
    force: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Resume what is paused; a role that has halted tries again.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    which: Which,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Which roles and collections.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// This role, in every process; may be repeated.
    #[arg(long = "role", value_enum, value_name = "ROLE")]
    roles: Vec<RoleArg>,
    /// The changes of this collection; may be repeated.
    #[arg(long = "collection", value_name = "NAME")]
    collections: Vec<String>,
}

/// A role as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleArg {
    /// Reads MongoDB and writes the log.
    Source,
    /// Reads the log and writes PostgreSQL.
    Sink,
    /// Compares both sides.
    Reconciler,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Source => Self::Source,
            RoleArg::Sink => Self::Sink,
            RoleArg::Reconciler => Self::Reconciler,
        }
    }
}

impl Which {
    fn subjects(&self, setup: &Setup) -> anyhow::Result<Vec<Subject>> {
        let mapped = setup.collections();
        if let Some(unknown) = self.collections.iter().find(|name| !mapped.contains_key(*name)) {
            let known = mapped.into_keys().collect::<Vec<_>>().join(", ");
            anyhow::bail!("find collection {unknown} in the mapping: it has {known}");
        }
        let roles = self.roles.iter().map(|role| Subject::Role(Role::from(*role).as_str().to_owned()));
        Ok(roles.chain(self.collections.iter().cloned().map(Subject::Collection)).collect())
    }
}

/// How long something may rest until a server has deleted what it misses.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Margin {
    /// The things that are deleted, and where.
    what: &'static str,
    /// `None`: it is not known.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    margin: Option<Duration>,
}

fn seconds<S: serde::Serializer>(margin: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    margin.map(|margin| margin.as_secs()).serialize(serializer)
}

/// Returns how long the history of the source reaches back: a stream that rests longer cannot go on.
fn history(led: Option<&Led>) -> Margin {
    let margin = led.and_then(Led::margin_s).map(Duration::from_secs);
    Margin { what: "the history of changes in MongoDB (its oplog)", margin }
}

impl Pause {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        let subjects = self.which.subjects(&setup)?;
        if subjects.is_empty() {
            anyhow::bail!("pause nothing: name a --role or a --collection");
        }
        let session = setup.session().await?;
        migrate(&session).await?;
        let margins = self.margins(&setup, &session).await?;
        for Margin { what, margin } in &margins {
            if let (Some(margin), Some(wanted), false) = (margin, self.duration, self.force)
                && wanted > *margin
            {
                anyhow::bail!(
                    "pause for {}: {what} reaches back {} only, so changes would be lost (make it longer first, or use --force)",
                    span(wanted),
                    span(*margin)
                );
            }
        }
        pauses::pause(&session, &subjects, self.duration.map(|wanted| wanted.as_secs_f64()), &operator(), &self.why)
            .await?;
        if self.json {
            print::json(&serde_json::json!({ "paused": names(&subjects), "margins": margins }))?;
            return Ok(Exit::Success);
        }
        print::line(format!("Paused: {}. Open work is finished first.", names(&subjects).join(", ")));
        for Margin { what, margin } in margins {
            print::line(match margin {
                Some(margin) => format!("Resume within {}: {what} reaches back no further.", span(margin)),
                None => format!("It is not known how far {what} reaches back; resume before it ends."),
            });
        }
        Ok(Exit::Success)
    }

    /// Returns the margins that a pause of these subjects uses up.
    async fn margins(&self, setup: &Setup, session: &Session) -> anyhow::Result<Vec<Margin>> {
        let mut margins = Vec::new();
        let paused = |role: RoleArg| self.which.roles.contains(&role);
        if paused(RoleArg::Source) || paused(RoleArg::Reconciler) {
            let processes = processes::live(session).await?;
            let led = leader(&processes);
            // A server that has deleted nothing so far has no end of its history yet.
            if !led.is_some_and(|led| led.whole) {
                margins.push(history(led));
            }
        }
        let names: BTreeSet<String> = match paused(RoleArg::Sink) {
            true => setup.names().into_iter().collect(),
            false => self.which.collections.iter().cloned().collect(),
        };
        if !names.is_empty() && setup.config.log.cleanup_policy.contains("delete") {
            let database = &setup.config.source.database;
            let namespaces: Vec<Namespace> = names.iter().map(|name| Namespace::new(database, name)).collect();
            if let Some(margin) = Topics::retention(&setup.config.log, &namespaces).await? {
                margins.push(Margin { what: "the log (retention.ms)", margin: Some(margin) });
            }
        }
        Ok(margins)
    }
}

impl Resume {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        let session = setup.session().await?;
        migrate(&session).await?;
        let mut subjects = self.which.subjects(&setup)?;
        if subjects.is_empty() {
            let paused = pauses::read(&session).await?;
            subjects.extend(Role::ALL.map(|role| Subject::Role(role.as_str().to_owned())));
            subjects.extend(paused.collections.into_keys().map(Subject::Collection));
        }
        pauses::resume(&session, &subjects, &operator()).await?;
        if self.json {
            print::json(&serde_json::json!({ "resumed": names(&subjects) }))?;
        } else {
            print::line(format!("Resumed: {}. A role that has halted tries again.", names(&subjects).join(", ")));
        }
        Ok(Exit::Success)
    }
}

fn names(subjects: &[Subject]) -> Vec<String> {
    let name = |subject: &Subject| match subject {
        Subject::Role(name) => format!("the {name}"),
        Subject::Collection(name) => format!("collection {name}"),
    };
    subjects.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClusterTime;

    #[test]
    fn the_margin_is_the_distance_of_the_leader_from_the_end_of_the_oplog() {
        let at = |t| Some(ClusterTime { t, i: 1 });
        let led = Led { oldest: at(1_000), position: at(4_600), ..Led::default() };
        assert_eq!(history(Some(&led)).margin, Some(Duration::from_secs(3_600)));
        for unknown in [Led { oldest: None, ..led.clone() }, Led { position: None, ..led }] {
            assert_eq!(history(Some(&unknown)).margin, None);
        }
        assert_eq!(history(None).margin, None);
    }
}
