//! The promise, kept while the application writes: an edit by hand is named and repaired through the log, and the reads that have
//! moved to PostgreSQL follow the proof.
//!
//! Both edits go to a row whose document the load does not know, so that nothing but the daemon corrects it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use driftless_demo::{Collection, Generator};
use mongodb::bson::Document;

use crate::{
    daemon::{Answer, Daemon},
    say,
    stage::Stage,
    wait::until,
};

/// The unit of reads that moves: without `[reads.units]`, each collection is one.
const UNIT: &str = Collection::Organisations.name();
/// Longest time until a new document has its row; the target may be behind on a busy machine.
const ARRIVAL: Duration = Duration::from_secs(120);
/// Number of users who ask where to read: enough for both sides to get some.
const USERS: usize = 20;
/// The breaks of the proof that an edit by hand causes, as a tripped unit names them: the guard sees the edit, then the delta judges it.
const CAUSES: [&str; 2] = ["was written by somebody else", "documents that drift: 1 "];
/// Exit code of `driftless diff` when both sides are not equal.
const UNEQUAL: i32 = 4;

/// Shows everything; each part must happen within this time.
///
/// # Errors
/// Names the part that did not happen, or the command that failed.
pub(crate) async fn keep(stage: &Stage, daemon: &Daemon, within: Duration, seed: u64) -> anyhow::Result<()> {
    let row = Row::arrive(stage, seed).await?;
    say("\nSomebody edits a row by hand, in a session of PostgreSQL:");
    let edited = row.edit("employees = employees + 1").await?;
    named(daemon, within, &row, edited).await?;
    repair(daemon)?;

    say(&format!("\nHalf of the reads of {UNIT} move to PostgreSQL once the gate is ready:"));
    ready(daemon, within).await?;
    daemon.show(&["cutover", "reads", "--unit", UNIT, "--share", "50%"], 0)?;
    let some = |answers: &Answers| Some(answers.moved()).filter(|moved| (1..USERS).contains(&moved.len()));
    let moved = asked(daemon, within, "the move of the reads", some).await?;

    say("\nSomebody edits the row again:");
    let edited = row.edit("city = 'Atlantis'").await?;
    let why = asked(daemon, within, "the trip of the unit", Answers::tripped).await?;
    say(&format!("The reads went back by themselves {}: {why}", after(edited)));
    ensure!(CAUSES.iter().any(|cause| why.contains(cause)), "the unit has not tripped by the edit");
    named(daemon, within, &row, edited).await?;
    repair(daemon)?;
    let repaired = Instant::now();
    let same = |answers: &Answers| (answers.moved() == moved).then_some(());
    asked(daemon, within, "the return of the reads", same).await?;
    say(&format!("The same users went on by themselves {}.", after(repaired)));

    say("\nOne command takes all reads back:");
    daemon.show(&["cutover", "back", "--unit", UNIT, "--why", "the demo ends"], 0)?;
    let back = |answers: &Answers| answers.0.iter().all(|answer| answer.why == "not_cut_over").then_some(());
    asked(daemon, within, "the end of the unit's share", back).await
}

/// Waits until the daemon has found the edit, and shows what it is.
async fn named(daemon: &Daemon, within: Duration, row: &Row, edited: Instant) -> anyhow::Result<()> {
    until("the finding of the edit", within, async || {
        let found = daemon.status().await?.findings(UNIT);
        Ok(if found > 0 { Ok(()) } else { Err("no finding is open".to_owned()) })
    })
    .await?;
    say(&format!("The daemon found it {}.", after(edited)));
    daemon.show(&["diff", "--collection", UNIT, "--id", &row.id], UNEQUAL)
}

fn repair(daemon: &Daemon) -> anyhow::Result<()> {
    daemon.show(&["repair", "--collection", UNIT], 0)
}

/// Waits until the gate lets the unit through.
async fn ready(daemon: &Daemon, within: Duration) -> anyhow::Result<()> {
    until("the gate of the unit", within, async || {
        let gate = daemon.gate(UNIT).await?;
        let blockers: Vec<_> = gate.blockers.into_iter().map(|blocker| blocker.what).collect();
        Ok(if gate.ready { Ok(()) } else { Err(blockers.join("; ")) })
    })
    .await
}

/// A row that somebody edits past the daemon.
struct Row {
    session: tokio_postgres::Client,
    /// The `_id` of its document.
    id: String,
    slug: String,
}

impl Row {
    /// Adds the document and waits until it has the row.
    async fn arrive(stage: &Stage, seed: u64) -> anyhow::Result<Self> {
        let document = stranger(seed);
        let (id, slug) = (document.get_object_id("_id")?.to_hex(), document.get_str("slug")?.to_owned());
        let organisations = stage.database().await?.collection::<Document>(UNIT);
        organisations.insert_one(&document).await.context("add an organisation")?;
        let row = Self { session: stage.postgres(false).await?, id, slug };
        let sql = "SELECT FROM app.organisations WHERE slug = $1";
        until("the arrival of an organisation in PostgreSQL", ARRIVAL, async || {
            Ok(row.session.query_opt(sql, &[&row.slug]).await?.map(drop).ok_or_else(|| "it has no row".to_owned()))
        })
        .await?;
        Ok(row)
    }

    /// Edits it, and returns when.
    async fn edit(&self, set: &str) -> anyhow::Result<Instant> {
        let sql = format!("UPDATE app.organisations SET {set} WHERE slug = '{}'", self.slug);
        say(&format!("  {sql};"));
        let edited = Instant::now();
        let rows = self.session.execute(&sql, &[]).await.context("edit a row by hand")?;
        ensure!(rows == 1, "the edit by hand changed {rows} rows instead of one");
        Ok(edited)
    }
}

/// Returns a document that is none of the load's with this seed.
fn stranger(seed: u64) -> Document {
    Generator::new(!seed, 1).document(Collection::Organisations, 0)
}

/// The answers to the users, in their order.
struct Answers(Vec<Answer>);

impl Answers {
    /// Returns the users who read from PostgreSQL.
    fn moved(&self) -> Vec<usize> {
        (0..USERS).filter(|user| self.0[*user].reads == "postgresql").collect()
    }

    /// Returns why the unit is tripped, if it is.
    fn tripped(&self) -> Option<String> {
        let reason = |answer: &Answer| answer.detail.clone().filter(|_| answer.why == "tripped");
        self.0.iter().map(reason).collect::<Option<Vec<_>>>()?.pop()
    }
}

/// Asks for each user, as an application does, until the answers are as wanted.
async fn asked<T>(
    daemon: &Daemon,
    within: Duration,
    what: &str,
    wanted: impl Fn(&Answers) -> Option<T>,
) -> anyhow::Result<T> {
    let (found, moved) = until(what, within, async || {
        let mut answers = Answers(Vec::new());
        for user in 0..USERS {
            answers.0.push(daemon.reads(UNIT, &format!("user-{user}")).await?);
        }
        let moved = answers.moved().len();
        let found = wanted(&answers).map(|found| (found, moved));
        Ok(found.ok_or_else(|| format!("{moved} of {USERS} users are sent to PostgreSQL; {:?}", answers.0.last())))
    })
    .await?;
    let left = USERS - moved;
    say(&format!("{USERS} users ask /api/v1/reads/{UNIT}: {moved} are sent to PostgreSQL, {left} to MongoDB."));
    Ok(found)
}

fn after(since: Instant) -> String {
    format!("after {:.1} s", since.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edited_document_is_none_of_the_load() {
        for seed in [0, 1, u64::MAX] {
            let (load, edited) = (Generator::new(seed, 1_000), stranger(seed));
            for index in 0..load.sizes().get(Collection::Organisations) {
                let document = load.document(Collection::Organisations, index);
                assert!(["_id", "slug"].iter().all(|field| document.get(field) != edited.get(field)), "{seed} {index}");
            }
        }
    }
}
