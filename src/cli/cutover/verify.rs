//! `driftless cutover verify`: a file of evidence against itself.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use crate::{
    cli::{Exit, print},
    reconcile::evidence::{self, Evidence},
};

/// Verify a file of evidence against itself.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The file that `cutover check --evidence` wrote.
    file: PathBuf,
    /// The digest that was noted when the file was made.
    #[arg(long)]
    digest: Option<String>,
}

impl Verify {
    pub(super) fn execute(self) -> anyhow::Result<Exit> {
        let name = self.file.display();
        let text = std::fs::read_to_string(&self.file).with_context(|| format!("read {name}"))?;
        let (evidence, faults) = match evidence::verify(&text, self.digest.as_deref()) {
            Ok(verified) => verified,
            Err(fault) => bail!("verify {name}: {fault}"),
        };
        for fault in &faults {
            print::line(format!("{name}: {fault}"));
        }
        if faults.is_empty() {
            print::line(format!("{name}: {}", summary(&evidence)));
            return Ok(Exit::Success);
        }
        print::line(format!("{} found: this file is no evidence", print::count(faults.len(), "fault")));
        Ok(Exit::Faults)
    }
}

fn summary(evidence: &Evidence) -> String {
    let baselines = evidence.collections.iter().filter_map(|collection| collection.baseline.as_ref());
    let (chunks, documents) = baselines
        .fold((0, 0), |(chunks, documents), baseline| (chunks + baseline.chunks.len(), documents + baseline.documents));
    format!(
        "unit {} was {} at {}: {documents} documents compared in {}; the file agrees with itself",
        evidence.unit,
        if evidence.ready { "ready" } else { "not ready" },
        print::time(evidence.made_at),
        print::count(chunks, "chunk"),
    )
}
