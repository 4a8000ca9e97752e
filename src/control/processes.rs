//! The processes of the migration: each reports its roles about once a second, so that all of them and every command know
//! whether source, sink and reconciler work somewhere.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    postgres::{
        Error, Session,
        identity::OURS,
        session::{Param, field},
    },
    status::{Led, Phase, ProcessStatus, Role},
};

/// A process that has been silent for longer does not count: it reports every second.
pub(super) const SILENT: Duration = Duration::from_secs(10);
/// A process that has been silent for longer is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The report of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Process {
    /// Its random name; it begins with the name of the machine.
    pub(crate) instance: String,
    /// Its version.
    pub(crate) version: String,
    /// Its roles by name.
    pub(crate) roles: BTreeMap<String, RoleReport>,
}

/// The report of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleReport {
    /// Its phase.
    pub(crate) phase: Phase,
    /// When the phase began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    /// Why it does not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// The next step that happens without a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by_itself: Option<String>,
    /// The facts about the source; only its leader knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) facts: Option<Led>,
}

impl RoleReport {
    /// A report that says no more than the phase.
    #[cfg(test)]
    pub(crate) fn of(phase: Phase) -> Self {
        Self { phase, since: None, reason: None, hint: None, by_itself: None, facts: None }
    }
}

impl Process {
    /// The report of this process.
    pub(crate) fn new(instance: &str, status: ProcessStatus) -> Self {
        let ProcessStatus { roles, mut led, .. } = status;
        let roles = roles.into_iter().map(|(role, line)| {
            let facts = led.take_if(|_| role == Role::Source.as_str());
            let report = RoleReport {
                phase: line.phase,
                since: Some(line.since),
                reason: line.reason,
                hint: line.hint,
                by_itself: line.by_itself.map(str::to_owned),
                facts,
            };
            (role.to_owned(), report)
        });
        Self { instance: instance.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), roles: roles.collect() }
    }
}

/// Returns a name for this process that no other one has.
pub(crate) fn instance() -> String {
    let machine = whoami::hostname().unwrap_or_else(|_| "process".to_owned());
    format!("{machine}-{}-{:08x}", std::process::id(), uuid::Uuid::new_v4().as_fields().0)
}

/// Publishes the report of this process, and forgets processes that have been silent for a minute.
///
/// # Errors
/// [`Error::Statement`] by its cause, also if the schema does not exist yet.
pub(crate) async fn publish(session: &Session, process: &Process) -> Result<(), Error> {
    let sql = format!(
        "WITH gone AS (DELETE FROM driftless.process WHERE {OURS} AND instance <> $2 \
                          AND at < clock_timestamp() - $5::float8 * interval '1 second') \
         INSERT INTO driftless.process (migration, instance, version, roles) \
         SELECT id, $2, $3, $4 FROM driftless.identity WHERE prefix = $1 \
         ON CONFLICT (migration, instance) DO UPDATE SET roles = excluded.roles, at = clock_timestamp()"
    );
    let roles = session.storable_json(&serde_json::to_value(&process.roles).unwrap_or_default());
    let forgotten = FORGOTTEN.as_secs_f64();
    let params: [Param<'_>; 5] = [&session.prefix(), &process.instance, &process.version, &roles, &forgotten];
    session.execute("report the roles of this process", &sql, &params).await?;
    Ok(())
}

/// Withdraws the report of a process that stops.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn leave(session: &Session, instance: &str) -> Result<(), Error> {
    let sql = format!("DELETE FROM driftless.process WHERE {OURS} AND instance = $2");
    session.execute("withdraw the report of this process", &sql, &[&session.prefix(), &instance]).await?;
    Ok(())
}

/// Reads the reports of the processes that live, in the order of their names. A replay into a fresh schema has the source of the running
/// migration, and reads of its processes no other role.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn live(session: &Session) -> Result<Vec<Process>, Error> {
    let act = "read the reports of the processes";
    let sql = "SELECT p.instance, p.version, \
                      CASE WHEN p.migration = i.id THEN p.roles ELSE jsonb_build_object($3::text, p.roles -> $3) END \
                 FROM driftless.identity AS i JOIN driftless.process AS p \
                   ON p.migration = i.id OR (p.migration = i.beside AND p.roles ? $3) \
                WHERE i.prefix = $1 AND p.at > clock_timestamp() - $2::float8 * interval '1 second' ORDER BY p.instance";
    let source = Role::Source.as_str();
    let rows = session.query(act, sql, &[&session.prefix(), &SILENT.as_secs_f64(), &source]).await?;
    let processes = rows.iter().map(|row| {
        let roles: serde_json::Value = field(row, 2, act)?;
        Ok(Process {
            instance: field(row, 0, act)?,
            version: field(row, 1, act)?,
            // The report of a version that names its phases otherwise is not known here.
            roles: serde_json::from_value(roles).unwrap_or_default(),
        })
    });
    processes.collect()
}
