//! `driftless reconcile --counts`: numbers of both sides, which prove nothing.

use crate::{
    cli::{Exit, print},
    pipeline::Comparison,
};

const WEAK: &str = "Counts are weak evidence: equal numbers may hide any difference, and each number is of its own time. \
                    `driftless reconcile --full` proves equality.";

pub(super) async fn print(comparison: &Comparison, wanted: &[(usize, String)], as_json: bool) -> anyhow::Result<Exit> {
    let mut counts = Vec::new();
    for (place, _) in wanted {
        counts.extend(comparison.counts(*place).await?);
    }
    if as_json {
        print::json(&serde_json::json!({ "evidence": "weak", "counts": counts }))?;
    } else {
        let mut table = print::table(["collection", "counted", "number", "how", "at", "took"]);
        for count in counts {
            table.add_row([
                count.collection,
                count.what,
                count.count.to_string(),
                if count.exact { "exact" } else { "estimate" }.to_owned(),
                print::time(count.at),
                format!("{} ms", count.took_ms),
            ]);
        }
        print::line(table);
        print::line(WEAK);
    }
    Ok(Exit::Unproven)
}
