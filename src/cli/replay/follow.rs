//! `driftless replay --follow`: polls every second until everything is applied again.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    cli::print,
    control::replay::{self, Applied},
    log::TopicPartition,
    postgres::Session,
};

/// The sink commits several times a second.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time without a line where there is no terminal.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// Shows how much of `[from, to)` of each partition is applied again, until all of it is.
pub(super) async fn follow(session: &Session, moved: Vec<(TopicPartition, i64, i64)>) -> anyhow::Result<()> {
    let bar = bar(moved.iter().map(|(_, from, to)| records(*from, *to)).sum())?;
    let mut written: Option<Instant> = None;
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    loop {
        ticks.tick().await;
        let applied = replay::applied(session).await?;
        let again: u64 = moved.iter().map(|(partition, from, to)| done(&applied, partition, *from, *to)).sum();
        bar.set_position(again);
        let total = bar.length().unwrap_or(again);
        if bar.is_hidden() && (again >= total || written.is_none_or(|at| at.elapsed() >= MAX_SILENCE)) {
            print::line(format!("{again} of {total} records are applied again."));
            written = Some(Instant::now());
        }
        if again >= total {
            bar.finish();
            return Ok(());
        }
    }
}

fn bar(length: u64) -> anyhow::Result<ProgressBar> {
    if !std::io::stdout().is_terminal() {
        return Ok(ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden()));
    }
    let style = ProgressStyle::with_template("{bar:24} {pos} of {len} records applied again, {per_sec}, {eta} left")?;
    Ok(ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stdout()).with_style(style))
}

/// Returns how many of `[from, to)` are applied again.
fn done(applied: &[Applied], partition: &TopicPartition, from: i64, to: i64) -> u64 {
    match applied.iter().find(|applied| applied.partition == *partition) {
        // Another topic has taken the name: there is nothing left to apply again.
        None => records(from, to),
        Some(Applied { next_offset: None, .. }) => 0,
        Some(Applied { next_offset: Some(next), .. }) => records(from, (*next).clamp(from, to)),
    }
}

fn records(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_the_part_of_the_range_before_the_position() {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let of = |next_offset| {
            let applied = Applied {
                partition: partition.clone(),
                topic_id: None,
                next_offset,
                reread_to: Some(100),
                as_of_ms: None,
            };
            done(&[applied], &partition, 10, 100)
        };
        assert_eq!([None, Some(5), Some(10), Some(60), Some(100), Some(130)].map(of), [0, 0, 0, 50, 90, 90]);
        assert_eq!(done(&[], &partition, 10, 100), 90);
    }
}
