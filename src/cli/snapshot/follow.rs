//! `driftless snapshot status --follow`: polls every second until everything is done.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{line::Line, look};
use crate::{cli::print, postgres::Session};

/// Leaders report once a second.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time without a line where there is no terminal.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// Shows the collections until all of them are done.
pub(super) async fn follow(session: &Session, collections: &[String]) -> anyhow::Result<()> {
    let mut screen: Box<dyn Screen> =
        if std::io::stdout().is_terminal() { Box::new(Bars::new(collections)?) } else { Box::new(Lines::default()) };
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    loop {
        ticks.tick().await;
        let lines = look(session, collections).await?;
        lines.iter().for_each(|line| screen.show(line));
        if lines.iter().all(|line| line.complete) {
            return Ok(());
        }
    }
}

trait Screen: Send {
    fn show(&mut self, line: &Line);
}

/// A bar for each collection.
struct Bars {
    bars: BTreeMap<String, ProgressBar>,
    _screen: MultiProgress,
}

impl Bars {
    fn new(collections: &[String]) -> anyhow::Result<Self> {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let width = collections.iter().map(String::len).max().unwrap_or(0);
        // The percentage is in the message, because the library rounds it up to 100 too early.
        let style = ProgressStyle::with_template(&format!("{{prefix:{width}}} {{bar:24}} {{msg}}"))?;
        let bar = |name: &String| {
            let bar = screen.add(ProgressBar::new(1)).with_style(style.clone()).with_prefix(name.clone());
            (name.clone(), bar)
        };
        Ok(Self { bars: collections.iter().map(bar).collect(), _screen: screen })
    }
}

impl Screen for Bars {
    fn show(&mut self, line: &Line) {
        let Some(bar) = self.bars.get(&line.collection) else { return };
        if let Some(reported) = &line.reported {
            bar.set_length(reported.estimated.max(1));
            bar.set_position(if reported.done { reported.estimated.max(1) } else { reported.documents });
        }
        bar.set_message(line.text());
        if line.complete {
            bar.abandon();
        }
    }
}

/// A line when the phase changes, and one now and then.
#[derive(Default)]
struct Lines {
    written: BTreeMap<String, (String, Instant)>,
}

impl Screen for Lines {
    fn show(&mut self, line: &Line) {
        let phase = line.cells()[1].clone();
        let known = self.written.get(&line.collection);
        let news = known.is_none_or(|(before, at)| *before != phase || (!line.complete && at.elapsed() >= MAX_SILENCE));
        if news {
            print::line(format!("{}: {}", line.collection, line.text()));
            self.written.insert(line.collection.clone(), (phase, Instant::now()));
        }
    }
}
