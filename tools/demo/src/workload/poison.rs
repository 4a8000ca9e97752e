//! Documents that PostgreSQL must refuse, and their fix.

use mongodb::{
    Database,
    bson::{Document, doc, oid::ObjectId},
};
use tokio_util::sync::CancellationToken;

use super::execute::retrying;
use crate::{Collection, Error};

/// A length above the limit of the column `app.plans.title`.
const TOO_LONG: usize = 400;

/// The reason why PostgreSQL refuses a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// A NUL character in a text.
    NulInText,
    /// A status that the target's CHECK does not list.
    CheckViolation,
    /// A title longer than its column.
    TooLong,
}

impl Poison {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::NulInText, Self::CheckViolation, Self::TooLong];

    fn taint(self, plan: &mut Document) {
        match self {
            Self::NulInText => plan.insert("title", "before\0after"),
            Self::CheckViolation => plan.insert("status", "on_holiday"),
            Self::TooLong => plan.insert("title", "long ".repeat(TOO_LONG / 5)),
        };
        // The workload refers to no document with this mark, so one refusal causes no others.
        plan.insert("poisoned", true);
    }
}

/// A document that was written to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poisoned {
    /// The collection it is in.
    pub collection: Collection,
    /// Its `_id`.
    pub id: ObjectId,
    /// The reason for the refusal.
    pub kind: Poison,
}

/// Writes the tainted copy of a plan under its own `_id`.
pub(super) async fn poison(
    database: &Database,
    mut plan: Document,
    id: ObjectId,
    kind: Poison,
    cancel: &CancellationToken,
) -> Result<Poisoned, Error> {
    kind.taint(&mut plan);
    let (collection, plan) = (Collection::Plans, &plan);
    let write = || async move {
        let plans = database.collection::<Document>(collection.name());
        plans.replace_one(doc! { "_id": id }, plan).upsert(true).await.map_err(|source| Error::Poison { source })
    };
    retrying(cancel, write).await?.ok_or(Error::Cancelled)?;
    Ok(Poisoned { collection, id, kind })
}

/// Gives the document values that the target accepts.
pub(super) async fn mend(database: &Database, poisoned: Poisoned, cancel: &CancellationToken) -> Result<(), Error> {
    let cured = match poisoned.kind {
        Poison::NulInText | Poison::TooLong => doc! { "title": "Mended" },
        Poison::CheckViolation => doc! { "status": "draft" },
    };
    let change = &doc! { "$set": cured, "$unset": { "poisoned": "" }, "$currentDate": { "updatedAt": true } };
    let write = || async move {
        let documents = database.collection::<Document>(poisoned.collection.name());
        let found = documents.update_one(doc! { "_id": poisoned.id }, change.clone()).await;
        found.map_err(|source| Error::Poison { source })
    };
    retrying(cancel, write).await?.ok_or(Error::Cancelled)?;
    Ok(())
}
