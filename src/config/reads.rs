//! The units of reads: named sets of collections that the application reads together, with the bounds of each.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer};

use super::{Fault, duration};

/// The unit of all collections.
pub(crate) const ALL: &str = "all";

/// Where the application reads, and how the reads follow the proof.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct ReadsConfig {
    /// How long something may stand against a unit before it trips. What is proven unequal trips it at once.
    #[serde(deserialize_with = "duration")]
    pub(crate) patience: Duration,
    /// How old V may be before that stands against a unit. More than `cutover.fresh`, so that a unit does not trip right after the
    /// gate has let it pass.
    #[serde(deserialize_with = "duration")]
    pub(crate) fresh: Duration,
    /// How stale the target may be.
    #[serde(deserialize_with = "duration")]
    pub(crate) max_staleness: Duration,
    /// For how long nothing must stand against a tripped unit before it goes on by itself; 0 leaves that to an operator.
    #[serde(deserialize_with = "duration")]
    pub(crate) recover_after: Duration,
    /// Age of a judgement after which nobody relies on it, and of the state that a process knows; then all reads go to MongoDB.
    /// Units are judged once a second, so 5 s outlast a slow answer.
    #[serde(deserialize_with = "duration")]
    pub(crate) max_age: Duration,
    /// How old the results of shadow reads may be that a unit demands.
    #[serde(deserialize_with = "duration")]
    pub(crate) shadow_max_age: Duration,
    /// File that is kept up to date with the state of all units, for applications that share a volume with the daemon.
    pub(crate) file: Option<PathBuf>,
    /// The units by name. Without any, each collection is one.
    pub(crate) units: BTreeMap<String, UnitConfig>,
}

impl Default for ReadsConfig {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            fresh: Duration::from_secs(30),
            max_staleness: Duration::from_secs(10),
            recover_after: Duration::ZERO,
            max_age: Duration::from_secs(5),
            shadow_max_age: Duration::from_hours(24),
            file: None,
            units: BTreeMap::new(),
        }
    }
}

/// A unit as the file has it; the bounds that it omits are those of `[reads]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UnitConfig {
    /// Its collections.
    pub(crate) collections: Vec<String>,
    #[serde(deserialize_with = "given")]
    patience: Option<Duration>,
    #[serde(deserialize_with = "given")]
    fresh: Option<Duration>,
    #[serde(deserialize_with = "given")]
    max_staleness: Option<Duration>,
    #[serde(deserialize_with = "given")]
    recover_after: Option<Duration>,
    /// Files of shadow reads whose answers must be equal before the unit is cut over.
    shadow: Vec<PathBuf>,
    #[serde(deserialize_with = "given")]
    shadow_max_age: Option<Duration>,
}

/// A file of shadow reads that a unit demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShadowDemand {
    /// Its name, without its folder: results are kept by it.
    pub(crate) file: String,
    /// How old its results may be.
    pub(crate) max_age: Duration,
}

/// A unit with all its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Its name.
    pub(crate) name: String,
    /// Its collections, in order.
    pub(crate) collections: Vec<String>,
    /// How long something may stand against it before it trips.
    pub(crate) patience: Duration,
    /// How old V may be.
    pub(crate) fresh: Duration,
    /// How stale the target may be.
    pub(crate) max_staleness: Duration,
    /// For how long nothing must stand against it before it goes on by itself; `None` leaves that to an operator.
    pub(crate) recover_after: Option<Duration>,
    /// The shadow reads that it demands; the unit of all collections demands those of every unit.
    pub(crate) shadow: Vec<ShadowDemand>,
}

impl ReadsConfig {
    /// Returns every unit: those of the file, or else one for each of the mapped collections; then `all` of them.
    pub(crate) fn units(&self, mapped: &[String]) -> Vec<Unit> {
        let each = mapped.iter().map(|name| (name.clone(), UnitConfig::of(vec![name.clone()])));
        let named = self.units.iter().map(|(name, unit)| (name.clone(), unit.clone()));
        let mut units: Vec<_> = if self.units.is_empty() { each.collect() } else { named.collect() };
        units.push((ALL.to_owned(), UnitConfig::of(mapped.to_vec())));
        let mut units: Vec<Unit> = units.into_iter().map(|(name, unit)| self.unit(name, unit)).collect();
        let demanded: Vec<ShadowDemand> = units.iter().flat_map(|unit| unit.shadow.clone()).collect();
        if let Some(all) = units.last_mut() {
            all.shadow = demanded;
        }
        units
    }

    fn unit(&self, name: String, unit: UnitConfig) -> Unit {
        let mut collections = unit.collections;
        collections.sort_unstable();
        let recover_after = unit.recover_after.unwrap_or(self.recover_after);
        let max_age = unit.shadow_max_age.unwrap_or(self.shadow_max_age);
        let named = unit.shadow.iter().filter_map(|path| path.file_name());
        let shadow = named.map(|name| ShadowDemand { file: name.to_string_lossy().into_owned(), max_age }).collect();
        Unit {
            shadow,
            name,
            collections,
            patience: unit.patience.unwrap_or(self.patience),
            fresh: unit.fresh.unwrap_or(self.fresh),
            max_staleness: unit.max_staleness.unwrap_or(self.max_staleness),
            recover_after: (!recover_after.is_zero()).then_some(recover_after),
        }
    }

    /// Checks the rules that types cannot state.
    pub(super) fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.max_age < MIN_AGE {
            let rule = format!("must be at least {} s, because units are judged once a second", MIN_AGE.as_secs());
            faults.push(Fault::new("reads.max_age", rule, "5s is a good value"));
        }
        for (name, unit) in &self.units {
            let key = format!("reads.units.{name}");
            if name == ALL {
                faults.push(Fault::new(&key, "is the name of the unit of all collections", "choose another name"));
            }
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
                let rule = "may hold only letters, digits, `-`, `_` and `.`";
                faults.push(Fault::new(&key, rule, "choose a plain name such as `billing`"));
            }
            if unit.collections.is_empty() {
                let key = format!("{key}.collections");
                faults.push(Fault::new(&key, "has no value", "name the collections that are read together"));
            }
        }
        faults
    }

    /// Returns the faults that only the mapping shows: collections that it does not have.
    pub(crate) fn unmapped(&self, mapped: &[String]) -> Vec<Fault> {
        let all = self.units.iter().flat_map(|(name, unit)| unit.collections.iter().map(move |of| (name, of)));
        let fault = |(name, collection): (&String, &String)| {
            let rule = format!("the mapping has no collection `{collection}`");
            Fault::new(&format!("reads.units.{name}.collections"), rule, format!("it has {}", mapped.join(", ")))
        };
        all.filter(|(_, collection)| !mapped.contains(collection)).map(fault).collect()
    }
}

/// The least age of a judgement that two of them, a second apart, can keep to.
const MIN_AGE: Duration = Duration::from_secs(2);

impl UnitConfig {
    fn of(collections: Vec<String>) -> Self {
        Self { collections, ..Self::default() }
    }
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: serde_json::Value) -> ReadsConfig {
        serde_json::from_value(value).expect("a section")
    }

    #[test]
    fn each_collection_is_a_unit_until_units_are_named() {
        let mapped = ["plans".to_owned(), "bills".to_owned()];
        let units = |value| {
            let named =
                |unit: Unit| (unit.name, unit.collections.join(" "), unit.patience.as_secs(), unit.recover_after);
            config(value).units(&mapped).into_iter().map(named).collect::<Vec<_>>()
        };
        let unit = |name: &str, of: &str, patience, after| (name.to_owned(), of.to_owned(), patience, after);
        let none = units(json!({ "recover_after": "1m" }));
        let minute = Some(Duration::from_secs(60));
        let expected = [
            unit("plans", "plans", 5, minute),
            unit("bills", "bills", 5, minute),
            unit("all", "bills plans", 5, minute),
        ];
        assert_eq!(none, expected);
        let named = units(json!({ "patience": "3s", "units": {
            "a": { "collections": ["plans", "bills"], "patience": "0s", "recover_after": "1m" },
            "b": { "collections": ["bills"] },
        } }));
        let expected =
            [unit("a", "bills plans", 0, minute), unit("b", "bills", 3, None), unit("all", "bills plans", 3, None)];
        assert_eq!(named, expected);
    }

    #[test]
    fn the_unit_of_all_demands_the_shadow_reads_of_every_unit() {
        let mapped = ["plans".to_owned(), "bills".to_owned()];
        let config = config(json!({ "shadow_max_age": "1h", "units": {
            "a": { "collections": ["plans"], "shadow": ["queries/a.toml"] },
            "b": { "collections": ["bills"], "shadow": ["b.toml"], "shadow_max_age": "1m" },
            "c": { "collections": ["bills"] },
        } }));
        let demanded = |unit: Unit| {
            let each = unit.shadow.iter().map(|demand| format!("{} {}", demand.file, demand.max_age.as_secs()));
            (unit.name, each.collect::<Vec<_>>().join(", "))
        };
        let expected = [("a", "a.toml 3600"), ("b", "b.toml 60"), ("c", ""), ("all", "a.toml 3600, b.toml 60")];
        let expected = expected.map(|(name, files)| (name.to_owned(), files.to_owned()));
        assert_eq!(config.units(&mapped).into_iter().map(demanded).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn faults_are_named() {
        let faulty = config(json!({ "max_age": "1s", "units": {
            "all": { "collections": ["bills"] }, "two words": { "collections": ["bills"] }, "empty": {},
        } }));
        let keys: Vec<String> = faulty.check().into_iter().map(|fault| fault.key).collect();
        assert_eq!(
            keys,
            ["reads.max_age", "reads.units.all", "reads.units.empty.collections", "reads.units.two words"]
        );
        let unmapped = config(json!({ "units": { "billing": { "collections": ["bills", "payments"] } } }));
        let faults: Vec<String> = unmapped.unmapped(&["bills".to_owned()]).iter().map(ToString::to_string).collect();
        let fault = "reads.units.billing.collections: the mapping has no collection `payments`\n  hint: it has bills";
        assert_eq!(faults, [fault]);
    }
}
