//! Looks at the target until it holds what is waited for. Every answer is the instant at which the query that saw it was sent.

use std::time::{Duration, Instant};

use anyhow::bail;
use tokio_postgres::Client;

use crate::{changes::Markers, process::Process, users::USERS};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(3_600);
/// Between two looks for a row.
const LOOK: Duration = Duration::from_millis(5);
/// Between two counts of a table, at least and at most.
const COUNT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// Waits for the first row of the table.
pub(crate) async fn first_row(client: &Client, process: &mut Process) -> anyhow::Result<Instant> {
    let any = client.prepare(&format!("SELECT 1 FROM {USERS} LIMIT 1")).await?;
    until(process, LOOK, async || Ok(!client.query(&any, &[]).await?.is_empty())).await
}

/// Waits for the marker documents: for the first of them, or for all.
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
    until(process, LOOK, async || Ok(client.query_one(&count, &[&from, &to]).await?.get::<_, i64>(0) as u64 >= needed))
        .await
}

/// Waits until the tables hold so many rows together.
pub(crate) async fn rows(
    client: &Client,
    process: &mut Process,
    tables: &[&str],
    wanted: u64,
) -> anyhow::Result<Instant> {
    let sum: Vec<String> = tables.iter().map(|table| format!("(SELECT count(*) FROM {table})")).collect();
    count(client, process, &format!("SELECT {}", sum.join(" + ")), wanted).await
}

/// Waits until a query gives at least so much. Counting costs the target something, so it counts more often only when the
/// end is near.
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

/// Half of the time that the rest will take at the rate so far.
fn pause(elapsed: Duration, there: u64, wanted: u64) -> Duration {
    let rest = elapsed.as_secs_f64() * (wanted - there) as f64 / there.max(1) as f64;
    Duration::from_secs_f64((rest / 2.0).clamp(COUNT.0.as_secs_f64(), COUNT.1.as_secs_f64()))
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
    #[case::half_way(10, 50, 100, 5_000)]
    #[case::near_the_end(10, 99, 100, 50)]
    #[case::at_the_end(1, 999_999, 1_000_000, 20)]
    #[case::nothing_yet(1, 0, 1_000_000, 5_000)]
    fn pauses(#[case] elapsed: u64, #[case] there: u64, #[case] wanted: u64, #[case] expected_ms: u128) {
        assert_eq!(pause(Duration::from_secs(elapsed), there, wanted).as_millis(), expected_ms);
    }
}
