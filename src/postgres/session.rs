//! One connection: bounded calls, statements prepared once, and the reason when it dies.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, future::join};
use tokio::sync::{Notify, watch};
use tokio_postgres::{Client, Row, Statement, types::ToSql};

use super::{Cause, Error, refusal::UTF8};

/// Whether the foreign keys and triggers of the target are enforced in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstraintMode {
    /// Not enforced, as in PostgreSQL's own logical replication.
    Replica,
    /// Enforced.
    Enforce,
}

/// A parameter of a statement.
pub(crate) type Param<'a> = &'a (dyn ToSql + Sync);

/// A connection with pinned settings, opened by [`Postgres::open`](super::Postgres::open).
///
/// Every call is bounded in time. After any error but a refusal by the server the session is unusable: drop it and open another
/// one. Dropping a call before it ends leaves the session in an unknown state too.
///
/// Joined calls (`futures_util::future::join` polls in order) are pipelined: they travel together without waiting for each other.
pub struct Session {
    client: Client,
    death: watch::Receiver<Option<Cause>>,
    limit: Option<Duration>,
    notified: Arc<Notify>,
    statements: Mutex<HashMap<Arc<str>, Statement>>,
    prefix: Arc<str>,
    pub(crate) constraint_mode: ConstraintMode,
    /// Encoding of the database.
    pub(crate) encoding: String,
}

impl Session {
    pub(crate) fn new(
        client: Client,
        (notified, death): (Arc<Notify>, watch::Receiver<Option<Cause>>),
        limit: Option<Duration>,
        prefix: Arc<str>,
    ) -> Self {
        Self {
            client,
            death,
            limit,
            notified,
            statements: Mutex::default(),
            prefix,
            constraint_mode: ConstraintMode::Enforce,
            encoding: UTF8.to_owned(),
        }
    }

    /// Returns the prefix of the log, which names the migration whose state this session sees.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns whether foreign keys and triggers are enforced in this session.
    pub fn constraint_mode(&self) -> ConstraintMode {
        self.constraint_mode
    }

    /// Returns a text that the database can store. An encoding that lacks characters gets everything but ASCII escaped; NUL is
    /// escaped in every encoding.
    pub(crate) fn storable(&self, text: &str) -> String {
        let text = text.replace('\0', "\u{fffd}");
        if self.encoding == UTF8 {
            return text;
        }
        let units = text.encode_utf16();
        // The escape is that of JSON, because an `_id` is written as JSON.
        units
            .map(|unit| match u8::try_from(unit) {
                Ok(letter) if letter.is_ascii() => char::from(letter).to_string(),
                _ => format!("\\u{unit:04x}"),
            })
            .collect()
    }

    /// Makes the texts and names in JSON storable, see [`Self::storable`].
    pub(crate) fn storable_json(&self, value: &serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::String(text) => self.storable(text).into(),
            Value::Array(values) => values.iter().map(|value| self.storable_json(value)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (self.storable(name), self.storable_json(value))).collect()
            }
            other => other.clone(),
        }
    }

    /// Returns whether the connection is open, as far as is known.
    pub(crate) fn is_alive(&self) -> bool {
        !self.client.is_closed()
    }

    /// Runs statements without parameters.
    pub(crate) async fn batch(&self, act: &str, sql: &str) -> Result<(), Error> {
        self.bounded(act, self.client.batch_execute(sql)).await
    }

    /// Waits for a notification on a channel that the session listens to (`LISTEN`); several that came since the last call count as
    /// one. Never returns when the connection has ended. Cancel-safe.
    pub(crate) async fn notified(&self) {
        self.notified.notified().await;
    }

    /// Checks deferred constraints now instead of at the end of the transaction, if the session enforces constraints.
    pub(crate) async fn check_deferred(&self) -> Result<(), Error> {
        match self.constraint_mode {
            ConstraintMode::Replica => Ok(()),
            ConstraintMode::Enforce => {
                let sql = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED";
                self.batch("check deferred constraints", sql).await
            }
        }
    }

    /// Runs `work` in its own transaction, which is rolled back if `work` fails or `keep` is false.
    pub(crate) async fn transaction<T>(
        &self,
        act: &str,
        keep: bool,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.batch(act, "BEGIN").await?;
        match work.await {
            Ok(done) => self.batch(act, if keep { "COMMIT" } else { "ROLLBACK" }).await.map(|()| done),
            Err(error) => {
                // The first error is the one to report.
                let _ = self.batch(act, "ROLLBACK").await;
                Err(error)
            }
        }
    }

    /// Returns whether a table of this name exists; the name is written as in SQL.
    pub(crate) async fn has_table(&self, act: &str, name: &str) -> Result<bool, Error> {
        let row = self.query_one(act, "SELECT to_regclass($1::text) IS NOT NULL", &[&name]).await?;
        field(&row, 0, act)
    }

    /// Runs a statement and returns the number of affected rows.
    pub(crate) async fn execute(&self, act: &str, sql: &str, params: &[Param<'_>]) -> Result<u64, Error> {
        let statement = self.prepared(act, sql).await?;
        self.bounded(act, self.client.execute(&statement, params)).await
    }

    /// Runs the last statement of a transaction and commits, without waiting in between. If the statement fails, the commit
    /// becomes a rollback.
    pub(crate) async fn execute_and_commit(&self, act: &str, sql: &str, params: &[Param<'_>]) -> Result<u64, Error> {
        // The statement is prepared first, because preparing waits for an answer and the commit must not overtake the statement.
        let statement = self.prepared(act, sql).await?;
        let execute = self.bounded(act, self.client.execute(&statement, params));
        let (executed, committed) = join(execute, self.batch("commit a batch", "COMMIT")).await;
        let executed = executed?;
        committed?;
        Ok(executed)
    }

    /// Runs a `COPY … FROM STDIN` and returns the number of rows.
    ///
    /// A refusal before the first row leaves the client out of step with the server: it sends the end of the copy, and the server
    /// answers once more than the client expects. The session is then unusable.
    pub(crate) async fn copy(&self, act: &str, sql: &str, pieces: impl Iterator<Item = Bytes>) -> Result<u64, Error> {
        let statement = self.prepared(act, sql).await?;
        let copy = async {
            let mut sink = pin!(self.client.copy_in::<_, Bytes>(&statement).await?);
            for piece in pieces {
                sink.send(piece).await?;
            }
            sink.finish().await
        };
        self.bounded(act, copy).await
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn query(&self, act: &str, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let statement = self.prepared(act, sql).await?;
        self.bounded(act, self.client.query(&statement, params)).await
    }

    /// Runs a statement once, without keeping it prepared.
    pub(crate) async fn query_once(&self, act: &str, sql: &str) -> Result<Vec<Row>, Error> {
        self.bounded(act, self.client.query_typed(sql, &[])).await
    }

    /// Describes a statement that was written by a person, and keeps it prepared for [`Self::query`]. No value is part of it, so its
    /// refusal keeps the server's message.
    pub(crate) async fn describe(&self, act: &str, sql: &str) -> Result<Statement, Error> {
        let statement = self.with_message(act, self.client.prepare(sql)).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.insert(Arc::from(sql), statement.clone());
        Ok(statement)
    }

    /// Runs a statement that was written by a person. Its refusal keeps the server's message.
    pub(crate) async fn script(&self, act: &str, sql: &str) -> Result<(), Error> {
        self.with_message(act, self.client.batch_execute(sql)).await
    }

    async fn with_message<T>(
        &self,
        act: &str,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let said = Mutex::new(None);
        let call = async {
            let outcome = call.await;
            let message = outcome.as_ref().err().and_then(|error| Some(error.as_db_error()?.message().to_owned()));
            *said.lock().unwrap_or_else(PoisonError::into_inner) = message;
            outcome
        };
        self.bounded(act, call).await.map_err(|error| match error {
            Error::Statement { act, source: Cause::Refused(mut refusal) } => {
                refusal.message = said.lock().unwrap_or_else(PoisonError::into_inner).take();
                Error::Statement { act, source: Cause::Refused(refusal) }
            }
            other => other,
        })
    }

    /// Runs a statement that returns one row, or none.
    pub(crate) async fn query_opt(&self, act: &str, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>, Error> {
        Ok(self.query(act, sql, params).await?.into_iter().next())
    }

    /// Runs a statement that always returns a row.
    pub(crate) async fn query_one(&self, act: &str, sql: &str, params: &[Param<'_>]) -> Result<Row, Error> {
        let row = self.query_opt(act, sql, params).await?;
        row.ok_or_else(|| Error::Statement {
            act: act.to_owned(),
            source: Cause::Unusable("the statement returned no row".to_owned()),
        })
    }

    /// Reads a session setting; returns `None` if the server does not know it.
    pub(crate) async fn setting(&self, name: &str) -> Result<Option<String>, Error> {
        let row = self.query_one("read a setting", "SELECT current_setting($1, true)", &[&name]).await?;
        field(&row, 0, "read a setting")
    }

    async fn prepared(&self, act: &str, sql: &str) -> Result<Statement, Error> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.bounded(act, self.client.prepare(sql)).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.insert(Arc::from(sql), statement.clone());
        Ok(statement)
    }

    async fn bounded<T>(
        &self,
        act: &str,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let outcome = match self.limit {
            None => call.await,
            Some(limit) => match tokio::time::timeout(limit, call).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => return Err(Error::Silent { act: act.to_owned(), limit }),
            },
        };
        match outcome {
            Ok(value) => Ok(value),
            Err(error) => {
                let cause = if error.is_closed() { self.cause_of_death().await } else { None };
                let source = cause.unwrap_or_else(|| Cause::from(&error)).in_encoding(&self.encoding);
                Err(Error::Statement { act: act.to_owned(), source })
            }
        }
    }

    /// Returns why the connection ended, as its task reported.
    async fn cause_of_death(&self) -> Option<Cause> {
        let mut death = self.death.clone();
        let reported = tokio::time::timeout(Duration::from_secs(1), death.wait_for(Option::is_some)).await;
        reported.ok()?.ok()?.clone()
    }
}

/// Reads a column of a row; an unexpected type is an error, not a panic.
pub(crate) fn field<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: usize,
    act: &str,
) -> Result<T, Error> {
    row.try_get(column).map_err(|error| Error::Statement { act: act.to_owned(), source: Cause::from(&error) })
}
