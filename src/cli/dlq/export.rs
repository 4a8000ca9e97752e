//! `driftless dlq export`.

use std::{
    fs::OpenOptions,
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    contents::Contents,
    which::{StateArgument, Which},
};
use crate::{
    cli::{Exit, print, setup::Setup},
    control::dead_letters::{self, Filter, Listed},
    log::Fetched,
};

/// Write dead letters to a file or to standard output, one JSON object per line.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    which: Which,
    /// Export only letters in this state [default: open and parked]; may be repeated.
    #[arg(long = "state", value_enum)]
    states: Vec<StateArgument>,
    /// Contents of a line.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Include the documents, as Extended JSON, or as base64 if that cannot carry them.
    #[arg(long)]
    reveal: bool,
    /// The file; it must not exist yet [default: standard output].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The contents of a line of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The fields of `dlq list`; with --reveal also the document.
    #[default]
    Ndjson,
    /// The record exactly as it was in the log: key, value and headers in base64. Needs --reveal.
    Raw,
}

/// Dead letters held in memory at once; a record can have 64 MiB.
const PAGE_ROWS: u32 = 50;

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    listed: &'a Listed,
    #[serde(skip_serializing_if = "Option::is_none")]
    contents: Option<Contents>,
}

#[derive(Serialize)]
struct RawLine<'a> {
    id: i64,
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(&'a str, String)>,
}

impl<'a> RawLine<'a> {
    fn new(id: i64, record: &'a Fetched) -> Self {
        let base64 = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
        Self {
            id,
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: base64(&record.key),
            value: base64(&record.value),
            headers: record.headers.iter().map(|(name, value)| (name, STANDARD.encode(value))).collect(),
        }
    }
}

impl Export {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        if self.format == Format::Raw && !self.reveal {
            anyhow::bail!("export records: they contain documents; confirm with --reveal");
        }
        let session = super::open(setup).await?;
        let mut to: Box<dyn Write> = match &self.output {
            None => Box::new(std::io::stdout().lock()),
            Some(path) => {
                // The file holds documents of the application, so only its owner may read it.
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                Box::new(BufWriter::new(file.with_context(|| format!("create {}", path.display()))?))
            }
        };
        let filter = self.which.filter(&self.states);
        let listed = dead_letters::list(&session, &filter, u32::MAX).await?;
        for page in listed.chunks(PAGE_ROWS as usize) {
            let filter = Filter { ids: page.iter().map(|letter| letter.id).collect(), ..filter.clone() };
            let records =
                if self.reveal { dead_letters::records(&session, &filter, PAGE_ROWS).await? } else { Vec::new() };
            match self.format {
                Format::Raw => {
                    records.iter().try_for_each(|(id, record)| write(&mut to, &RawLine::new(*id, record)))?
                }
                Format::Ndjson => page.iter().try_for_each(|listed| {
                    let record = records.iter().find(|(id, _)| *id == listed.id);
                    write(&mut to, &Line { listed, contents: record.map(|(_, record)| Contents::of(record)) })
                })?,
            }
        }
        to.flush().context("write the export")?;
        if let Some(path) = &self.output {
            print::line(format!("{} written to {}", print::count(listed.len(), "dead letter"), path.display()));
        }
        Ok(Exit::Success)
    }
}

fn write(to: &mut impl Write, line: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *to, line).context("write the export")?;
    to.write_all(b"\n").context("write the export")
}
