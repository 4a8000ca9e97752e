//! The lead of the reconcilers of a migration: one of them proves, the others stand by.
//!
//! The lead is an advisory lock of PostgreSQL, which belongs to a session. Whatever the leader records goes through that session,
//! so a process that has lost the lead cannot write any more: the server frees the lock only when it has ended the session.
//!
//! Rejected: a lease in a row, which needs a clock that both processes believe.

use tokio::sync::{Mutex, MutexGuard};

use crate::postgres::{Error, Session, session::field};

/// First half of the lock's key: roughly "proo" as a number. The other half is the number of the migration.
const LOCK: i32 = 0x7072_6f6f;
const ACT: &str = "ask for the lead of the reconcilers";

/// A process that asks for the lead.
pub(crate) struct Candidate(Session);

/// The lead. Dropping it gives it back.
pub(crate) struct Lead(Mutex<Session>);

impl Candidate {
    /// Creates a candidate with a session of its own.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn new(session: Session) -> Result<Self, Error> {
        // A leader whose machine is gone sends nothing, and by default the server would keep its session for hours.
        let sql = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
                   SET tcp_user_timeout = 20000";
        session.batch("set the keepalives of the session", sql).await?;
        Ok(Self(session))
    }

    /// Asks once; returns whether this process leads from now on.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn ask(&self) -> Result<bool, Error> {
        let sql = "SELECT pg_try_advisory_lock($1, id) FROM driftless.identity WHERE prefix = $2";
        let row = self.0.query_opt(ACT, sql, &[&LOCK, &self.0.prefix()]).await?;
        row.map_or(Ok(false), |row| field(&row, 0, ACT))
    }

    /// Becomes the leader, once [`Self::ask`] has said so.
    pub(crate) fn lead(self) -> Lead {
        Lead(Mutex::new(self.0))
    }
}

impl Lead {
    /// The session that holds the lead, for one task at a time: its calls and transactions must not mix with those of another.
    pub(crate) async fn session(&self) -> MutexGuard<'_, Session> {
        self.0.lock().await
    }
}
