//! `driftless mapping apply`.

use clap::Args;

use super::{Compared, Report, route::Route, show};
use crate::{
    cli::{
        Exit, print,
        schema::create,
        setup::{Setup, operator},
    },
    control::mapping::{self, Change},
    mapping::Effect,
};

/// Let the running migration go on with the mapping file.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Create the tables and columns that the target lacks first, as `driftless schema apply --missing` does.
    #[arg(long)]
    schema: bool,
    /// Record the mapping. Without it the command prints what it would do.
    #[arg(long, requires = "why", conflicts_with = "dry_run")]
    execute: bool,
    /// Print what would be done, and change nothing: the default.
    #[arg(long)]
    dry_run: bool,
    /// The reason; it is recorded.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Apply {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let session = setup.session().await?;
        let mut compared = Compared::read(setup, &session).await?;
        if !self.execute {
            return show(&Report::new(&compared, false), self.json);
        }
        if self.schema && !compared.statements.is_empty() {
            create(setup, &compared.statements).await?;
            let created = std::mem::take(&mut compared.statements);
            compared = Compared::read(setup, &session).await?;
            if !self.json {
                created.iter().for_each(|statement| print::line(format!("{statement};")));
                print::line(format!("{} run.", print::count(created.len(), "statement")));
            }
        }
        if compared.is_recorded || !compared.faults.is_empty() {
            return show(&Report::new(&compared, false), self.json);
        }
        let (mut replays, mut snapshots) = (Vec::new(), Vec::new());
        for changed in &compared.collections {
            match &changed.route {
                Some(Route::Replay { moves, .. }) => replays.extend_from_slice(moves),
                Some(Route::Snapshot(_)) => snapshots.push(changed.remapped.collection.clone()),
                None => {}
            }
        }
        let changed = compared.names(|changed| matches!(changed.remapped.effect, Effect::Rewritten | Effect::SameRows));
        let change = Change {
            known: Some(compared.recorded.number),
            file: &setup.mapping,
            plan: &compared.plan,
            replays: &replays,
            snapshots: &snapshots,
            changed: &changed,
            who: &operator(),
            why: self.why.as_deref().unwrap_or_default(),
        };
        if mapping::apply(&session, &change).await?.is_none() {
            anyhow::bail!("record the mapping: somebody else has recorded another one meanwhile; compare again");
        }
        show(&Report::new(&compared, true), self.json)
    }
}
