//! What the server says about the collections of the database, before any of them is mapped.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;

use super::{
    CollectionKind, Error, Source,
    check::{LIST, kind},
    deadline::{bounded, within},
};

/// A collection, as the server describes it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// Its name.
    pub(crate) name: String,
    /// Its kind.
    pub(crate) kind: CollectionKind,
    /// The options that it was made with; its validator is one.
    pub(crate) options: Document,
}

impl Source {
    /// Describes every collection but those of the server itself, by name.
    ///
    /// # Errors
    /// [`Error::Server`] and [`Error::Timeout`] by their class.
    pub(crate) async fn describe(&self) -> Result<Vec<Described>, Error> {
        let infos = self.list(LIST, doc! { "listCollections": 1 }).await?;
        let described = infos.into_iter().filter_map(|info| {
            let name = info.get_str("name").ok().filter(|name| !name.starts_with("system."))?.to_owned();
            let options = info.get_document("options").cloned().unwrap_or_default();
            Some(Described { name, kind: kind(&info), options })
        });
        let mut described: Vec<_> = described.collect();
        described.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(described)
    }

    /// Returns the indexes of a collection.
    ///
    /// # Errors
    /// [`Error::Server`] and [`Error::Timeout`] by their class.
    pub(crate) async fn indexes(&self, collection: &str) -> Result<Vec<Document>, Error> {
        self.list("list the indexes of a collection", doc! { "listIndexes": collection }).await
    }

    /// Returns the bytes of all documents of a collection, as the server counts them.
    ///
    /// # Errors
    /// [`Error::Server`] and [`Error::Timeout`] by their class; [`Error::Reply`] (halt).
    pub(crate) async fn bytes(&self, collection: &str) -> Result<u64, Error> {
        let act = "ask for the size of a collection";
        let reply = self.command(self.database_name(), act, doc! { "collStats": collection }).await?;
        match reply.get("size") {
            Some(Bson::Int32(size)) => Ok(u64::try_from(*size).unwrap_or_default()),
            Some(Bson::Int64(size)) => Ok(u64::try_from(*size).unwrap_or_default()),
            Some(Bson::Double(size)) => Ok(*size as u64),
            _ => Err(Error::Reply { act, field: "size" }),
        }
    }

    /// Returns everything that a command with a cursor lists.
    pub(super) async fn list(&self, act: &'static str, command: Document) -> Result<Vec<Document>, Error> {
        let timeout = self.config().timeout;
        let cursor = within(timeout, act, self.database().run_cursor_command(command)).await?;
        let listed = bounded(timeout, act, cursor.try_collect::<Vec<_>>()).await?;
        listed.map_err(|source| Error::Server { act, source: source.into() })
    }
}
