//! `driftless dlq list`.

use clap::Args;

use super::which::{StateArgument, Which};
use crate::{
    cli::{Exit, print, setup::Setup},
    control::dead_letters::{self, Group, Listed},
    log::ejson,
};

/// List dead letters, or group them by reason.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    which: Which,
    /// List only letters in this state [default: open and parked]; may be repeated.
    #[arg(long = "state", value_enum)]
    states: Vec<StateArgument>,
    /// Print one line per kind of failure: its number, its first and last time, and an example.
    #[arg(long)]
    group: bool,
    /// Print at most this many lines.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let session = super::open(setup).await?;
        let filter = self.which.filter(&self.states);
        if self.group {
            let groups = dead_letters::groups(&session, &filter, self.limit).await?;
            if self.json { print::json(&groups)? } else { print_groups(&groups) }
        } else {
            let listed = dead_letters::list(&session, &filter, self.limit).await?;
            if self.json { print::json(&listed)? } else { print_letters(&listed) }
        }
        Ok(Exit::Success)
    }
}

fn print_letters(listed: &[Listed]) {
    let mut table = print::table(["id", "state", "collection", "key", "reason", "detail", "attempts", "since"]);
    for letter in listed {
        table.add_row([
            letter.id.to_string(),
            letter.state.as_str().to_owned(),
            letter.collection.clone().unwrap_or_else(|| letter.topic.clone()),
            letter.key.as_ref().map(ejson::id_text).unwrap_or_default(),
            letter.reason.clone(),
            detail(&letter.reason, letter.detail.as_deref()).to_owned(),
            letter.attempts.to_string(),
            print::time(letter.created_at),
        ]);
    }
    print::line(table);
    print::line(print::count(listed.len(), "dead letter"));
}

/// Prints the kinds of failures, also for `retry` and `discard`.
pub(super) fn print_groups(groups: &[Group]) {
    let mut table = print::table(["collection", "reason", "detail", "count", "first", "last", "example"]);
    for group in groups {
        table.add_row([
            group.collection.clone(),
            group.reason.clone(),
            detail(&group.reason, group.detail.as_deref()).to_owned(),
            group.count.to_string(),
            print::time(group.first),
            print::time(group.last),
            group.example.to_string(),
        ]);
    }
    print::line(table);
    let letters: i64 = groups.iter().map(|group| group.count).sum();
    let letters = print::count(usize::try_from(letters).unwrap_or_default(), "dead letter");
    print::line(format!("{letters} of {}", print::count(groups.len(), "kind")));
}

/// Returns the detail without the reason, if it begins with it.
pub(super) fn detail<'a>(reason: &str, detail: Option<&'a str>) -> &'a str {
    let detail = detail.unwrap_or_default();
    detail.strip_prefix(reason).map_or(detail, str::trim_start)
}
