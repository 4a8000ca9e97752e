//! Loads configuration and mapping for a command, and reports all of their faults.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{finding::Finding, print};
use crate::{
    config::{self, Config, ReadsConfig, SinkConfig},
    mapping::{self, MappingFile},
    pipeline::identity::configured,
    postgres::{self, Postgres, Purpose, Session, identity},
    source::OnDrop,
};

/// Configuration and mapping, each without faults of its own.
pub(super) struct Setup {
    pub(super) config: Config,
    /// The mapping; with `sink.into`, its tables are those of that schema.
    pub(super) mapping: MappingFile,
    /// The replay into a fresh schema that the configuration chooses; `None`: the running migration.
    pub(super) into: Option<Beside>,
}

/// A replay into a fresh schema.
pub(super) struct Beside {
    /// The schema.
    pub(super) schema: String,
    /// The schema that the mapping file names, where the tables go when they are swapped in.
    pub(super) home: String,
    /// The mapping as the file says it.
    pub(super) mapping: MappingFile,
}

/// The choice of a replay into a fresh schema. Other commands take it from the variables of these settings.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct IntoArgs {
    /// The schema of a replay beside the running migration (`sink.into`): it stands in for the schema that the mapping names.
    #[arg(long, value_name = "SCHEMA")]
    pub(super) into: Option<String>,
    /// The mapping file of that replay, instead of the one that the configuration names.
    #[arg(long, value_name = "FILE", requires = "into")]
    mapping: Option<PathBuf>,
}

impl IntoArgs {
    /// The settings that the arguments give.
    fn given(&self) -> serde_json::Value {
        let mut given = serde_json::json!({});
        if let Some(schema) = &self.into {
            given["sink"]["into"] = schema.clone().into();
        }
        if let Some(file) = &self.mapping {
            // A file of the configuration is relative to its folder, one of the command line to that of the command.
            let absolute = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            given["mapping"] = absolute.to_string_lossy().into();
        }
        given
    }
}

impl Setup {
    /// Reads both files; prints their faults and returns `None` if there are any.
    pub(super) fn load(path: &Path) -> Option<Self> {
        Self::load_into(path, &IntoArgs::default())
    }

    /// Reads both files for a replay into a fresh schema, if the arguments name one; prints their faults and returns `None` if there are
    /// any.
    pub(super) fn load_into(path: &Path, into: &IntoArgs) -> Option<Self> {
        let (setup, faults) = Self::read_partly(path, into);
        if !faults.is_empty() {
            print::faults(&faults);
            return None;
        }
        setup
    }

    /// Reads both files as far as they can be read, and returns every fault of both. `None` without a configuration.
    pub(super) fn read_partly(path: &Path, into: &IntoArgs) -> (Option<Self>, Vec<Finding>) {
        let (config, mut faults) = match Self::config(path, &into.given()) {
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
        let Some(schema) = config.sink.into.clone() else {
            let names: Vec<String> = mapping.names().map(str::to_owned).collect();
            faults.extend(config.reads.unmapped(&names).into_iter().map(|fault| finding(path, fault)));
            return (Some(Self { config, mapping, into: None }), faults);
        };
        match Beside::new(schema, mapping, &name) {
            Ok(into) => (Some(Self::beside(config, into)), faults),
            Err(fault) => {
                faults.push(fault);
                (None, faults)
            }
        }
    }

    /// The configuration of a replay into a fresh schema. The application reads the running migration only.
    fn beside(config: Config, into: Beside) -> Self {
        let config = Config { reads: ReadsConfig::default(), ..config };
        Self { config, mapping: into.mapping.clone().into_schema(&into.schema), into: Some(into) }
    }

    /// Reads the configuration alone; prints its faults and returns `None` if there are any.
    pub(super) fn load_config(path: &Path) -> Option<Config> {
        Self::config(path, &serde_json::json!({})).inspect_err(|faults| print::faults(faults)).ok()
    }

    /// Reads the configuration alone.
    fn config(path: &Path, given: &serde_json::Value) -> Result<Config, Vec<Finding>> {
        Config::load_with(path, given).map_err(|faults| faults.into_iter().map(|fault| finding(path, fault)).collect())
    }

    /// Opens a connection for a command that works on the state of the migration, after checking that this state belongs to the
    /// configured source.
    ///
    /// # Errors
    /// Fails when the connection cannot be opened, and when the state belongs to another source.
    pub(super) async fn session(&self) -> Result<Session, postgres::Error> {
        self.open(&self.config.sink).await
    }

    /// Opens a connection on the state of the running migration, whichever replay the configuration chooses.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub(super) async fn running(&self) -> Result<Session, postgres::Error> {
        self.open(&SinkConfig { into: None, ..self.config.sink.clone() }).await
    }

    async fn open(&self, sink: &SinkConfig) -> Result<Session, postgres::Error> {
        let session = Postgres::new(sink, &self.config.log.prefix)?.open(Purpose::Control).await?;
        identity::compare(&session, &configured(&self.config)).await?;
        Ok(session)
    }

    /// Makes sure that a command is about the running migration: a replay into a fresh schema takes what that reads, and keeps the mapping
    /// that it was begun with.
    ///
    /// # Errors
    /// Fails with the name of the command.
    pub(super) fn only_running(&self, command: &str) -> anyhow::Result<()> {
        match &self.into {
            None => Ok(()),
            Some(into) => anyhow::bail!(
                "{command}: the replay into {} takes what the running migration reads, under the mapping that it was begun with; give the \
                 command without `sink.into`",
                into.schema
            ),
        }
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

impl Beside {
    /// # Errors
    /// A fault where the tables would have more than one schema to come from, or are in that schema already.
    fn new(schema: String, mapping: MappingFile, file: &str) -> Result<Self, Finding> {
        let fault = |what: String, hint: &str| Finding { place: file.to_owned(), what, hint: hint.to_owned() };
        let homes: Vec<&str> = mapping.schemas().into_iter().collect();
        let home = match homes[..] {
            [home] if home != schema => home.to_owned(),
            [_] => {
                let what = format!("the mapping itself names the schema {schema}, into which it is to be replayed");
                return Err(fault(
                    what,
                    "name another schema with --into; the file keeps the one where the tables are to be in the end",
                ));
            }
            _ => {
                let what = format!(
                    "the tables are in {} schemas ({}); a replay into a schema stands in for one",
                    homes.len(),
                    homes.join(", ")
                );
                return Err(fault(what, "map the tables of each schema in a migration of its own"));
            }
        };
        Ok(Self { schema, home, mapping })
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
