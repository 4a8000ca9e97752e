//! Loads configuration and mapping for a command, and reports all of their faults.

use std::{collections::BTreeMap, path::Path};

use super::{finding::Finding, print};
use crate::{
    config::{self, Config},
    mapping::{self, MappingFile},
    pipeline::identity::configured,
    postgres::{self, Postgres, Purpose, Session, identity},
    source::OnDrop,
};

/// Configuration and mapping, each without faults of its own.
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) mapping: MappingFile,
}

impl Setup {
    /// Reads both files; prints their faults and returns `None` if there are any.
    pub(super) fn load(path: &Path) -> Option<Self> {
        Self::read(path).inspect_err(|faults| print::faults(faults)).ok()
    }

    /// Reads both files.
    fn read(path: &Path) -> Result<Self, Vec<Finding>> {
        let (setup, faults) = Self::read_partly(path);
        setup.filter(|_| faults.is_empty()).ok_or(faults)
    }

    /// Reads both files as far as they can be read, and returns every fault of both. `None` without a configuration.
    pub(super) fn read_partly(path: &Path) -> (Option<Self>, Vec<Finding>) {
        let (config, mut faults) = match Self::config(path) {
            Ok(config) => (Some(config), Vec::new()),
            Err(faults) => (None, faults),
        };
        let named = config.as_ref().map(|config| config.mapping.clone()).or_else(|| Config::mapping_of(path));
        let Some(named) = named else { return (None, faults) };
        let name = named.display().to_string();
        let text = match std::fs::read_to_string(&named) {
            Ok(text) => text,
            Err(error) => {
                faults.push(Finding {
                    place: name,
                    what: format!("the mapping file cannot be read: {error}"),
                    hint: "name it in `mapping`, relative to the configuration file".to_owned(),
                });
                return (None, faults);
            }
        };
        let (mapping, found) = MappingFile::parse_partly(&text, &name);
        faults.extend(found.into_iter().map(Finding::from));
        let Some(config) = config else { return (None, faults) };
        let names: Vec<String> = mapping.names().map(str::to_owned).collect();
        faults.extend(config.reads.unmapped(&names).into_iter().map(|fault| finding(path, fault)));
        (Some(Self { config, mapping }), faults)
    }

    /// Reads the configuration alone; prints its faults and returns `None` if there are any.
    pub(super) fn load_config(path: &Path) -> Option<Config> {
        Self::config(path).inspect_err(|faults| print::faults(faults)).ok()
    }

    /// Reads the configuration alone.
    fn config(path: &Path) -> Result<Config, Vec<Finding>> {
        Config::load(path).map_err(|faults| faults.into_iter().map(|fault| finding(path, fault)).collect())
    }

    /// Opens a connection for a command that works on the state of the migration, after checking that this state belongs to the
    /// configured source.
    ///
    /// # Errors
    /// Fails when the connection cannot be opened, and when the state belongs to another source.
    pub(super) async fn session(&self) -> Result<Session, postgres::Error> {
        let session = Postgres::new(&self.config.sink, &self.config.log.prefix)?.open(Purpose::Control).await?;
        identity::compare(&session, &configured(&self.config)).await?;
        Ok(session)
    }

    /// Returns the mapped collections with the policy for a drop of each.
    pub(super) fn collections(&self) -> BTreeMap<String, OnDrop> {
        let policies = self.mapping.collections();
        policies.map(|collection| (collection.name().to_owned(), policy(collection.on_drop()))).collect()
    }

    /// Returns the names of the mapped collections.
    pub(super) fn names(&self) -> Vec<String> {
        self.collections().into_keys().collect()
    }

    /// Returns the units of reads.
    pub(super) fn units(&self) -> Vec<config::Unit> {
        self.config.reads.units(&self.names())
    }
}

/// Returns a fault of the configuration file as commands report it.
pub(super) fn finding(path: &Path, fault: config::Fault) -> Finding {
    let key = if fault.key.is_empty() { String::new() } else { format!("{}: ", fault.key) };
    let place = if fault.place.is_empty() { path.display().to_string() } else { fault.place };
    Finding { place, what: format!("{key}{}", fault.rule), hint: fault.hint }
}

fn policy(on_drop: mapping::OnDrop) -> OnDrop {
    match on_drop {
        mapping::OnDrop::Halt => OnDrop::Halt,
        mapping::OnDrop::Ignore => OnDrop::Ignore,
        mapping::OnDrop::Truncate => OnDrop::Truncate,
    }
}

/// Returns who runs the command, as it is recorded beside the action.
pub(super) fn operator() -> String {
    format!("{}@{}", whoami::username().unwrap_or_default(), whoami::hostname().unwrap_or_default())
}
