//! `driftless dlq show`.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    contents::{self, Contents},
    list::detail,
};
use crate::{
    analyze::advice,
    cli::{Exit, print, setup::Setup},
    control::dead_letters::{self, Decision, Listed, Shown},
    log::ejson,
    sink::dead_letter::State,
};

/// Show everything about one dead letter, with its remedy.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The number of the letter, as `dlq list` prints it.
    id: i64,
    /// Include the document, as Extended JSON, or as base64 if that cannot carry it.
    #[arg(long)]
    reveal: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Everything about a letter, in the order of printing.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    listed: Listed,
    meaning: Option<&'static str>,
    hint: Option<&'static str>,
    version: Option<String>,
    op: Option<&'static str>,
    changed_at: Option<Timestamp>,
    logged_at: Option<Timestamp>,
    record_bytes: usize,
    decisions: Vec<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contents: Option<Contents>,
}

impl Show {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let session = super::open(setup).await?;
        let Some(shown) = dead_letters::show(&session, self.id).await? else {
            anyhow::bail!("find dead letter {}: no letter has that number", self.id);
        };
        let report = Report::new(shown, self.reveal);
        if self.json {
            print::json(&report)?
        } else {
            report.print()
        }
        Ok(Exit::Success)
    }
}

impl Report {
    fn new(shown: Shown, reveal: bool) -> Self {
        let Shown { listed, version, record, decisions } = shown;
        let (meaning, hint) = advice::named(&listed.reason).map(advice::of).unzip();
        let change = contents::change(&record);
        Self {
            meaning,
            hint: hint.filter(|_| State::WAITING.contains(&listed.state)),
            version: version.map(|version| version.to_string()),
            op: change.as_ref().map(|change| change.op.as_str()),
            changed_at: change.and_then(|change| Timestamp::from_millisecond(change.wall_ms).ok()),
            logged_at: Timestamp::from_millisecond(record.timestamp_ms).ok(),
            record_bytes: [&record.key, &record.value].into_iter().flatten().map(Vec::len).sum(),
            decisions,
            contents: reveal.then(|| Contents::of(&record)),
            listed,
        }
    }

    fn print(&self) {
        let letter = &self.listed;
        print::line(format!("dead letter {}: {}", letter.id, letter.state.as_str()));
        let field = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                print::line(format!("  {name:<12}{value}"));
            }
        };
        let meaning = self.meaning.map(|meaning| format!(": {meaning}")).unwrap_or_default();
        field("collection", letter.collection.clone());
        field("key", letter.key.as_ref().map(ejson::id_text));
        field("reason", Some(format!("{}{meaning}", letter.reason)));
        field("where", letter.detail.as_deref().map(|text| detail(&letter.reason, Some(text)).to_owned()));
        field("change", self.op.map(|op| format!("{op} at {}", self.changed_at.map(print::time).unwrap_or_default())));
        field("version", self.version.clone());
        let size = print::count(self.record_bytes, "byte");
        field(
            "record",
            Some(format!("{} partition {} offset {}, {size}", letter.topic, letter.partition, letter.offset)),
        );
        field("logged", self.logged_at.map(print::time));
        field("written", Some(print::time(letter.created_at)));
        field("attempts", Some(letter.attempts.to_string()));
        field("next", letter.next_attempt_at.map(print::time));
        field("closed", letter.closed_at.map(print::time));
        for Decision { at, who, command, why } in &self.decisions {
            let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            field("decided", Some(format!("{} by {who}, {command}{why}", print::time(*at))));
        }
        match &self.contents {
            Some(contents) => field("contents", Some(contents.to_string())),
            None => field("contents", Some("shown with --reveal".to_owned())),
        }
        if let Some(hint) = self.hint {
            print::line(format!("    hint: {hint}"));
        }
    }
}
