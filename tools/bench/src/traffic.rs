//! Steady writes, and the target observed through them: when each document was sent, and when its row was first visible.
//!
//! ```text
//!   Writing ── insert_many every 10 ms ──▶ MongoDB ─▶ … ─▶ PostgreSQL ◀── a query every 2 ms ── Seeing
//!      └────────── sent[number] ───────────────────────────────────────────── seen[number] ───────┘
//! ```
//! The schedule is open: a slow answer does not delay the next write. A latency includes the poll that saw the row, so it is
//! up to one pause and one query longer than the true one.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bson::raw::RawDocumentBuf;
use mongodb::Database;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Statement};

use crate::users::{USERS, Users};

const TICK: Duration = Duration::from_millis(10);
const TICKS_A_SECOND: u32 = 100;
/// Writers that take the ticks in turn.
const WRITERS: u32 = 4;
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Documents that are being written.
pub(crate) struct Writing {
    first: u64,
    each: u32,
    sent: Arc<Vec<OnceLock<Instant>>>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// The rows that have arrived for these documents.
pub(crate) struct Seeing {
    client: Client,
    newer: Statement,
    first: u64,
    sent: Arc<Vec<OnceLock<Instant>>>,
    seen: Vec<Option<Instant>>,
    /// Every row before this place was seen.
    complete: usize,
    /// A document more than this many places behind another one was not sent before it.
    window: usize,
}

impl Writing {
    /// Starts to insert documents numbered from `first` on, `rate` a second, for at most `longest`.
    pub(crate) fn start(database: &Database, users: Users, first: u64, rate: u32, longest: Duration) -> Self {
        let each = (rate / TICKS_A_SECOND).max(1);
        let ticks = longest.as_millis() as u32 / TICK.as_millis() as u32;
        let sent: Arc<Vec<OnceLock<Instant>>> = Arc::new((0..each * ticks).map(|_| OnceLock::new()).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let began = Instant::now() + TICK;
        let writers = (0..WRITERS).map(|writer| {
            let (collection, sent, stop) = (database.collection::<RawDocumentBuf>(USERS), sent.clone(), stop.clone());
            tokio::spawn(async move {
                for tick in (writer..ticks).step_by(WRITERS as usize) {
                    let numbers = u64::from(tick * each)..u64::from((tick + 1) * each);
                    let documents = users.documents(first + numbers.start..first + numbers.end);
                    tokio::time::sleep_until((began + TICK * tick).into()).await;
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let now = Instant::now();
                    for number in numbers {
                        // Each number is written once, so the cell was empty.
                        let _ = sent[number as usize].set(now);
                    }
                    collection.insert_many(documents).ordered(false).await?;
                }
                Ok(())
            })
        });
        Self { first, each, writers: writers.collect(), sent, stop }
    }

    /// Returns an observer of the rows that these writes cause.
    pub(crate) async fn seen_by(&self, client: Client) -> anyhow::Result<Seeing> {
        let newer = client.prepare(&format!("SELECT seq FROM {USERS} WHERE seq >= $1")).await?;
        let seen = vec![None; self.sent.len()];
        let window = (self.each * WRITERS * 2) as usize;
        Ok(Seeing { client, newer, first: self.first, sent: self.sent.clone(), seen, complete: 0, window })
    }

    /// Returns whether the writers are still writing.
    pub(crate) fn goes_on(&self) -> bool {
        self.writers.iter().any(|writer| !writer.is_finished())
    }

    /// Stops writing.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await??;
        }
        Ok(())
    }
}

impl Seeing {
    /// Looks at the target once, then pauses briefly.
    pub(crate) async fn look(&mut self) -> anyhow::Result<()> {
        let from = (self.first + self.complete as u64) as i64;
        let rows = self.client.query(&self.newer, &[&from]).await?;
        let now = Instant::now();
        for row in rows {
            let place = (row.get::<_, i64>(0) as u64 - self.first) as usize;
            if let Some(seen) = self.seen.get_mut(place) {
                seen.get_or_insert(now);
            }
        }
        while self.seen.get(self.complete).is_some_and(Option::is_some) {
            self.complete += 1;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        Ok(())
    }

    /// Looks until everything that was sent is seen, or for at most `longest`; returns whether everything is seen.
    pub(crate) async fn until_all(&mut self, longest: Duration) -> anyhow::Result<bool> {
        let began = Instant::now();
        loop {
            self.look().await?;
            if self.waiting().is_none() {
                return Ok(true);
            }
            if began.elapsed() > longest {
                return Ok(false);
            }
        }
    }

    /// Returns the age of the oldest document that has no row yet; 0 when there is none.
    pub(crate) fn staleness(&self) -> Duration {
        self.waiting().map_or(Duration::ZERO, |sent| sent.elapsed())
    }

    fn waiting(&self) -> Option<Instant> {
        let open = self.sent.iter().zip(&self.seen).skip(self.complete).take(self.window);
        open.filter(|(_, seen)| seen.is_none()).filter_map(|(sent, _)| sent.get().copied()).min()
    }

    /// Returns the milliseconds from sent to seen of documents sent at `since` or later; documents never seen are left out.
    pub(crate) fn latencies_ms(&self, since: Instant) -> Vec<f64> {
        let pairs = self.sent.iter().zip(&self.seen);
        let pairs = pairs.filter_map(|(sent, seen)| Some((*sent.get()?, (*seen)?)));
        pairs.filter(|(sent, _)| *sent >= since).map(|(sent, seen)| (seen - sent).as_secs_f64() * 1_000.0).collect()
    }

    /// Returns when the first document from `place` on was seen; an earlier call of [`Seeing::place`] returned that place.
    pub(crate) fn first_from(&self, place: usize) -> Option<Instant> {
        self.seen.iter().skip(place).take(10 * self.window).flatten().min().copied()
    }

    /// Returns a place behind everything that was sent so far.
    pub(crate) fn place(&self) -> usize {
        self.sent() as usize + self.window
    }

    /// Returns the number of documents sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.iter().filter(|sent| sent.get().is_some()).count() as u64
    }
}
