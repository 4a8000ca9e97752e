//! The files of a project. None is ever overwritten.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// The configuration with every setting explained, of which a project has a copy.
const CONFIGURATION: &str = include_str!("../../../config/driftless.toml");
const README: &str = include_str!("project.md");
/// The steps where the tables exist.
const README_OF_TARGET: &str = include_str!("target.md");
const COMPOSE: &str = include_str!("compose.yaml");

/// The scripts for roles, by their place in the project.
const ROLES: [(&str, &str); 6] = [
    ("roles/mongodb/role.json", include_str!("../../../deploy/roles/mongodb/role.json")),
    ("roles/mongodb/grant.js", include_str!("../../../deploy/roles/mongodb/grant.js")),
    ("roles/kafka.sh", include_str!("../../../deploy/roles/kafka.sh")),
    ("roles/postgresql/sink.sql", include_str!("../../../deploy/roles/postgresql/sink.sql")),
    ("roles/postgresql/guard.sql", include_str!("../../../deploy/roles/postgresql/guard.sql")),
    ("roles/postgresql/reader.sql", include_str!("../../../deploy/roles/postgresql/reader.sql")),
];
/// The file of the tables.
const SCHEMA: &str = "schema.sql";
/// The other files.
const OWN: [&str; 8] = [
    "README.md",
    "driftless.toml",
    "mapping.toml",
    SCHEMA,
    "compose.yaml",
    ".gitignore",
    "secrets/mongodb.uri",
    "secrets/postgres.url",
];

/// The parts of a project.
pub(super) struct Project<'a> {
    pub(super) folder: &'a Path,
    pub(super) database: &'a str,
    pub(super) mapping: &'a str,
    /// The statements that make the tables; `None` if they exist.
    pub(super) tables: Option<&'a str>,
    pub(super) schema: &'a str,
    pub(super) brokers: &'a str,
    pub(super) replication: i32,
    /// The connection strings, where they are known.
    pub(super) uri: Option<String>,
    pub(super) url: Option<String>,
}

/// Fails if a file of a project exists already: nothing of it has been written then.
pub(super) fn refuse_existing(folder: &Path) -> anyhow::Result<()> {
    let names = OWN.into_iter().chain(ROLES.iter().map(|(name, _)| *name));
    let existing: Vec<&str> = names.filter(|name| folder.join(name).exists()).collect();
    anyhow::ensure!(
        existing.is_empty(),
        "make a project in {}: it has {} already; name another folder with --to",
        folder.display(),
        existing.join(", ")
    );
    Ok(())
}

impl Project<'_> {
    /// Writes every file; returns their paths.
    pub(super) fn write(&self) -> anyhow::Result<Vec<PathBuf>> {
        let prefix = prefix(self.database);
        let uri = self.uri.clone().unwrap_or_else(|| "mongodb://localhost:27017/?replicaSet=rs0".to_owned());
        let url = self.url.clone().unwrap_or_else(|| format!("postgres://localhost:5432/{prefix}"));
        let contents = [
            if self.tables.is_some() { README } else { README_OF_TARGET }
                .replace("DATABASE", &one_line(self.database))
                .replace("SCHEMA", self.schema)
                .replace("PREFIX", &prefix),
            self.configuration(&prefix),
            self.mapping.to_owned(),
            self.tables.unwrap_or_default().to_owned(),
            COMPOSE.to_owned(),
            "secrets/\n".to_owned(),
            format!("{uri}\n"),
            format!("{url}\n"),
        ];
        let is_made = |name: &str| name != SCHEMA || self.tables.is_some();
        let own = OWN.into_iter().zip(contents).filter(|(name, _)| is_made(name));
        let all = own.chain(ROLES.iter().map(|(name, text)| (*name, (*text).to_owned())));
        all.map(|(name, text)| {
            let path = self.folder.join(name);
            create(&path, &text, name.starts_with("secrets/")).with_context(|| format!("write {}", path.display()))?;
            Ok(path)
        })
        .collect()
    }

    /// The explained configuration, with the settings of this project.
    fn configuration(&self, prefix: &str) -> String {
        let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let own = [
            ("mapping = ", "\"mapping.toml\"".to_owned()),
            ("database = ", text(self.database)),
            ("brokers = ", text(self.brokers)),
            ("prefix = ", text(prefix)),
            ("replication = ", self.replication.to_string()),
        ];
        let lines = CONFIGURATION.lines().map(|line| match own.iter().find(|(key, _)| line.starts_with(key)) {
            Some((key, value)) => format!("{key}{value}\n"),
            None => format!("{line}\n"),
        });
        lines.collect()
    }
}

/// The name of the migration: the database, as far as names of topics may have its characters.
fn prefix(database: &str) -> String {
    let plain =
        |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter.to_ascii_lowercase() } else { '_' };
    database.chars().map(plain).collect()
}

fn one_line(text: &str) -> String {
    text.replace(|letter: char| letter.is_control(), " ")
}

/// Writes a file that does not exist; only its owner may read a secret one.
fn create(path: &Path, text: &str, secret: bool) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if secret {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_configuration_has_the_settings_of_the_project() {
        let folder = std::env::temp_dir().join(format!("driftless-init-{}", std::process::id()));
        let project = Project {
            folder: &folder,
            database: "My \"Shop\"",
            mapping: "m",
            tables: Some("s"),
            schema: "app",
            brokers: "kafka:9092",
            replication: 1,
            uri: Some("mongodb://h/?replicaSet=r".to_owned()),
            url: None,
        };
        refuse_existing(&folder).expect("nothing is there");
        let written = project.write().expect("written");
        assert_eq!(written.len(), OWN.len() + ROLES.len());
        let config = Config::load(&folder.join("driftless.toml")).expect("a configuration");
        assert_eq!((config.source.database.as_str(), config.log.prefix.as_str()), ("My \"Shop\"", "my__shop_"));
        assert_eq!((config.mapping.as_path(), config.log.replication), (folder.join("mapping.toml").as_path(), 1));
        let again = refuse_existing(&folder).expect_err("all is there").to_string();
        assert!(again.contains("driftless.toml") && project.write().is_err(), "{again}");
        std::fs::remove_dir_all(&folder).expect("removed");
        let written = Project { tables: None, ..project }.write().expect("written");
        assert!(written.len() == OWN.len() + ROLES.len() - 1 && !folder.join(SCHEMA).exists());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
