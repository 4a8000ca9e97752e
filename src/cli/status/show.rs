//! Prints the status, in the order of the questions that the page answers.

use std::time::Duration;

use jiff::Timestamp;

use super::view::{Collection, Entry, Sibling, View};
use crate::{cli::print, reconcile::blockers::span};

/// Number of entries of the journal that a terminal shows.
const ENTRIES: usize = 8;

/// Returns the whole status as text.
pub(super) fn show(view: &View) -> String {
    let parts = [
        verdict(view),
        blockers(view),
        roles(view),
        drift(view),
        progress(view),
        refused(view),
        reads(view),
        positions(view),
        siblings(view),
        journal(&view.journal),
    ];
    parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("\n\n")
}

/// The replays into other schemas, beside the running migration.
fn siblings(view: &View) -> String {
    let at = |ms: i64| Timestamp::from_millisecond(ms).map(print::time).unwrap_or_default();
    let line = |sibling: &Sibling| {
        let Sibling { schema, who, why, findings, dead_letters, .. } = sibling;
        let begun = format!("replay into {schema}, begun {} by {who}: {why}", at(sibling.since_ms));
        let applied =
            sibling.as_of_ms.map_or_else(|| "not complete yet".to_owned(), |ms| format!("complete as of {}", at(ms)));
        let proven = match (sibling.verified_ms, findings + dead_letters) {
            (_, 1..) => format!("unequal: {findings} findings, {dead_letters} dead letters"),
            (Some(ms), _) => format!("equal, every change is judged up to {}", at(ms)),
            (None, _) => "not proven yet".to_owned(),
        };
        let runs = if sibling.runs { "" } else { "; no process works on it" };
        format!("{begun}\n    {applied}; {proven}{runs}; `driftless status --into {schema}` shows its verdict")
    };
    view.siblings.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn verdict(view: &View) -> String {
    let as_of = match &view.verified {
        Some(verified) => {
            format!("every change is judged up to {} ({} ago)", print::time(verified.at), millis(verified.age_ms))
        }
        None => "no common time up to which every change is judged".to_owned(),
    };
    let lost = if view.seen_ms.is_none() {
        "\nPostgreSQL does not answer the daemon: nothing about the target is known"
    } else {
        ""
    };
    let said = match view.verdict.as_str() {
        "in_sync" => "in sync",
        "drift" => "drift: both sides are proven unequal",
        _ => "unknown: not proven",
    };
    format!("{said}; {as_of} (version {}, {}){lost}\n{}", view.version, print::time(view.now), view.migration)
}

fn blockers(view: &View) -> String {
    let ready: Vec<&str> = view.cutover.iter().filter(|(_, ready)| **ready).map(|(unit, _)| unit.as_str()).collect();
    let ready = match ready.as_slice() {
        [] => "no unit is ready to be cut over (`driftless cutover check`)".to_owned(),
        units => format!("ready to be cut over: {}", units.join(", ")),
    };
    let blockers = view.blockers.iter().map(|blocker| format!("  - {blocker}"));
    std::iter::once(ready).chain(blockers).collect::<Vec<_>>().join("\n")
}

fn roles(view: &View) -> String {
    let mut table = print::table(["role", "process", "phase", "for"]);
    let mut lines = Vec::new();
    for process in &view.processes {
        for (name, role) in &process.roles {
            let phase = role.phase.as_str();
            let since = role.since.map(|since| age(view.now, since)).unwrap_or_default();
            table.add_row([name, process.instance.as_str(), phase, &since]);
            let Some(by_itself) = &role.by_itself else { continue };
            let reason = role.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            lines.push(format!("the {name} of {} is {phase}{reason}", process.instance));
            lines.extend(role.hint.iter().map(|hint| format!("    next: {hint}")));
            lines.push(format!("    by itself: {by_itself}"));
        }
    }
    if table.is_empty() {
        return "no process runs".to_owned();
    }
    lines.insert(0, table.to_string());
    lines.join("\n")
}

fn drift(view: &View) -> String {
    let lines = view.collections.iter().filter_map(|collection| {
        let found = collection.findings.iter().filter(|(_, count)| **count > 0);
        let found: Vec<String> = found.map(|(kind, count)| format!("{count} {}", kind.replace('_', " "))).collect();
        let since = collection.findings_since.map(|since| format!(" since {}", print::time(since))).unwrap_or_default();
        let look = format!("driftless repair --collection {} --dry-run", collection.name);
        (!found.is_empty()).then(|| format!("drift in {}: {}{since} (`{look}`)", collection.name, found.join(", ")))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn progress(view: &View) -> String {
    let mut table = print::table(["collection", "snapshot", "baseline", "judged up to", "complete as of", "lag"]);
    for collection in &view.collections {
        table.add_row([
            collection.name.clone(),
            snapshot(view, collection),
            baseline(collection),
            collection.verified.as_ref().map_or("never".to_owned(), |verified| print::time(verified.at)),
            collection.as_of.map_or("never".to_owned(), print::time),
            collection.as_of.map(|as_of| age(view.now, as_of)).unwrap_or_default(),
        ]);
    }
    table.to_string()
}

fn snapshot(view: &View, collection: &Collection) -> String {
    if collection.snapshot_complete {
        return "applied".to_owned();
    }
    let Some(snapshot) = view.snapshots.iter().find(|snapshot| snapshot.collection == collection.name) else {
        return "not reported".to_owned();
    };
    let reason = snapshot.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let left = snapshot.seconds_left.map(|left| format!(", {} left", seconds(left))).unwrap_or_default();
    format!("{} %, {}{reason}{left}", snapshot.percent, snapshot.phase.replace('_', " "))
}

fn baseline(collection: &Collection) -> String {
    let mut lines = vec![match (&collection.void_because, &collection.baseline) {
        (Some(why), _) => format!("void: {why}"),
        (None, Some(baseline)) => format!("began {} ago", millis(baseline.age_ms)),
        (None, None) => "none yet".to_owned(),
    }];
    if let Some(running) = &collection.baseline_running {
        let phase = running.phase.as_deref().unwrap_or("begins");
        let share = running.expected.filter(|expected| *expected > 0);
        let percent =
            share.map(|expected| format!("{} %, ", (running.work * 100 / expected).min(99))).unwrap_or_default();
        let left = collection.baseline_seconds_left.map(|left| format!(", {} left", seconds(left))).unwrap_or_default();
        lines.push(format!("under way: {percent}{phase}{left}"));
    }
    if let Some(waits) = &collection.baseline_waits_for {
        lines.push(format!("waits: {}", waits.reason));
        lines.extend(waits.hint.iter().map(|hint| format!("next: {hint}")));
    }
    lines.join("\n")
}

fn refused(view: &View) -> String {
    let letters: Vec<String> = view.dead_letters.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let parked: u64 = view.collections.iter().map(|collection| collection.parked).sum();
    let mut lines = Vec::new();
    if !letters.is_empty() {
        lines.push(format!("refused: {} (`driftless dlq list --group`)", letters.join(", ")));
    }
    if parked > 0 {
        lines.push(format!("parked: {parked} documents (`driftless dlq list --state parked --group`)"));
    }
    lines.join("\n")
}

fn reads(view: &View) -> String {
    let mut table = print::table(["unit", "reads on PostgreSQL", "asked for", "state"]);
    for unit in &view.reads {
        let state = match (&unit.reason, unit.tripped) {
            (Some(reason), true) => format!("tripped: {reason}"),
            (Some(reason), false) => reason.clone(),
            (None, _) => String::new(),
        };
        let wish = unit.wish.map_or("unknown".to_owned(), |wish| format!("{wish} %"));
        table.add_row([unit.unit.clone(), format!("{} %", unit.share), wish, state]);
    }
    table.to_string()
}

fn positions(view: &View) -> String {
    let margin = match &view.history {
        Some(history) => {
            let whole = if history.whole { ", and nothing has been removed yet" } else { "" };
            format!("history margin of the source: {}{whole}", seconds(history.margin_s))
        }
        None => "history margin of the source: not known".to_owned(),
    };
    let mut table = print::table(["topic", "partition", "next offset", "applied up to", "gaps"]);
    for partition in &view.partitions {
        let applied = partition.watermark.and_then(|watermark| Timestamp::from_second(i64::from(watermark.t)).ok());
        table.add_row([
            partition.topic.clone(),
            partition.partition.to_string(),
            partition.next_offset.map_or("earliest".to_owned(), |offset| offset.to_string()),
            applied.map_or("none".to_owned(), print::time),
            partition.gaps.to_string(),
        ]);
    }
    format!("{margin}\n{table}")
}

fn journal(entries: &[Entry]) -> String {
    let lines = entries.iter().take(ENTRIES).map(|entry| {
        let at = Timestamp::from_millisecond(entry.at_ms).unwrap_or_default();
        let details = entry.detail.as_object().into_iter().flatten().map(|(name, value)| match value.as_str() {
            Some(text) => format!(", {name}: {text}"),
            None => format!(", {name}: {value}"),
        });
        format!("{} {} {}{}", print::time(at), entry.who, entry.what, details.collect::<String>())
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn age(now: Timestamp, then: Timestamp) -> String {
    span(Duration::try_from(now.duration_since(then)).unwrap_or_default())
}

fn millis(ms: u64) -> String {
    span(Duration::from_millis(ms))
}

fn seconds(seconds: u64) -> String {
    span(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A status as the API has it: the sink has halted, one collection drifts, the baseline of another is under way.
    fn bad() -> View {
        let status = serde_json::json!({
            "version": "1", "migration": { "name": "shop", "source": "store", "target": "app" },
            "now": "2026-01-02T03:04:05Z", "seen_ms": 10, "verdict": "drift", "verified": null,
            "blockers": ["users: 2 documents are missing; next: repair them"],
            "processes": [{ "instance": "a", "version": "1", "roles": {
                "sink": { "phase": "halted", "since": "2026-01-02T03:03:05Z", "reason": "a right is missing", "hint": "grant it",
                          "by_itself": "it is tried again" },
                "source": { "phase": "running" } } }],
            "collections": [{
                "name": "users", "as_of": "2026-01-02T03:04:00Z", "snapshot_complete": false, "parked": 3, "verified": null,
                "baseline": null, "void_because": null, "baseline_waits_for": null,
                "baseline_running": { "phase": "documents", "work": 25, "expected": 100 }, "baseline_seconds_left": 240,
                "findings": { "missing": 2, "extra": 0 }, "findings_since": "2026-01-02T03:00:00Z" }],
            "partitions": [{ "topic": "t", "partition": 0, "next_offset": null, "watermark": { "t": 1, "i": 1 }, "gaps": 0 }],
            "dead_letters": { "NOT_NULL": 4 },
            "snapshots": [{ "collection": "users", "phase": "held_back", "reason": "the sink is behind", "percent": 40 }],
            "history": { "margin_s": 7200, "whole": false },
            "cutover": { "users": false }, "reads": [{ "unit": "users", "share": 0.0, "wish": 50.0, "tripped": true, "reason": "drift" }],
            "journal": [{ "at_ms": 0, "who": "op@host", "what": "repair", "detail": { "why": "a test" } }]
        });
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn every_question_is_answered() {
        let text = show(&bad());
        for told in [
            "drift: both sides are proven unequal",
            "migration shop: MongoDB database store, PostgreSQL database app",
            "users: 2 documents are missing; next: repair them",
            "a right is missing",
            "next: grant it",
            "by itself: it is tried again",
            "drift in users: 2 missing since 2026-01-02 03:00:00Z",
            "40 %, held back (the sink is behind)",
            "under way: 25 %, documents, 4 min left",
            "refused: 4 NOT_NULL",
            "parked: 3 documents",
            "tripped: drift",
            "history margin of the source: 2 h",
            "earliest",
            "op@host repair, why: a test",
        ] {
            assert!(text.contains(told), "{told} is missing in\n{text}");
        }
    }
}
