//! Reads file and environment, and reports every fault of both at once.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Codec, Config, Fault, SinkConfig, SourceConfig};

impl Config {
    /// Variables named `DRIFTLESS__SECTION__KEY` override the file.
    pub(crate) const ENV_PREFIX: &str = "DRIFTLESS";

    /// Reads the file and the environment.
    ///
    /// # Errors
    /// Fails with every fault of both at once; no server has been contacted.
    pub fn load(path: &Path) -> Result<Self, Vec<Fault>> {
        Self::load_with(path, &serde_json::json!({}))
    }

    /// Reads the file and the environment; what is `given`, by section and key, comes before both.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn load_with(path: &Path, given: &serde_json::Value) -> Result<Self, Vec<Fault>> {
        let text = text(path).map_err(|fault| vec![Fault { place: path.display().to_string(), ..fault }])?;
        Self::read(&text, path, given, |_| true)
    }

    /// Reads only the settings of the source. The file may be missing, and what is `given` under a key comes before file and
    /// environment.
    ///
    /// # Errors
    /// As [`Config::load`], without the faults of other sections.
    pub(crate) fn load_source(
        path: &Path,
        given: serde_json::Map<String, serde_json::Value>,
    ) -> Result<SourceConfig, Vec<Fault>> {
        let given = serde_json::json!({ "source": given });
        Self::load_section(path, &given, |key| key.starts_with("source")).map(|config| config.source)
    }

    /// Reads only the settings of the sink, as [`Config::load_source`] does those of the source.
    ///
    /// # Errors
    /// As [`Config::load`], without the faults of other sections.
    pub(crate) fn load_sink(
        path: &Path,
        given: serde_json::Map<String, serde_json::Value>,
    ) -> Result<SinkConfig, Vec<Fault>> {
        let given = serde_json::json!({ "sink": given });
        Self::load_section(path, &given, |key| key.starts_with("sink")).map(|config| config.sink)
    }

    fn load_section(path: &Path, given: &serde_json::Value, wanted: fn(&str) -> bool) -> Result<Self, Vec<Fault>> {
        let text = match std::fs::exists(path) {
            Ok(false) => String::new(),
            _ => text(path).map_err(|fault| vec![Fault { place: path.display().to_string(), ..fault }])?,
        };
        Self::read(&text, path, given, wanted)
    }

    /// Reads a file's text, the environment and what is given besides; faults of keys that are not wanted are left out.
    fn read(text: &str, path: &Path, given: &serde_json::Value, wanted: fn(&str) -> bool) -> Result<Self, Vec<Fault>> {
        let environment =
            config::Environment::with_prefix(Self::ENV_PREFIX).prefix_separator("__").separator("__").try_parsing(true);
        let read = |sources: config::ConfigBuilder<config::builder::DefaultState>| {
            let read = sources.build().and_then(config::Config::try_deserialize::<serde_json::Value>);
            read.map_err(|error| {
                vec![Fault::new("", error.to_string(), "correct the file, or the variables DRIFTLESS__…")]
            })
        };
        let table = parsed(text, path)?;
        let file = config::File::from_str(text, config::FileFormat::Toml);
        let mut raw = read(config::Config::builder().add_source(file).add_source(environment.clone()))?;
        let mut environment = read(config::Config::builder().add_source(environment))?;
        lay_over(&mut raw, given);
        lay_over(&mut environment, given);
        // A connection string in the environment replaces that of the file, in whichever form the file gives it.
        for (section, text, file) in [("source", "uri", "uri_file"), ("sink", "url", "url_file")] {
            let given = |key| environment.get(section).is_some_and(|section| section.get(key).is_some());
            match (given(text), given(file)) {
                (true, false) => remove(&mut raw, &format!("{section}.{file}")),
                (false, true) => remove(&mut raw, &format!("{section}.{text}")),
                _ => false,
            };
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let misnamed = misnamed(std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()));
        let (config, faults) = match Self::from_value(raw.clone(), folder, wanted) {
            Ok(config) => (Some(Self { given: without_secrets(raw), ..config }), Vec::new()),
            Err(faults) => (None, faults),
        };
        let placed = faults.into_iter().map(|fault| match given_by(&environment, &fault.key) {
            Some(variable) => Fault { place: variable, ..fault },
            None => Fault { place: place(text, table.get_ref(), &fault.key, path), ..fault },
        });
        let faults: Vec<Fault> = placed.chain(misnamed).collect();
        config.filter(|_| faults.is_empty()).ok_or(faults)
    }

    /// Returns the mapping file that a configuration names, even one with faults, so that the faults of both can be reported at once.
    pub(crate) fn mapping_of(path: &Path) -> Option<PathBuf> {
        let variable = format!("{}__MAPPING", Self::ENV_PREFIX);
        let named = std::env::var(variable).ok().or_else(|| {
            let text = text(path).ok()?;
            let (table, _) = DeTable::parse_recoverable(&text);
            table.get_ref().get("mapping")?.get_ref().as_str().map(str::to_owned)
        })?;
        (!named.is_empty()).then(|| path.parent().unwrap_or(Path::new("")).join(named))
    }

    fn from_value(mut raw: serde_json::Value, folder: &Path, wanted: fn(&str) -> bool) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        // A value that cannot be read is reported and removed, so that the next faulty value is reported too.
        let (mut config, unknown) = loop {
            let mut unknown = Vec::new();
            let mut track = serde_path_to_error::Track::new();
            let tracked = serde_path_to_error::Deserializer::new(&raw, &mut track);
            match serde_ignored::deserialize::<_, _, Self>(tracked, |path| unknown.push(path.to_string())) {
                Ok(config) => break (config, unknown),
                Err(error) => {
                    let key = track.path().to_string();
                    faults.push(Fault::new(
                        &key,
                        in_words(&error.to_string()),
                        "see the commented example, config/driftless.toml",
                    ));
                    if !remove(&mut raw, &key) {
                        return Err(faults);
                    }
                }
            }
        };
        faults.extend(
            unknown.iter().map(|key| Fault::new(key, "no such key", "remove it, or correct its name or section")),
        );
        let unread: Vec<String> = faults.iter().map(|fault| fault.key.clone()).collect();
        faults.extend(config.check().into_iter().filter(|fault| !unread.contains(&fault.key)));
        faults.retain(|fault| wanted(&fault.key));
        if !faults.is_empty() {
            return Err(faults);
        }
        for path in [
            Some(&mut config.mapping),
            config.source.uri_file.as_mut(),
            config.log.client_secrets_file.as_mut(),
            config.sink.url_file.as_mut(),
            config.sink.ca_file.as_mut(),
            config.sink.certificate_file.as_mut(),
            config.reads.file.as_mut(),
            config.http.token_file.as_mut(),
        ]
        .into_iter()
        .flatten()
        {
            *path = folder.join(&*path);
        }
        config.log.into.clone_from(&config.sink.into);
        Ok(config)
    }

    /// Checks the rules that types cannot state.
    fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, key: &str, rule: &str, hint: &str| {
            if !holds {
                faults.push(Fault::new(key, rule, hint));
            }
        };
        must(!self.mapping.as_os_str().is_empty(), "mapping", "has no value", "name the mapping file");
        let source = &self.source;
        must(
            source.uri.is_some() != source.uri_file.is_some(),
            "source.uri",
            "needs exactly one of `uri` and `uri_file`",
            "put the connection string into a file and name that file in `uri_file`, or set DRIFTLESS__SOURCE__URI",
        );
        must(!source.database.is_empty(), "source.database", "has no value", "name the database to replicate");
        must(source.stream_batch > 0, "source.stream_batch", "must be above 0", "5000 is a good value");
        must(source.lookup_batch > 0, "source.lookup_batch", "must be above 0", "1000 is a good value");
        must(source.chunk_documents > 0, "source.chunk_documents", "must be above 0", "1000 is a good value");
        must(source.snapshot_readers > 0, "source.snapshot_readers", "must be above 0", "2 is a good value");
        must(source.chunk_time.as_secs() <= 60, "source.chunk_time", "must not exceed 60s", "1s is a good value");
        let log = &self.log;
        must(!log.brokers.is_empty(), "log.brokers", "has no value", "name at least one broker as host:port");
        must(!log.prefix.is_empty(), "log.prefix", "has no value", "choose a name for this migration, such as `shop`");
        must(
            log.prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'),
            "log.prefix",
            "may hold only letters, digits, `-` and `_`",
            "choose a plain name such as `shop`",
        );
        must(log.partitions > 0, "log.partitions", "must be above 0", "4 is a good value");
        must(log.replication > 0, "log.replication", "has no value above 0", "3 in production, 1 with a single broker");
        must(log.transaction_changes > 0, "log.transaction_changes", "must be above 0", "2000 is a good value");
        let sink = &self.sink;
        must(
            sink.url.is_some() != sink.url_file.is_some(),
            "sink.url",
            "needs exactly one of `url` and `url_file`",
            "put the connection string into a file and name that file in `url_file`, or set DRIFTLESS__SINK__URL",
        );
        let named =
            |schema: &str| schema.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        must(
            sink.into.as_deref().is_none_or(|schema| !schema.is_empty() && named(schema)),
            "sink.into",
            "must consist of letters, digits, `_` and `-`",
            "name the schema that the replay fills; leave it out for the running migration",
        );
        must(sink.workers > 0, "sink.workers", "must be above 0", "2 is a good value");
        must(sink.batch_changes > 0, "sink.batch_changes", "must be above 0", "2000 is a good value");
        must(
            sink.breaker_share > 0.0 && sink.breaker_share <= 1.0,
            "sink.breaker_share",
            "must be above 0 and at most 1",
            "0.9 is a good value",
        );
        for (setting, is_set) in [("log.schemas", self.log.schemas), ("log.tombstones", self.log.tombstones)] {
            must(
                !is_set || self.log.codec == Codec::Json,
                setting,
                "is for other consumers, which cannot read `log.codec = \"bson\"`",
                "set `codec = \"json\"`, or leave this out",
            );
        }
        must(!sink.catalog_interval.is_zero(), "sink.catalog_interval", "must be above 0", "10s is a good value");
        must(self.shadow.runs > 0, "shadow.runs", "must be above 0", "100 is a good value");
        must(self.repair.stop_at > 0, "repair.stop_at", "must be above 0", "1000 is a good value");
        must(
            self.repair.stop_share > 0.0 && self.repair.stop_share <= 1.0,
            "repair.stop_share",
            "must be above 0 and at most 1",
            "0.05 is a good value",
        );
        must(self.reconcile.sample > 0, "reconcile.sample", "must be above 0", "500 is a good value");
        must(self.reconcile.findings_kept > 0, "reconcile.findings_kept", "must be above 0", "10000 is a good value");
        must(self.reconcile.pending_keys > 0, "reconcile.pending_keys", "must be above 0", "100000 is a good value");
        must(
            self.log.idle_frontier < self.reconcile.max_staleness,
            "reconcile.max_staleness",
            "must be above `log.idle_frontier`, the interval at which an idle log reports",
            "10s is a good value",
        );
        must(
            self.retry.min <= self.retry.max,
            "retry.min",
            "must not exceed `retry.max`",
            "100ms and 5s are good values",
        );
        faults.extend(self.reads.check());
        faults
    }
}

/// Puts `***` in place of secrets: of connection strings, and of all settings of the Kafka client, any of which may be one.
fn without_secrets(mut settings: serde_json::Value) -> serde_json::Value {
    for (section, key) in [("source", "uri"), ("sink", "url"), ("log", "client")] {
        match settings.get_mut(section).and_then(|section| section.get_mut(key)) {
            Some(serde_json::Value::Object(client)) => client.values_mut().for_each(|value| *value = "***".into()),
            Some(secret) => *secret = "***".into(),
            None => {}
        }
    }
    settings
}

/// Reads the text of the file.
fn text(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::new(
            "",
            "there is no such configuration file",
            "name your file with --config; config/driftless.toml is a commented example to copy",
        ),
        _ => Fault::new(
            "",
            format!("the configuration file cannot be read: {error}"),
            "make the file readable for driftless",
        ),
    })
}

/// Parses the file as TOML, and reports every fault of its syntax.
fn parsed<'t>(text: &'t str, path: &Path) -> Result<toml::Spanned<DeTable<'t>>, Vec<Fault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(table);
    }
    let faults = errors.iter().map(|error| {
        let place = line(text, path, error.span().map_or(0, |span| span.start));
        Fault { place, ..Fault::new("", error.message(), "this is not valid TOML") }
    });
    Err(faults.collect())
}

/// Returns the place of a key in the file; for a missing key the place of its section, or the file.
fn place(text: &str, table: &DeTable<'_>, key: &str, path: &Path) -> String {
    let (mut here, mut start) = (Some(table), None);
    for name in key.split('.') {
        let Some((at, value)) = here.and_then(|table| table.get_key_value(name)) else { break };
        start = Some(at.span().start);
        here = match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        };
    }
    start.map_or_else(|| path.display().to_string(), |start| line(text, path, start))
}

fn line(text: &str, path: &Path, start: usize) -> String {
    let before = &text[..start.min(text.len())];
    format!("{}:{}", path.display(), 1 + before.bytes().filter(|byte| *byte == b'\n').count())
}

/// Returns the environment variable that gives a key, if one does.
fn given_by(environment: &serde_json::Value, key: &str) -> Option<String> {
    let pointer = format!("/{}", key.replace('.', "/"));
    environment.pointer(&pointer).filter(|value| !value.is_object())?;
    Some(format!("{}__{}", Config::ENV_PREFIX, key.replace('.', "__").to_uppercase()))
}

/// Translates a message of serde about a wrong type or value into the words of a configuration file.
fn in_words(error: &str) -> String {
    let Some((found, wanted)) = error.split_once(", expected ") else { return error.to_owned() };
    let wanted = match wanted {
        "a string" => "a text in quotes",
        "a boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a map" => "a section of keys",
        wanted if wanted.starts_with("struct ") => "a section of keys",
        wanted => wanted,
    };
    match found.strip_prefix("invalid type: ").or_else(|| found.strip_prefix("invalid value: ")) {
        // A text may be a secret under a wrong key.
        Some(found) if found.starts_with("string ") => format!("is a text, and must be {wanted}"),
        Some(found) => format!("is the {}, and must be {wanted}", found.replace('`', "")),
        None => format!("{found}, expected {wanted}"),
    }
}

/// Reports variables that look like keys but lack the second underscore after the prefix; they would be ignored silently.
fn misnamed(names: impl Iterator<Item = String>) -> Vec<Fault> {
    let meant = |name: &str| {
        let rest = name.strip_prefix(Config::ENV_PREFIX)?.strip_prefix('_')?;
        (!rest.starts_with('_') && rest.contains("__")).then(|| format!("name it {}__{rest}", Config::ENV_PREFIX))
    };
    let fault = |name: String| {
        Some(Fault { place: name.clone(), ..Fault::new("", "this variable is not read", meant(&name)?) })
    };
    names.filter_map(fault).collect()
}

/// Puts the values of an object in place of those of another, section by section.
fn lay_over(raw: &mut serde_json::Value, given: &serde_json::Value) {
    match (raw, given) {
        (serde_json::Value::Object(raw), serde_json::Value::Object(given)) => {
            given
                .iter()
                .for_each(|(key, value)| lay_over(raw.entry(key).or_insert_with(|| serde_json::json!({})), value));
        }
        (raw, given) => *raw = given.clone(),
    }
}

/// Removes `section.key`; returns whether it was there.
fn remove(raw: &mut serde_json::Value, key: &str) -> bool {
    let (parent, last) = match key.rsplit_once('.') {
        Some((parent, last)) => (format!("/{}", parent.replace('.', "/")), last),
        None => (String::new(), key),
    };
    raw.pointer_mut(&parent)
        .and_then(serde_json::Value::as_object_mut)
        .is_some_and(|section| section.remove(last).is_some())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn minimal() -> serde_json::Value {
        json!({
            "mapping": "shop.mapping.toml",
            "source": { "uri": "mongodb://user:secret@localhost", "database": "shop" },
            "log": { "brokers": "localhost:9092", "prefix": "shop", "replication": 1 },
            "sink": { "url_file": "postgres.url" },
        })
    }

    #[test]
    fn a_minimal_file_is_enough_and_paths_are_relative_to_it() {
        let config = Config::from_value(minimal(), Path::new("etc"), |_| true).expect("a configuration");
        assert_eq!(config.mapping, Path::new("etc/shop.mapping.toml"));
        assert_eq!(config.sink.url_file.as_deref(), Some(Path::new("etc/postgres.url")));
        assert_eq!(config.source.max_await, std::time::Duration::from_millis(250));
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:9464");
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let mut raw = minimal();
        raw["source"]["max_await"] = json!("soon");
        raw["source"]["uri_file"] = json!("also.uri");
        raw["log"]["replication"] = json!(0);
        raw["log"]["partitons"] = json!(8);
        raw["sink"]["batch_bytes"] = json!("8 parsecs");
        raw["extra"] = json!({ "a": 1 });
        let faults = Config::from_value(raw, Path::new(""), |_| true).expect_err("faults");
        let mut keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            ["extra", "log.partitons", "log.replication", "sink.batch_bytes", "source.max_await", "source.uri"]
        );
    }

    #[test]
    fn what_other_consumers_need_is_no_use_with_bson() {
        let mut raw = minimal();
        raw["log"]["codec"] = json!("bson");
        raw["log"]["schemas"] = json!(true);
        raw["log"]["tombstones"] = json!(true);
        let faults = Config::from_value(raw.clone(), Path::new(""), |_| true).expect_err("faults");
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["log.schemas", "log.tombstones"]);
        raw["log"]["codec"] = json!("json");
        assert!(Config::from_value(raw, Path::new(""), |_| true).is_ok());
    }

    #[test]
    fn the_source_alone_needs_nothing_else() {
        let missing = Path::new("there/is/no.toml");
        let faults = Config::load_source(missing, serde_json::Map::new()).expect_err("faults");
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["source.uri", "source.database"]);
        let serde_json::Value::Object(given) = json!({ "uri": "mongodb://h", "database": "shop" }) else { return };
        let source = Config::load_source(missing, given).expect("a source");
        assert_eq!((source.database.as_str(), source.chunk_documents), ("shop", 1_000));
    }

    #[test]
    fn the_sink_alone_needs_nothing_else() {
        let missing = Path::new("there/is/no.toml");
        let faults = Config::load_sink(missing, serde_json::Map::new()).expect_err("faults");
        assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), ["sink.url"]);
        let serde_json::Value::Object(given) = json!({ "url": "postgres://h/shop" }) else { return };
        assert!(Config::load_sink(missing, given).expect("a sink").url.is_some());
    }

    #[test]
    fn an_empty_file_names_every_missing_value() {
        let faults = Config::from_value(json!({}), Path::new(""), |_| true).expect_err("faults");
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(
            keys,
            ["mapping", "source.uri", "source.database", "log.brokers", "log.prefix", "log.replication", "sink.url"]
        );
    }

    #[rstest]
    #[case::text(r#"invalid type: string "hunter2", expected i32"#, "is a text, and must be a whole number")]
    #[case::number("invalid type: integer `5`, expected a string", "is the integer 5, and must be a text in quotes")]
    #[case::negative(
        "invalid value: integer `-1`, expected u32",
        "is the integer -1, and must be a whole number of 0 or more"
    )]
    #[case::choice("unknown variant `x`, expected `json` or `bson`", "unknown variant `x`, expected `json` or `bson`")]
    fn a_wrong_type_is_reported_in_plain_words(#[case] error: &str, #[case] expected: &str) {
        assert_eq!(in_words(error), expected);
    }

    #[rstest]
    #[case::given("log.replication", "d.toml:4")]
    #[case::lacking("log.prefix", "d.toml:3")]
    #[case::no_section("sink.url", "d.toml")]
    fn a_fault_has_its_line(#[case] key: &str, #[case] expected: &str) {
        let text = "mapping = \"m\"\n\n[log]\nreplication = \"one\"\n";
        let table = parsed(text, Path::new("d.toml")).expect("TOML");
        assert_eq!(place(text, table.get_ref(), key, Path::new("d.toml")), expected);
    }

    #[rstest]
    #[case::one_underscore("DRIFTLESS_SINK__WORKERS", Some("name it DRIFTLESS__SINK__WORKERS"))]
    #[case::right("DRIFTLESS__SINK__WORKERS", None)]
    #[case::not_a_key("DRIFTLESS_CACHE", None)]
    #[case::of_somebody_else("OTHER_SINK__WORKERS", None)]
    fn a_variable_that_is_not_read_is_named(#[case] name: &str, #[case] hint: Option<&str>) {
        let faults = misnamed([name.to_owned()].into_iter());
        assert_eq!(
            faults.first().map(|fault| (fault.place.as_str(), fault.hint.as_str())),
            hint.map(|hint| (name, hint))
        );
    }

    #[test]
    fn secrets_do_not_print() {
        let config = Config::from_value(minimal(), Path::new(""), |_| true).expect("a configuration");
        let printed = format!("{config:?}");
        assert!(!printed.contains("secret@") && printed.contains("uri: Some(***)"), "{printed}");
        let mut given = minimal();
        given["log"]["client"] = serde_json::json!({ "sasl.password": "secret@", "nested": { "key": "secret@" } });
        let given = without_secrets(given);
        assert!(!given.to_string().contains("secret@"), "{given}");
        assert_eq!((&given["source"]["uri"], &given["log"]["client"]["nested"]), (&"***".into(), &"***".into()));
    }

    #[test]
    fn the_example_is_a_configuration() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/driftless.toml");
        let config = Config::load(&path).expect("no faults");
        assert_eq!(config.mapping, path.with_file_name("demo/mapping.toml"));
    }

    #[test]
    fn the_example_names_every_key_with_its_default() {
        // Uncommented, it must still be a configuration, and the same one.
        let example = include_str!("../../config/driftless.toml");
        let setting = |line: &&str| {
            line.strip_prefix("# ").is_some_and(|rest| {
                rest.split_once(" = ")
                    .is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
            })
        };
        let optional = ["client_secrets_file", "ca_file", "certificate_file", "into", "file", "token_file"];
        let uncommented: Vec<&str> = example
            .lines()
            .filter(|line| !optional.iter().any(|key| line.contains(&format!("# {key} ="))))
            .map(|line| if setting(&line) { &line[2..] } else { line })
            .collect();
        let parse = |text: &str| {
            let raw: toml::Table = text.parse().expect("TOML");
            let raw = serde_json::to_value(raw).expect("JSON");
            format!("{:?}", Config::from_value(raw, Path::new(""), |_| true).expect("no faults"))
        };
        assert_eq!(parse(&uncommented.join("\n")), parse(example));
    }
}
