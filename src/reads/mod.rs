//! Where the application reads each unit, as this process knows it, and the task that keeps it so.
//!
//! ```text
//!  facts ─▶ judge ─▶ driftless.read_unit ◀─ driftless cutover reads | back
//!                          │ NOTIFY, and a look once a second
//!                          ▼
//!                        Reads ─▶ HTTP, OFREP, file        SQL: driftless.reads
//! ```
//! The row of a unit in PostgreSQL is the truth. Reads go to PostgreSQL only while a judgement of the unit holds: it expires by itself,
//! so a unit that nobody judges reads from MongoDB everywhere, and so does a process that cannot read the row.

mod bucket;
mod file;
mod judge;
mod report;
mod watch;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

use self::bucket::bucket;
pub(crate) use self::{
    file::File,
    judge::accepted,
    report::{UnitReport, UnitStatus},
    watch::Watch,
};
use crate::{
    config::{self, Config},
    control::reads::{Share, UnitRow},
};

/// The database that a read goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// The source, which is always right.
    Mongodb,
    /// The target.
    Postgresql,
}

/// The reason of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The share decides, by the key where it is not all.
    Share,
    /// The share is 0.
    NotCutOver,
    /// The share is neither 0 nor all, and the caller names no key.
    KeyMissing,
    /// The proof broke.
    Tripped(String),
    /// It is not known whether the reads follow the proof.
    Unknown(String),
}

/// An answer to the question where a read goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The database.
    pub(crate) side: Side,
    /// The reason.
    pub(crate) why: Why,
    /// The epoch of the unit's row; 0 where it is not known.
    pub(crate) epoch: i64,
}

/// The state of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Its name.
    pub(crate) name: String,
    /// Its collections.
    pub(crate) collections: Vec<String>,
    /// The share that an operator wished.
    pub(crate) wish: Share,
    /// Why it is tripped.
    pub(crate) tripped: Option<String>,
    /// For how long the last judgement of it still holds; zero if none does.
    pub(crate) judged_for: Duration,
    /// When it last changed, in milliseconds since 1970.
    pub(crate) since_ms: i64,
    /// How often it has changed.
    pub(crate) epoch: i64,
}

impl Unit {
    /// The state of a unit, read this long ago.
    fn new(name: &str, collections: &[String], row: Option<&UnitRow>, ago: Duration) -> Self {
        let row = row.cloned().unwrap_or_default();
        Self {
            name: name.to_owned(),
            collections: collections.to_vec(),
            wish: row.share,
            tripped: row.tripped,
            judged_for: row.judged_for.saturating_sub(ago),
            since_ms: row.since_ms,
            epoch: row.epoch,
        }
    }

    /// The state of a unit, if these are the rows that were read this long ago.
    pub(crate) fn among(unit: &config::Unit, rows: &[UnitRow], ago: Duration) -> Self {
        Self::new(&unit.name, &unit.collections, rows.iter().find(|row| row.unit == unit.name), ago)
    }

    /// Returns why its reads go where they go.
    pub(crate) fn why(&self) -> Why {
        match &self.tripped {
            Some(reason) => Why::Tripped(reason.clone()),
            None if self.wish == Share::NONE => Why::NotCutOver,
            None if self.judged_for.is_zero() => Why::Unknown("no process judges the unit".to_owned()),
            None => Why::Share,
        }
    }

    /// Returns the share of the keys whose reads go to PostgreSQL now.
    pub(crate) fn share(&self) -> Share {
        if self.why() == Why::Share { self.wish } else { Share::NONE }
    }

    /// Returns where the reads of this key go.
    pub(crate) fn answer(&self, key: Option<&str>) -> Answer {
        let (side, why) = match (self.why(), key) {
            (Why::Share, _) if self.wish == Share::ALL => (Side::Postgresql, Why::Share),
            (Why::Share, Some(key)) if bucket(&self.name, key) < self.wish.hundredths() => {
                (Side::Postgresql, Why::Share)
            }
            (Why::Share, None) => (Side::Mongodb, Why::KeyMissing),
            (why, _) => (Side::Mongodb, why),
        };
        Answer { side, why, epoch: self.epoch }
    }
}

/// The state of all units, as this process knows it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reads(Arc<Shared>);

struct Shared {
    units: Vec<config::Unit>,
    max_age: Duration,
    known: tokio::sync::watch::Sender<Known>,
}

/// The rows, as far as a process knows them.
#[derive(Clone, Debug)]
enum Known {
    /// Nothing, for this reason.
    Nothing(String),
    /// The rows at this time.
    Rows(Instant, Vec<UnitRow>),
}

impl Reads {
    /// Creates the state of the units that the configuration makes out of the mapped collections; nothing is known at first.
    pub(crate) fn new(config: &Config, mapped: &[String]) -> Self {
        let known = tokio::sync::watch::Sender::new(Known::Nothing("the process has just started".to_owned()));
        Self(Arc::new(Shared { units: config.reads.units(mapped), max_age: config.reads.max_age, known }))
    }

    /// Returns the names of all units.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.units.iter().map(|unit| &*unit.name)
    }

    /// Returns all units as of now.
    ///
    /// # Errors
    /// The reason why this process does not know; then the reads of every unit go to MongoDB.
    pub(crate) fn units(&self) -> Result<Vec<Unit>, String> {
        self.known(|rows, ago| self.0.units.iter().map(|unit| Unit::among(unit, rows, ago)).collect())
    }

    /// Returns where the reads of this key in a unit go; `None` if there is no such unit.
    pub(crate) fn answer(&self, unit: &str, key: Option<&str>) -> Option<Answer> {
        let unit = self.0.units.iter().find(|known| known.name == unit)?;
        let answer = self.known(|rows, ago| Unit::among(unit, rows, ago).answer(key));
        Some(answer.unwrap_or_else(|reason| Answer { side: Side::Mongodb, why: Why::Unknown(reason), epoch: 0 }))
    }

    /// Looks at the rows and at how long ago they were read; fails with the reason why this process does not know them.
    fn known<T>(&self, look: impl FnOnce(&[UnitRow], Duration) -> T) -> Result<T, String> {
        match &*self.0.known.borrow() {
            Known::Nothing(reason) => Err(reason.clone()),
            Known::Rows(at, rows) => match at.elapsed() {
                ago if ago > self.0.max_age => {
                    Err(format!("PostgreSQL has not said for {} s where to read", ago.as_secs()))
                }
                ago => Ok(look(rows, ago)),
            },
        }
    }

    /// Returns a receiver that is notified about once a second, and of every change at once.
    fn subscribe(&self) -> tokio::sync::watch::Receiver<Known> {
        self.0.known.subscribe()
    }

    fn publish(&self, known: Known) {
        self.0.known.send_replace(known);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn row(share: i32) -> UnitRow {
        UnitRow {
            unit: "billing".to_owned(),
            share: Share::of_hundredths(share),
            judged_for: 5 * SECOND,
            epoch: 7,
            ..UnitRow::default()
        }
    }

    fn answer(row: &UnitRow, ago: Duration, key: Option<&str>) -> (Side, Why) {
        let answer = Unit::new("billing", &[], Some(row), ago).answer(key);
        assert_eq!(answer.epoch, 7);
        (answer.side, answer.why)
    }

    #[rstest]
    #[case::all(row(10_000), None, Side::Postgresql, Why::Share)]
    #[case::all_with_a_key(row(10_000), Some("a"), Side::Postgresql, Why::Share)]
    #[case::half_without_a_key(row(5_000), None, Side::Mongodb, Why::KeyMissing)]
    #[case::none(row(0), Some("a"), Side::Mongodb, Why::NotCutOver)]
    #[case::tripped(
        UnitRow { tripped: Some("drift".to_owned()), ..row(10_000) },
        Some("a"),
        Side::Mongodb,
        Why::Tripped("drift".to_owned())
    )]
    #[case::never_judged(
        UnitRow { judged_for: Duration::ZERO, ..row(10_000) },
        Some("a"),
        Side::Mongodb,
        Why::Unknown("no process judges the unit".to_owned())
    )]
    fn a_read_goes_to_postgresql_only_while_the_share_holds(
        #[case] row: UnitRow,
        #[case] key: Option<&str>,
        #[case] side: Side,
        #[case] why: Why,
    ) {
        assert_eq!(answer(&row, SECOND, key), (side, why));
    }

    #[test]
    fn a_judgement_expires_by_itself() {
        let row = row(10_000);
        assert_eq!(answer(&row, Duration::from_millis(4_999), None), (Side::Postgresql, Why::Share));
        let unknown = Why::Unknown("no process judges the unit".to_owned());
        assert_eq!(answer(&row, 5 * SECOND, None), (Side::Mongodb, unknown));
    }

    #[test]
    fn a_process_that_does_not_know_answers_mongodb() {
        let config = crate::config::ReadsConfig::default();
        let (max_age, units) = (config.max_age, config.units(&["bills".to_owned()]));
        let known = tokio::sync::watch::Sender::new(Known::Nothing("away".to_owned()));
        let reads = Reads(Arc::new(Shared { units, max_age, known }));
        let unknown = |reason: &str| Some((Side::Mongodb, Why::Unknown(reason.to_owned())));
        let asked = |unit: &str| reads.answer(unit, None).map(|answer| (answer.side, answer.why));
        assert_eq!(asked("bills"), unknown("away"));
        let all = UnitRow { unit: "bills".to_owned(), judged_for: 60 * SECOND, ..row(10_000) };
        reads.publish(Known::Rows(Instant::now(), vec![all.clone()]));
        assert_eq!(asked("bills"), Some((Side::Postgresql, Why::Share)));
        assert_eq!((asked("all"), asked("other")), (Some((Side::Mongodb, Why::NotCutOver)), None));
        let before = Instant::now().checked_sub(max_age + SECOND).expect("the machine has run for some seconds");
        reads.publish(Known::Rows(before, vec![all]));
        assert_eq!(asked("bills"), unknown("PostgreSQL has not said for 6 s where to read"));
    }

    #[test]
    fn a_growing_share_only_adds_keys() {
        let keys: Vec<String> = (0..1_000).map(|n| format!("key {n}")).collect();
        let moved = |share| -> Vec<&String> {
            keys.iter().filter(|key| answer(&row(share), SECOND, Some(key)).0 == Side::Postgresql).collect()
        };
        let mut before = Vec::new();
        for share in [100, 1_000, 5_000, 9_999, 10_000] {
            let now = moved(share);
            assert!(before.iter().all(|key| now.contains(key)), "at {share}");
            before = now;
        }
        assert_eq!(before.len(), 1_000);
    }
}
