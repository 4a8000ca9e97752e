//! Pauses: an operator stops a role, or the application of a collection, until he resumes it or a time has passed.
//!
//! Every process reads the pauses about once a second, and a role finishes what is open before it rests. While PostgreSQL is away,
//! what was read last holds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::journal::record_action;
use crate::{
    postgres::{
        Error, Session,
        identity::{self, OURS},
        session::field,
    },
    status::Role,
};

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it began.
    pub since: Timestamp,
    /// When it ends by itself; `None`: only when somebody resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who asked for it.
    pub who: String,
    /// The reason.
    pub why: String,
}

impl Pause {
    /// Describes the pause in one line.
    pub(crate) fn text(&self) -> String {
        let Self { since, until, who, why } = self;
        let until = until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
        format!("paused by {who} at {since:.0}{until}: {why}")
    }
}

/// The pauses of roles and collections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// The paused roles by name.
    pub roles: BTreeMap<String, Pause>,
    /// The paused collections.
    pub collections: BTreeMap<String, Pause>,
    /// How often each role was resumed.
    pub resumed: BTreeMap<String, i64>,
}

impl Pauses {
    /// Returns the pause of a role.
    pub(crate) fn of(&self, role: Role) -> Option<&Pause> {
        self.roles.get(role.as_str())
    }

    /// Returns how often a role was resumed.
    pub(crate) fn resumed(&self, role: Role) -> i64 {
        self.resumed.get(role.as_str()).copied().unwrap_or(0)
    }
}

/// The subject of a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A role, by name.
    Role(String),
    /// The application of a collection.
    Collection(String),
}

const ROLE: &str = "role";
const COLLECTION: &str = "collection";

impl Subject {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Role(name) => (ROLE, name),
            Self::Collection(name) => (COLLECTION, name),
        }
    }
}

/// Reads the pauses that hold now.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause, also if the schema does not exist yet.
pub async fn read(session: &Session) -> Result<Pauses, Error> {
    let act = "read pauses";
    let sql = format!(
        "SELECT kind, name, resumed, (extract(epoch FROM since) * 1000)::int8, (extract(epoch FROM ends_at) * 1000)::int8, \
                who, coalesce(why, ''), since IS NOT NULL AND coalesce(ends_at > clock_timestamp(), true) \
           FROM driftless.pause WHERE {OURS}"
    );
    let mut pauses = Pauses::default();
    for row in session.query(act, &sql, &[&session.prefix()]).await? {
        let (kind, name): (&str, String) = (field(&row, 0, act)?, field(&row, 1, act)?);
        let time = |at| {
            Ok::<_, Error>(field::<Option<i64>>(&row, at, act)?.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
        };
        if kind == ROLE {
            pauses.resumed.insert(name.clone(), field(&row, 2, act)?);
        }
        if let (true, Some(since)) = (field(&row, 7, act)?, time(3)?) {
            let pause = Pause { since, until: time(4)?, who: field(&row, 5, act)?, why: field(&row, 6, act)? };
            let of_kind = if kind == ROLE { &mut pauses.roles } else { &mut pauses.collections };
            of_kind.insert(name, pause);
        }
    }
    Ok(pauses)
}

/// Pauses these subjects for so many seconds, or until somebody resumes them, and records who asked and why. A subject that is paused
/// already keeps the time at which its pause began.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn pause(
    session: &Session,
    subjects: &[Subject],
    seconds: Option<f64>,
    who: &str,
    why: &str,
) -> Result<(), Error> {
    let act = "pause";
    let asked = async {
        identity::ensure(session).await?;
        let sql = "INSERT INTO driftless.pause AS p (migration, kind, name, since, ends_at, who, why) \
                   SELECT i.id, s.*, clock_timestamp(), clock_timestamp() + $3::float8 * interval '1 second', $4, $5 \
                     FROM driftless.identity AS i, unnest($1::text[], $2::text[]) AS s WHERE i.prefix = $6 \
                   ON CONFLICT (migration, kind, name) DO UPDATE SET ends_at = excluded.ends_at, who = excluded.who, why = excluded.why, \
                     since = CASE WHEN p.ends_at <= clock_timestamp() THEN excluded.since ELSE coalesce(p.since, excluded.since) END";
        let (kinds, names) = parts(subjects);
        let (who, why) = (session.storable(who), session.storable(why));
        session.execute(act, sql, &[&kinds, &names, &seconds, &who, &why, &session.prefix()]).await?;
        record_action(session, &who, act, &detail(subjects, serde_json::json!({ "why": why, "seconds": seconds })))
            .await
    };
    session.transaction(act, true, asked).await
}

/// Resumes these subjects, and records who asked. A role that has halted tries again.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn resume(session: &Session, subjects: &[Subject], who: &str) -> Result<(), Error> {
    let act = "resume";
    let asked = async {
        identity::ensure(session).await?;
        let sql = "INSERT INTO driftless.pause AS p (migration, kind, name, who, resumed) \
                   SELECT i.id, s.*, $3, 1 FROM driftless.identity AS i, unnest($1::text[], $2::text[]) AS s WHERE i.prefix = $4 \
                   ON CONFLICT (migration, kind, name) DO UPDATE SET since = NULL, ends_at = NULL, why = NULL, who = excluded.who, \
                     resumed = p.resumed + 1";
        let (kinds, names) = parts(subjects);
        let who = session.storable(who);
        session.execute(act, sql, &[&kinds, &names, &who, &session.prefix()]).await?;
        record_action(session, &who, act, &detail(subjects, serde_json::json!({}))).await
    };
    session.transaction(act, true, asked).await
}

fn parts(subjects: &[Subject]) -> (Vec<&str>, Vec<&str>) {
    subjects.iter().map(Subject::parts).unzip()
}

fn detail(subjects: &[Subject], mut detail: serde_json::Value) -> serde_json::Value {
    let of = |kind: &str| {
        let names = subjects.iter().map(Subject::parts).filter(|(of, _)| *of == kind).map(|(_, name)| name);
        names.collect::<Vec<_>>()
    };
    detail["roles"] = of(ROLE).into();
    detail["collections"] = of(COLLECTION).into();
    detail
}
