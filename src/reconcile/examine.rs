//! Judges documents of one collection as of the cluster time at which the source was read.
//!
//! ```text
//!  documents at T ──▶ wait until W covers T ──▶ ledger, rows, W in one snapshot ──▶ judgement of each
//! ```
//! If the watermark does not cover T within the bound, the documents are judged anyway, and are undecided.

use std::{collections::HashSet, time::Duration};

use bson::raw::{RawDocument, RawDocumentBuf};
use tokio::time::{Instant, interval};

use super::{
    Error,
    judgement::{Judgement, RowState, judge_absent, judge_present},
    read::Piece,
    sides::TargetSide,
};
use crate::{
    control::findings::{Found, Kind, Subject},
    mapping::{CollectionPlan, Rows},
    model::{ClusterTime, Key},
    source,
    target::{DocumentId, Entry},
};

/// Interval between two reads of the watermark during a wait.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A document and its judgement.
#[derive(Clone, Debug)]
pub(super) struct Examined {
    pub(super) document: DocumentId,
    pub(super) judgement: Judgement,
    /// The ledger entry that the judgement used.
    pub(super) entry: Option<Entry>,
    /// The id of the dead letter that waits for the document.
    pub(super) letter: Option<i64>,
    /// The reason why PostgreSQL refuses even to compare the values.
    pub(super) refused: Option<String>,
}

impl Examined {
    /// Creates an undecided document whose `_id` is unknown, so that it cannot be read from the source.
    pub(super) fn unknown(document: DocumentId) -> Self {
        Self { document, judgement: Judgement::Undecided, entry: None, letter: None, refused: None }
    }

    /// Returns whether the document must be judged again.
    pub(super) fn is_undecided(&self) -> bool {
        self.judgement == Judgement::Undecided
    }

    /// Returns the difference, if there is one, as of the cluster time of the judgement.
    pub(super) fn found(self, as_of: ClusterTime) -> Option<Found> {
        let (kind, columns) = match self.judgement {
            Judgement::Missing => (Kind::Missing, Vec::new()),
            Judgement::Extra => (Kind::Extra, Vec::new()),
            Judgement::Different(columns) => (Kind::Different, columns),
            Judgement::Version => (Kind::Version, Vec::new()),
            Judgement::Match | Judgement::Absent | Judgement::Undecided => return None,
        };
        Some(Found {
            subject: Subject::Document(self.document),
            kind,
            columns,
            as_of,
            entry: self.entry.map(|entry| (entry.version, entry.applied)),
            letter: self.letter,
            refused: self.refused,
        })
    }
}

/// Documents of the source and the rows that they should have; all lists are parallel.
pub(super) struct Mapped {
    keys: Vec<Key>,
    ids: Vec<RawDocumentBuf>,
    rows: Vec<Rows>,
    /// Whether the mapping accepts the document; else it has no rows here.
    mappable: Vec<bool>,
}

impl Mapped {
    /// Maps documents.
    ///
    /// # Errors
    /// [`Error::NoKey`]: a document has no `_id`.
    pub(super) fn new(plan: &CollectionPlan, documents: &[RawDocumentBuf]) -> Result<Self, Error> {
        let mut all = Self { keys: Vec::new(), ids: Vec::new(), rows: Vec::new(), mappable: Vec::new() };
        for document in documents {
            let id = source::id_of(document).and_then(|id| Some((Key::from_id(&id)?, id)));
            let (key, id) = id.ok_or_else(|| Error::NoKey { collection: plan.collection.clone() })?;
            let rows = plan.map(document);
            all.keys.push(key);
            all.ids.push(id);
            all.mappable.push(rows.is_ok());
            all.rows.push(rows.unwrap_or_else(|_| no_rows(plan)));
        }
        Ok(all)
    }

    /// The number of documents.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// Judges documents of one collection.
pub(super) struct Examiner<'a, T> {
    pub(super) target: &'a T,
    pub(super) plan: &'a CollectionPlan,
    /// Maximum wait for the watermark.
    pub(super) wait: Duration,
}

impl<T: TargetSide> Examiner<'_, T> {
    /// Judges documents that the source held at `read_at`.
    pub(super) async fn present(
        &self,
        documents: &[RawDocumentBuf],
        read_at: ClusterTime,
    ) -> Result<Vec<Examined>, Error> {
        self.mapped(Mapped::new(self.plan, documents)?, read_at).await
    }

    /// Judges documents that the source held at `read_at`.
    pub(super) async fn mapped(&self, mapped: Mapped, read_at: ClusterTime) -> Result<Vec<Examined>, Error> {
        let Mapped { keys, ids, rows, mappable } = mapped;
        self.wait_until_applied(read_at).await?;
        let mut compared = self.target.compare(&keys, &rows).await?;
        let documents = keys.into_iter().zip(ids).zip(mappable).enumerate();
        let examined = documents.map(|(place, ((key, id), mappable))| {
            let (letter, difference) = (compared.letters.get(&key).copied(), compared.differences.remove(&place));
            let refused =
                difference.as_ref().and_then(|difference| difference.refused.as_ref()).map(ToString::to_string);
            let entry = compared.entries.get(&key).copied();
            let rows = RowState::new(letter, mappable, difference);
            let judgement = match compared.is_of_later_epoch(entry.as_ref()) {
                true => Judgement::Version,
                false => judge_present(read_at, compared.watermark, entry.as_ref(), rows),
            };
            let document = DocumentId { key, id: Some(id) };
            Examined { document, judgement, entry, letter: letter.map(|letter| letter.id), refused }
        });
        Ok(examined.collect())
    }

    /// Judges documents that were read by `_id`, whether they exist or not.
    pub(super) async fn piece(&self, piece: &Piece<'_>) -> Result<Vec<Examined>, Error> {
        let Piece { asked, documents, read_at } = piece;
        let held = documents.iter().filter_map(|document| Key::from_id(&source::id_of(document)?));
        let held: HashSet<Key> = held.collect();
        let asked = asked.iter().filter_map(|id| Some(DocumentId { key: Key::from_id(id)?, id: Some(id.clone()) }));
        let gone = asked.filter(|document| !held.contains(&document.key)).collect();
        let mut examined = self.present(documents, *read_at).await?;
        examined.extend(self.absent(gone, *read_at).await?);
        Ok(examined)
    }

    /// Judges documents that the source did not hold at `read_at`.
    pub(super) async fn absent(
        &self,
        documents: Vec<DocumentId>,
        read_at: ClusterTime,
    ) -> Result<Vec<Examined>, Error> {
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        self.wait_until_applied(read_at).await?;
        let keys: Vec<Key> = documents.iter().map(|document| document.key.clone()).collect();
        let expected: Vec<Rows> = documents.iter().map(|document| self.no_rows_of(document.id.as_deref())).collect();
        let mut compared = self.target.compare(&keys, &expected).await?;
        let examined = documents.into_iter().enumerate().map(|(place, document)| {
            let (letter, difference) =
                (compared.letters.get(&document.key).copied(), compared.differences.remove(&place));
            let entry = compared.entries.get(&document.key).copied();
            let rows = RowState::new(letter, true, difference);
            let judgement = match compared.is_of_later_epoch(entry.as_ref()) {
                true => Judgement::Version,
                false => judge_absent(read_at, compared.watermark, entry.as_ref(), &rows),
            };
            Examined { document, judgement, entry, letter: letter.map(|letter| letter.id), refused: None }
        });
        Ok(examined.collect())
    }

    /// Judges those of the documents that the source did not hold at `read_at`; one whose `_id` is unknown is undecided.
    pub(super) async fn not_held(
        &self,
        documents: Vec<DocumentId>,
        held: &HashSet<Key>,
        read_at: ClusterTime,
    ) -> Result<Vec<Examined>, Error> {
        let not_held = documents.into_iter().filter(|document| !held.contains(&document.key));
        let (gone, unknown): (Vec<_>, Vec<_>) = not_held.partition(|document| document.id.is_some());
        let mut examined = self.absent(gone, read_at).await?;
        examined.extend(unknown.into_iter().map(Examined::unknown));
        Ok(examined)
    }

    /// Waits until everything at or before `time` is applied, or the bound is reached.
    async fn wait_until_applied(&self, time: ClusterTime) -> Result<(), Error> {
        if self.wait.is_zero() {
            return Ok(());
        }
        let started = Instant::now();
        let mut poll = interval(POLL_INTERVAL);
        loop {
            poll.tick().await;
            if self.target.watermark().await?.covers(time) || started.elapsed() >= self.wait {
                return Ok(());
            }
        }
    }

    /// Expects no rows of a document, so that whatever is found by its id is a difference.
    pub(super) fn no_rows_of(&self, id: Option<&RawDocument>) -> Rows {
        let key = id.and_then(|id| self.plan.keys(id).ok());
        Rows { key: key.unwrap_or_default(), ..self.no_rows() }
    }

    /// Returns empty rows for a document that the mapping refuses, none of whose rows are compared.
    pub(super) fn no_rows(&self) -> Rows {
        no_rows(self.plan)
    }
}

fn no_rows(plan: &CollectionPlan) -> Rows {
    Rows { tables: vec![Vec::new(); plan.tables.len()], ..Rows::default() }
}
