//! Asks all pairs of a file again and again, in turn, so that neither side and no pair is favoured.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Error,
    ask::{Asked, Asker, Judgement},
    compile::{Compiled, Query},
    draw::Drawn,
    report::{Example, QueryReport},
    timing::Timing,
};
use crate::{postgres::Session, reconcile::Both, retry::Backoff};

/// Bounds of a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How often each pair is asked.
    pub(crate) runs: usize,
    /// How often it is asked before, without being measured or judged.
    pub(crate) warm_up: usize,
    /// How long a pair may be asked again, in all, because its answers cannot be judged.
    pub(crate) wait: Duration,
    /// Delays of the retries of reads from MongoDB.
    pub(crate) backoff: Backoff,
    /// Whether examples hold values.
    pub(crate) reveal: bool,
}

/// Interval at which a pair is asked again.
const ASK_INTERVAL: Duration = Duration::from_millis(50);
/// Examples of each pair that are kept.
const MAX_EXAMPLES: usize = 3;

/// Asks all pairs.
///
/// # Errors
/// Those of either side.
pub(crate) async fn run(
    both: &Both,
    session: &Session,
    compiled: &Compiled,
    bounds: Bounds,
) -> Result<Vec<QueryReport>, Error> {
    let asker = Asker { both, session, search_path: &compiled.search_path, backoff: bounds.backoff };
    for run in 0..bounds.warm_up {
        for query in &compiled.queries {
            asker.ask(query, &query.drawn[run % query.drawn.len()]).await?;
        }
    }
    let mut lines: Vec<Line<'_>> = compiled.queries.iter().map(|query| Line::new(query, both, bounds)).collect();
    for run in 0..bounds.runs {
        for line in &mut lines {
            line.ask(&asker, &line.query.drawn[run % line.query.drawn.len()]).await?;
        }
    }
    Ok(lines.into_iter().map(Line::report).collect())
}

/// A pair and its results so far.
struct Line<'q> {
    query: &'q Query,
    /// How long it may still be asked again.
    patience: Duration,
    reveal: bool,
    postgresql: Vec<Duration>,
    mongodb: Vec<Duration>,
    report: QueryReport,
}

impl<'q> Line<'q> {
    fn new(query: &'q Query, both: &Both, bounds: Bounds) -> Self {
        let collections = query.collections.iter().map(|place| both.plan(*place).collection.clone()).collect();
        Self {
            query,
            patience: bounds.wait,
            reveal: bounds.reveal,
            postgresql: Vec::new(),
            mongodb: Vec::new(),
            report: QueryReport::new(query, collections),
        }
    }

    /// Asks until the answers are judged, as long as patience lasts. Only the first answers are measured.
    async fn ask(&mut self, asker: &Asker<'_>, drawn: &Drawn) -> Result<(), Error> {
        let mut ticks = interval(ASK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut first = true;
        let report = &mut self.report;
        loop {
            ticks.tick().await;
            let began = Instant::now();
            let Asked { judgement, postgresql, mongodb } = asker.ask(self.query, drawn).await?;
            if std::mem::take(&mut first) {
                self.postgresql.extend(postgresql);
                self.mongodb.extend(mongodb);
            } else {
                self.patience = self.patience.saturating_sub(began.elapsed() + ASK_INTERVAL);
            }
            match judgement {
                Judgement::Equal => report.equal += 1,
                Judgement::Different(difference) => {
                    report.different += 1;
                    if report.examples.len() < MAX_EXAMPLES {
                        report.examples.push(Example::new(self.query, drawn, &difference, self.reveal));
                    }
                }
                Judgement::Undecided(_) if !self.patience.is_zero() => continue,
                Judgement::Undecided(reason) => {
                    report.undecided += 1;
                    report.reason = Some(reason);
                }
            }
            return Ok(());
        }
    }

    fn report(self) -> QueryReport {
        QueryReport { postgresql: Timing::of(&self.postgresql), mongodb: Timing::of(&self.mongodb), ..self.report }
    }
}
