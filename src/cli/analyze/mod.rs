//! `driftless analyze`: reports what the documents of MongoDB are like, without a mapping.

mod read;
mod schemas;
mod table;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

pub(super) use self::read::Documents;
use super::{Exit, print};
use crate::profile::{Analysis, page};

/// Read the documents of MongoDB and report what they are like.
#[derive(Debug, Args)]
pub(crate) struct Analyze {
    #[command(flatten)]
    documents: Documents,
    /// Print JSON, from which `driftless init --from-analysis` goes on.
    #[arg(long)]
    json: bool,
    /// Also write the report as one HTML page, with plots. The file must not exist.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Analyze {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let page = self.html.as_deref().map(create).transpose()?;
        let Some(analysis) = self.documents.analyze(path).await? else { return Ok(Exit::Faults) };
        if let Some((file, name)) = page.zip(self.html.as_deref()) {
            write(file, name, &analysis)?;
        }
        if self.json {
            print::json(&analysis)?;
        } else {
            table::print(&analysis);
        }
        Ok(Exit::Success)
    }
}

/// Makes the file before anything is read: a path that cannot be written is reported at once.
fn create(path: &Path) -> anyhow::Result<std::fs::File> {
    std::fs::File::create_new(path).with_context(|| format!("make the file {}", path.display()))
}

fn write(mut file: std::fs::File, path: &Path, analysis: &Analysis) -> anyhow::Result<()> {
    let made = format!("Made {} by driftless {}.", print::time(jiff::Timestamp::now()), env!("CARGO_PKG_VERSION"));
    let page = page(analysis, &made);
    std::io::Write::write_all(&mut file, page.as_bytes()).with_context(|| format!("write {}", path.display()))
}
