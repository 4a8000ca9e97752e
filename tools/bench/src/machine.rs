//! Facts about the machine and the servers, by which a figure can be judged.

use std::fs;

use serde::Serialize;

/// The load average that the idle servers cause by themselves, with a margin.
const QUIET: f64 = 0.5;

/// The machine on which a run took place.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    /// Model of the processor.
    pub(crate) processor: String,
    /// Processors that may be used.
    pub(crate) processors: usize,
    /// Memory in bytes.
    pub(crate) memory_bytes: u64,
    /// System and kernel.
    pub(crate) system: String,
    /// Load averages before the first measurement: anything above 0 was caused by something else.
    pub(crate) load_before: String,
    /// Versions of the servers.
    pub(crate) servers: Vec<String>,
    /// Commit of the project, with `-dirty` when the tree differed from it.
    pub(crate) commit: String,
}

impl Machine {
    /// Reads the facts of the machine; a fact that cannot be read is left empty.
    pub(crate) fn look() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let system = value(&release, "PRETTY_NAME", '=').unwrap_or_default();
        Self {
            processor: value(&cpu, "model name", ':').unwrap_or_default(),
            processors: processors(),
            memory_bytes: value(&memory, "MemTotal", ':').and_then(|text| kibibytes(&text)).unwrap_or(0),
            system: format!("{system}, Linux {}", kernel.trim()),
            load_before: fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned(),
            servers: Vec::new(),
            commit: commit(),
        }
    }

    /// Returns whether something else kept the machine busy when the run began.
    pub(crate) fn was_busy(&self) -> bool {
        let last_minute = self.load_before.split(' ').next().and_then(|load| load.parse::<f64>().ok());
        last_minute.is_some_and(|load| load > QUIET)
    }

    /// Returns the lines for the report.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("processor", format!("{} × {}, shared by all servers and the daemon", self.processors, self.processor)),
            ("memory", format!("{:.1} GiB", self.memory_bytes as f64 / f64::from(1 << 30))),
            ("system", self.system.clone()),
            ("load before the run", self.load_before.clone()),
            ("servers", self.servers.join(", ")),
            ("commit", self.commit.clone()),
        ]
    }
}

/// Returns the number of processors that may be used; 0 when the system does not report it.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn commit() -> String {
    let output = std::process::Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Returns the value of the first line `name<separator>value`, without quotes.
fn value(text: &str, name: &str, separator: char) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// Converts `16384 kB` to bytes.
pub(crate) fn kibibytes(text: &str) -> Option<u64> {
    text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|value| value * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_somebody_else() {
        let machine = |load: &str| Machine { load_before: load.to_owned(), ..Machine::default() };
        assert!(machine("3.42 4.73 4.41 3/513 21579").was_busy());
        assert!(!machine("0.12 4.73 4.41 3/513 21579").was_busy() && !machine("").was_busy());
    }

    #[test]
    fn values_are_found_by_name() {
        let text = "a\t: 1\nmodel name\t: EPYC 7B13\nmodel name\t: other\nMemTotal:       16384 kB\n";
        assert_eq!(value(text, "model name", ':').as_deref(), Some("EPYC 7B13"));
        assert_eq!(value(text, "MemTotal", ':').and_then(|text| kibibytes(&text)), Some(16_777_216));
        assert_eq!(value(text, "model", ':'), None);
        assert_eq!(value("PRETTY_NAME=\"Debian\"", "PRETTY_NAME", '=').as_deref(), Some("Debian"));
    }
}
