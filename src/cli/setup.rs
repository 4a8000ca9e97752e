//! What every command needs first: configuration and mapping, with all their faults on the terminal.

use std::{collections::BTreeMap, path::Path};

use super::print;
use crate::{
    config::Config,
    mapping::{self, MappingFile},
    pipeline::identity::configured,
    postgres::{self, Postgres, Purpose, Session, identity},
    source::OnDrop,
};

/// Configuration and mapping, both without faults of their own.
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) mapping: MappingFile,
}

impl Setup {
    /// Reads both files; `None` when their faults were printed.
    pub(super) fn load(path: &Path) -> Option<Self> {
        match Self::read(path) {
            Ok(setup) => Some(setup),
            Err(faults) => {
                print::faults(&faults);
                None
            }
        }
    }

    /// Reads both files.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<Finding>> {
        let config = Config::load(path).map_err(|faults| {
            faults
                .into_iter()
                .map(|fault| {
                    let key = if fault.key.is_empty() { String::new() } else { format!("{}: ", fault.key) };
                    let place = if fault.place.is_empty() { path.display().to_string() } else { fault.place };
                    Finding { place, what: format!("{key}{}", fault.rule), hint: fault.hint }
                })
                .collect::<Vec<_>>()
        })?;
        let name = config.mapping.display().to_string();
        let text = std::fs::read_to_string(&config.mapping).map_err(|error| {
            vec![Finding {
                place: name.clone(),
                what: format!("the mapping file cannot be read: {error}"),
                hint: "name it in `mapping`, relative to the configuration file".to_owned(),
            }]
        })?;
        let mapping = MappingFile::parse(&text, &name)
            .map_err(|faults| faults.into_iter().map(Finding::from).collect::<Vec<_>>())?;
        Ok(Self { config, mapping })
    }

    /// A connection for a command that works on the migration's state, once it is known to be of the configured source.
    ///
    /// # Errors
    /// Those of opening it, and that the state is another source's.
    pub(super) async fn session(&self) -> Result<Session, postgres::Error> {
        let session = Postgres::new(&self.config.sink, &self.config.log.prefix)?.open(Purpose::Control).await?;
        identity::compare(&session, &configured(&self.config)).await?;
        Ok(session)
    }

    /// The mapped collections, and what to do when one is dropped.
    pub(super) fn collections(&self) -> BTreeMap<String, OnDrop> {
        let policies = self.mapping.collections();
        policies.map(|collection| (collection.name().to_owned(), policy(collection.on_drop()))).collect()
    }
}

fn policy(on_drop: mapping::OnDrop) -> OnDrop {
    match on_drop {
        mapping::OnDrop::Halt => OnDrop::Halt,
        mapping::OnDrop::Ignore => OnDrop::Ignore,
        mapping::OnDrop::Truncate => OnDrop::Truncate,
    }
}

/// One fault, wherever it was found.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Finding {
    /// File and line, or the server.
    pub(super) place: String,
    /// What is wrong.
    pub(super) what: String,
    /// What to do.
    pub(super) hint: String,
}

impl From<mapping::Fault> for Finding {
    fn from(fault: mapping::Fault) -> Self {
        Self {
            place: fault.location.map_or_else(|| "mapping".to_owned(), |location| location.to_string()),
            what: fault.what,
            hint: fault.hint,
        }
    }
}

/// Who types this, as it is written down beside what they did.
pub(super) fn operator() -> String {
    format!("{}@{}", whoami::username(), whoami::fallible::hostname().unwrap_or_default())
}
