//! Polls the target until it holds the expected rows. Every answer is the instant at which the query that saw them was sent.

use std::time::{Duration, Instant};

use anyhow::bail;
use tokio_postgres::Client;

use crate::{changes::Markers, process::Process, users::USERS};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(3_600);
/// The interval between two looks for a row.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The shortest and the longest interval between two counts of a table.
const COUNT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// The time from the first look that saw something to the one that saw everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// When something was seen.
    pub(crate) first: Instant,
    /// How much was seen then: nobody has timed its arrival, so no rate may count it.
    pub(crate) already: u64,
    /// When everything was seen.
    pub(crate) last: Instant,
}

impl Span {
    /// Returns how many of `all` came per second between the two looks; `None` when most of them were there at the first
    /// look, because too few were timed for a rate.
    pub(crate) fn rate(&self, all: u64) -> Option<f64> {
        let timed = all.saturating_sub(self.already);
        (timed * 2 >= all).then(|| timed as f64 / (self.last - self.first).as_secs_f64().max(0.001))
    }
}

/// Waits until a query returns more than zero, then until it returns at least `wanted`.
pub(crate) async fn span(client: &Client, process: &mut Process, query: &str, wanted: u64) -> anyhow::Result<Span> {
    let one = client.prepare(query).await?;
    let mut already = 0;
    let look = async || {
        already = client.query_one(&one, &[]).await?.get::<_, i64>(0) as u64;
        Ok(already > 0)
    };
    let first = until(process, POLL_INTERVAL, look).await?;
    Ok(Span { first, already, last: count(client, process, query, wanted).await? })
}

/// Waits for the first of the marker documents, or for all of them.
pub(crate) async fn markers(
    client: &Client,
    process: &mut Process,
    wanted: Markers,
    all: bool,
) -> anyhow::Result<Instant> {
    let Markers(from, to) = wanted;
    let needed = if all { to - from } else { 1 };
    let count = client.prepare(&format!("SELECT count(*) FROM {USERS} WHERE seq >= $1 AND seq < $2")).await?;
    let (from, to) = (from as i64, to as i64);
    until(process, POLL_INTERVAL, async || {
        Ok(client.query_one(&count, &[&from, &to]).await?.get::<_, i64>(0) as u64 >= needed)
    })
    .await
}

/// Waits until a query returns at least `wanted`. Counting costs the target something, so the counts become frequent only
/// near the end.
pub(crate) async fn count(client: &Client, process: &mut Process, query: &str, wanted: u64) -> anyhow::Result<Instant> {
    let count = client.prepare(query).await?;
    let started = Instant::now();
    loop {
        let looked = Instant::now();
        let there = client.query_one(&count, &[]).await?.get::<_, i64>(0) as u64;
        if there >= wanted {
            return Ok(looked);
        }
        still(process, started)?;
        tokio::time::sleep(pause(started.elapsed(), there, wanted)).await;
    }
}

/// Returns half of the time that the rest will take at the rate so far, but at most a quarter of the time so far, because a
/// beginning says little about the rate.
fn pause(elapsed: Duration, there: u64, wanted: u64) -> Duration {
    let elapsed = elapsed.as_secs_f64();
    let rest = elapsed * (wanted - there) as f64 / there.max(1) as f64;
    Duration::from_secs_f64((rest / 2.0).min(elapsed / 4.0).clamp(COUNT.0.as_secs_f64(), COUNT.1.as_secs_f64()))
}

async fn until(
    process: &mut Process,
    every: Duration,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Instant> {
    let started = Instant::now();
    loop {
        let looked = Instant::now();
        if holds().await? {
            return Ok(looked);
        }
        still(process, started)?;
        tokio::time::sleep(every).await;
    }
}

fn still(process: &mut Process, started: Instant) -> anyhow::Result<()> {
    process.lives()?;
    if started.elapsed() > LIMIT {
        bail!("the target does not get there within {LIMIT:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::all_of_it_timed(0, Some(100.0))]
    #[case::some_was_there_before(400, Some(60.0))]
    #[case::most_was_there_before(501, None)]
    #[case::everything_was_there_before(1_200, None)]
    fn rates(#[case] already: u64, #[case] expected: Option<f64>) {
        let first = Instant::now();
        let span = Span { first, already, last: first + Duration::from_secs(10) };
        assert_eq!(span.rate(1_000), expected);
    }

    #[rstest]
    #[case::half_way(10, 50, 100, 2_500)]
    #[case::half_way_of_a_long_one(100, 50, 100, 5_000)]
    #[case::near_the_end(10, 99, 100, 50)]
    #[case::at_the_end(1, 999_999, 1_000_000, 20)]
    #[case::nothing_yet(1, 0, 1_000_000, 250)]
    #[case::a_slow_beginning(0, 1, 1_000_000, 20)]
    fn pauses(#[case] elapsed: u64, #[case] there: u64, #[case] wanted: u64, #[case] expected_ms: u128) {
        assert_eq!(pause(Duration::from_secs(elapsed), there, wanted).as_millis(), expected_ms);
    }
}
