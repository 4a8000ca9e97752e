//! Waits until everything is applied that what stands in the target now may refer to.
//!
//! A row that is there was written by a change of its partition. Once the watermark of that partition has moved, it bounds the
//! change; once every watermark has reached the highest of these bounds, everything that the source had done by then is applied in
//! every collection. A row that still lacks its parent then lacks it in the source, too. No clock is compared.

use crate::{
    model::ClusterTime,
    postgres::{Error, Session, identity::OURS, session::field},
    sink::checkpoint,
};

/// The wait for one such moment.
pub(crate) struct Settled {
    topics: Vec<String>,
    before: Vec<Watermark>,
    bound: Option<ClusterTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Watermark {
    partition: (String, i32),
    time: Option<ClusterTime>,
    complete: bool,
}

/// The changes that are still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Nothing.
    Done,
    /// The sink.
    ForSink,
    /// The snapshot of the collection with this topic.
    ForSnapshot(String),
}

impl Settled {
    /// Begins to wait, for what is in the target now.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn begin(session: &Session, topics: &[String]) -> Result<Self, Error> {
        Ok(Self { topics: topics.to_vec(), before: watermarks(session, topics).await?, bound: None })
    }

    /// Looks how far the sink has come.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn look(&mut self, session: &Session) -> Result<Waits, Error> {
        let now = watermarks(session, &self.topics).await?;
        for topic in &self.topics {
            let mut partitions = now.iter().filter(|watermark| watermark.partition.0 == *topic).peekable();
            if partitions.peek().is_none() || !partitions.all(|watermark| watermark.complete) {
                return Ok(Waits::ForSnapshot(topic.clone()));
            }
        }
        let bound = self.bound.or_else(|| {
            let known = |partition| self.before.iter().find(|before| before.partition == partition);
            let moved = now.iter().all(|now| known(now.partition.clone()).is_none_or(|before| now.time > before.time));
            moved.then(|| now.iter().filter_map(|watermark| watermark.time).max()).flatten()
        });
        self.bound = bound;
        let reached = bound.is_some_and(|bound| now.iter().all(|watermark| watermark.time >= Some(bound)));
        Ok(if reached { Waits::Done } else { Waits::ForSink })
    }
}

async fn watermarks(session: &Session, topics: &[String]) -> Result<Vec<Watermark>, Error> {
    let act = "read the watermarks";
    let sql = format!(
        "SELECT topic, partition, watermark_t, watermark_i, complete FROM driftless.position \
          WHERE {OURS} AND topic = ANY ($2) ORDER BY topic, partition"
    );
    let rows = session.query(act, &sql, &[&session.prefix(), &topics]).await?;
    let watermark = |row: &tokio_postgres::Row| {
        Ok(Watermark {
            partition: (field(row, 0, act)?, field(row, 1, act)?),
            time: checkpoint::cluster_time(field(row, 2, act)?, field(row, 3, act)?),
            complete: field(row, 4, act)?,
        })
    };
    rows.iter().map(watermark).collect()
}
