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
use tokio::sync::watch;
use tokio_postgres::{Client, Row, Statement, types::ToSql};

use super::{Cause, ConstraintMode, Error, error::UTF8};

/// A parameter of a statement.
pub(crate) type Param<'a> = &'a (dyn ToSql + Sync);

/// A connection that [`Postgres::open`](super::connect::Postgres::Postgres::open) made ours.
///
/// Every call is bounded in time. After an error other than a refusal of the server the session is spent: drop it and open
/// another one. Dropping a call before it ends leaves the session in an unknown state as well.
///
/// Calls that are joined (`futures_util::future::join` polls in order) travel together, without waiting for each other.
pub struct Session {
    client: Client,
    death: watch::Receiver<Option<Cause>>,
    limit: Option<Duration>,
    statements: Mutex<HashMap<Arc<str>, Statement>>,
    prefix: Arc<str>,
    pub(crate) constraint_mode: ConstraintMode,
    /// Encoding of the database.
    pub(crate) encoding: String,
}

impl Session {
    pub(crate) fn new(
        client: Client,
        death: watch::Receiver<Option<Cause>>,
        limit: Option<Duration>,
        prefix: Arc<str>,
    ) -> Self {
        Self {
            client,
            death,
            limit,
            statements: Mutex::default(),
            prefix,
            constraint_mode: ConstraintMode::Enforce,
            encoding: UTF8.to_owned(),
        }
    }

    /// The migration whose state this session sees: the prefix of its log.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How foreign keys and triggers behave here.
    pub fn constraint_mode(&self) -> ConstraintMode {
        self.constraint_mode
    }

    /// A text that the database surely holds: in an encoding that lacks characters all but ASCII is escaped. PostgreSQL stores
    /// no NUL in any.
    pub(crate) fn storable(&self, text: &str) -> String {
        let text = text.replace('\0', "\u{fffd}");
        if self.encoding == UTF8 {
            return text;
        }
        let units = text.encode_utf16();
        // As JSON escapes it, because an `_id` is written as JSON.
        units
            .map(|unit| match u8::try_from(unit) {
                Ok(letter) if letter.is_ascii() => char::from(letter).to_string(),
                _ => format!("\\u{unit:04x}"),
            })
            .collect()
    }

    /// Whether the connection still stands, as far as is known.
    pub(crate) fn is_alive(&self) -> bool {
        !self.client.is_closed()
    }

    /// Runs statements without parameters.
    pub(crate) async fn batch(&self, act: &str, sql: &str) -> Result<(), Error> {
        self.bounded(act, self.client.batch_execute(sql)).await
    }

    /// Makes the checks now that the target would make at the end of the transaction, where there are any.
    pub(crate) async fn check_deferred(&self) -> Result<(), Error> {
        match self.constraint_mode {
            ConstraintMode::Replica => Ok(()),
            ConstraintMode::Enforce => {
                let sql = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED";
                self.batch("check deferred constraints", sql).await
            }
        }
    }

    /// Does `work` in a transaction of its own, which is rolled back when it fails, and unless it is to be kept.
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
                // The first error is the one to tell.
                let _ = self.batch(act, "ROLLBACK").await;
                Err(error)
            }
        }
    }

    /// Whether there is a table of this name, written as SQL writes it.
    pub(crate) async fn has_table(&self, act: &str, name: &str) -> Result<bool, Error> {
        let row = self.query_one(act, "SELECT to_regclass($1::text) IS NOT NULL", &[&name]).await?;
        field(&row, 0, act)
    }

    /// Runs a statement and counts the rows it touched.
    pub(crate) async fn execute(&self, act: &str, sql: &str, params: &[Param<'_>]) -> Result<u64, Error> {
        let statement = self.prepared(act, sql).await?;
        self.bounded(act, self.client.execute(&statement, params)).await
    }

    /// Runs the last statement of a transaction and commits it, without waiting in between: a statement that fails makes a
    /// rollback of the commit.
    pub(crate) async fn execute_and_commit(&self, act: &str, sql: &str, params: &[Param<'_>]) -> Result<u64, Error> {
        // Known before anything is sent, because preparing waits for an answer, and the commit must not get in front.
        let statement = self.prepared(act, sql).await?;
        let execute = self.bounded(act, self.client.execute(&statement, params));
        let (executed, committed) = join(execute, self.batch("commit a batch", "COMMIT")).await;
        let executed = executed?;
        committed?;
        Ok(executed)
    }

    /// Runs a `COPY … FROM STDIN` and counts its rows.
    ///
    /// A refusal before the first row leaves the client out of step with the server (it sends the end of the copy, for which the
    /// server has one answer too many), so the session is spent then.
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

    /// Runs a statement and takes its rows.
    pub(crate) async fn query(&self, act: &str, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let statement = self.prepared(act, sql).await?;
        self.bounded(act, self.client.query(&statement, params)).await
    }

    /// Runs a statement that will not come again.
    pub(crate) async fn query_once(&self, act: &str, sql: &str) -> Result<Vec<Row>, Error> {
        self.bounded(act, self.client.query_typed(sql, &[])).await
    }

    /// Runs a statement that gives one row, or none.
    pub(crate) async fn query_opt(&self, act: &str, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>, Error> {
        Ok(self.query(act, sql, params).await?.into_iter().next())
    }

    /// Runs a statement that always gives a row.
    pub(crate) async fn query_one(&self, act: &str, sql: &str, params: &[Param<'_>]) -> Result<Row, Error> {
        let row = self.query_opt(act, sql, params).await?;
        row.ok_or_else(|| Error::Statement {
            act: act.to_owned(),
            source: Cause::Unusable("the statement gave no row".to_owned()),
        })
    }

    /// A session setting; `None` when the server does not know it.
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

    /// Why the connection ended, as told by the task that drove it.
    async fn cause_of_death(&self) -> Option<Cause> {
        let mut death = self.death.clone();
        let told = tokio::time::timeout(Duration::from_secs(1), death.wait_for(Option::is_some)).await;
        told.ok()?.ok()?.clone()
    }
}

/// Takes a column of a row; an unexpected type is an error, not a panic.
pub(crate) fn field<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: usize,
    act: &str,
) -> Result<T, Error> {
    row.try_get(column).map_err(|error| Error::Statement { act: act.to_owned(), source: Cause::from(&error) })
}
