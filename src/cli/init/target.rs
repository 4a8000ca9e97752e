//! Reads the tables that exist, for `init --target`.

use std::path::Path;

use secrecy::ExposeSecret;

use crate::{
    cli::{print, setup},
    config::{Config, Secret},
    fit::Target,
    postgres::{Postgres, Purpose, read_catalog, read_lists},
};

/// Reads the tables of a schema, or of all, and where they are; prints the faults of the configuration and returns `None` if there are
/// any.
///
/// # Errors
/// Fails when PostgreSQL cannot be read, and for a schema without tables.
pub(super) async fn read(
    path: &Path,
    url: Option<&Secret>,
    schema: Option<&str>,
) -> anyhow::Result<Option<(Target, Option<String>)>> {
    let mut given = serde_json::Map::new();
    if let Some(url) = url {
        given.insert("url".to_owned(), url.expose_secret().into());
    }
    let config = match Config::load_sink(path, given) {
        Ok(config) => config,
        Err(faults) => {
            print::faults(&faults.into_iter().map(|fault| setup::finding(path, fault)).collect::<Vec<_>>());
            return Ok(None);
        }
    };
    let session = Postgres::new(&config, "init")?.open(Purpose::Read).await?;
    let (mut catalog, lists) = (read_catalog(&session).await?, read_lists(&session).await?);
    let wanted = |name: &str| schema.is_none_or(|schema| schema == name);
    catalog.tables.retain(|table| wanted(&table.name.schema));
    anyhow::ensure!(
        !catalog.tables.is_empty(),
        "find tables in {}: make them first, or leave out --target to draft them",
        schema.map_or_else(|| "the target".to_owned(), |schema| format!("schema {schema} of the target"))
    );
    let file = || std::fs::read_to_string(config.url_file.as_ref()?).ok().map(|text| text.trim().to_owned());
    let address = config.url.as_ref().map(|url| url.expose_secret().to_owned()).or_else(file);
    Ok(Some((Target { catalog, lists }, address)))
}
