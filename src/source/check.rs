//! Facts and faults of the source, for `driftless check` and for the check before anything runs.
//!
//! All faults are reported at once: those that would fail later, and those that would be wrong without failing.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Document, doc};

use super::{Error, Server, Source, deadline::within};
use crate::model::{ClusterTime, SourceIdentity};

/// A fault that must be fixed before the source can be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The fault.
    pub what: String,
    /// The remedy.
    pub(crate) hint: String,
}

/// The facts that the server reports about itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Version and topology.
    pub server: Server,
    /// Feature compatibility version, if the user may read it.
    pub feature_version: Option<String>,
    /// The span of the oplog, if the user may read it.
    pub oplog: Option<Oplog>,
    /// The kind of each mapped collection.
    pub collections: BTreeMap<String, CollectionKind>,
}

/// The span of the oplog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oplog {
    /// Cluster time of the oldest operation.
    pub(crate) first: ClusterTime,
    /// Cluster time of the newest operation that a majority holds.
    pub(crate) last: ClusterTime,
}

impl Oplog {
    /// Returns about how long the stream may be stopped before its history is lost, in seconds.
    pub fn window_seconds(&self) -> u32 {
        self.last.t.saturating_sub(self.first.t)
    }
}

/// The kind of collection that a mapped name refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionKind {
    /// A plain collection.
    Plain,
    /// A capped collection: the server removes old documents without a change event.
    Capped,
    /// A view: it has no changes of its own.
    View,
    /// A time-series collection: a view of buckets.
    TimeSeries,
    /// No collection yet.
    Missing,
}

pub(super) const LIST: &str = "list the collections of the source";

/// The actions that a user needs to follow a database.
const ACTIONS: [&str; 3] = ["changeStream", "find", "listCollections"];

impl Source {
    /// Reads the facts of the server and of the mapped collections.
    ///
    /// # Errors
    /// [`Error::Server`] and [`Error::Timeout`] by their class; [`Error::Reply`] (halt).
    pub async fn facts<'a>(&self, collections: impl IntoIterator<Item = &'a str>) -> Result<Facts, Error> {
        let names: Vec<&str> = collections.into_iter().collect();
        Ok(Facts {
            server: self.server().clone(),
            feature_version: self.feature_version().await,
            oplog: self.oplog().await,
            collections: self.kinds(&names).await?,
        })
    }

    /// Returns every fault that prevents following the source; empty if there is none.
    ///
    /// # Errors
    /// [`Error::Server`] and [`Error::Timeout`] by their class; [`Error::Reply`] (halt).
    pub async fn faults<'a>(&self, collections: impl IntoIterator<Item = &'a str>) -> Result<Vec<Fault>, Error> {
        let names: Vec<&str> = collections.into_iter().collect();
        let mut faults: Vec<Fault> = server_faults(self.server()).into_iter().collect();
        let kinds = self.kinds(&names).await?;
        faults.extend(kinds.iter().filter_map(|(name, kind)| kind_fault(self.database_name(), name, *kind)));
        let act = "ask the source what its user may do";
        let status = self.command("admin", act, doc! { "connectionStatus": 1, "showPrivileges": true }).await?;
        faults.extend(missing_actions(&status, self.database_name()).map(|actions| Fault {
            what: format!("the user lacks {} on database {}", actions.join(", "), self.database_name()),
            hint: format!("grant it the role `read` on {}", self.database_name()),
        }));
        Ok(faults)
    }

    /// Returns the identity of this source, which distinguishes it from others, even from those with the same names.
    ///
    /// # Errors
    /// As [`Source::facts`].
    pub(crate) async fn identity<'a>(
        &self,
        collections: impl IntoIterator<Item = &'a str>,
    ) -> Result<SourceIdentity, Error> {
        let names: Vec<&str> = collections.into_iter().collect();
        let mut identity = SourceIdentity {
            database: self.database_name().to_owned(),
            replica_set: self.server().replica_set.clone(),
            hosts: self.server().hosts.iter().cloned().collect(),
            ..SourceIdentity::default()
        };
        for info in self.infos(&names).await? {
            let uuid = info.get_document("info").ok().and_then(|info| info.get_binary_generic("uuid").ok());
            let uuid = uuid.and_then(|bytes| uuid::Uuid::from_slice(bytes).ok());
            if let (Ok(name), Some(uuid)) = (info.get_str("name"), uuid) {
                identity.collections.insert(name.to_owned(), uuid.to_string());
            }
        }
        Ok(identity)
    }

    /// Returns the names of the collections of the database, in any order.
    ///
    /// # Errors
    /// [`Error::Server`] and [`Error::Timeout`] by their class.
    pub(crate) async fn collection_names(&self) -> Result<Vec<String>, Error> {
        let act = "list the collections of the source";
        within(self.config().timeout, act, self.database().list_collection_names()).await
    }

    /// Returns the names of the databases that the user may see; empty if it may not list them.
    pub(crate) async fn database_names(&self) -> Vec<String> {
        let names = self.database().client().list_database_names();
        within(self.config().timeout, "list the databases of the source", names).await.unwrap_or_default()
    }

    /// Returns the feature compatibility version; `None` if the user may not ask for it, or behind a mongos.
    async fn feature_version(&self) -> Option<String> {
        let command = doc! { "getParameter": 1, "featureCompatibilityVersion": 1 };
        let reply = self.command("admin", "ask for the feature compatibility version", command).await.ok()?;
        let version = reply.get_document("featureCompatibilityVersion").ok()?.get_str("version").ok()?;
        Some(version.to_owned())
    }

    /// Returns the span of the oplog; `None` if the user may not read it, or behind a mongos.
    async fn oplog(&self) -> Option<Oplog> {
        let (first, _) = self.oldest_operation().await?;
        Some(Oplog { first, last: self.now().await.ok()? })
    }

    /// Returns the cluster time of the oldest operation of the oplog, and whether it is the one with which the replica set began,
    /// so that nothing has been removed yet; `None` if the user may not read the oplog, or behind a mongos.
    pub async fn oldest_operation(&self) -> Option<(ClusterTime, bool)> {
        let fields = doc! { "ts": 1, "o.msg": 1 };
        let command = doc! { "find": "oplog.rs", "sort": { "$natural": 1 }, "limit": 1, "projection": fields };
        let reply = self.command("local", "read the start of the oplog", command).await.ok()?;
        let oldest = first_batch(&reply)?.next()?;
        let message = oldest.get_document("o").and_then(|note| note.get_str("msg"));
        Some((oldest.get_timestamp("ts").ok()?.into(), message.is_ok_and(|message| message == "initiating set")))
    }

    async fn kinds(&self, names: &[&str]) -> Result<BTreeMap<String, CollectionKind>, Error> {
        let mut kinds: BTreeMap<_, _> =
            names.iter().map(|name| ((*name).to_owned(), CollectionKind::Missing)).collect();
        for info in self.infos(names).await? {
            let name = info.get_str("name").map_err(|_| Error::Reply { act: LIST, field: "name" })?;
            kinds.insert(name.to_owned(), kind(&info));
        }
        Ok(kinds)
    }

    /// Returns the server's descriptions of the collections that exist.
    async fn infos(&self, names: &[&str]) -> Result<Vec<Document>, Error> {
        self.list(LIST, doc! { "listCollections": 1, "filter": { "name": { "$in": names } } }).await
    }
}

fn first_batch(reply: &Document) -> Option<impl Iterator<Item = &Document>> {
    let batch = reply.get_document("cursor").ok()?.get_array("firstBatch").ok()?;
    Some(batch.iter().filter_map(bson::Bson::as_document))
}

/// Returns the kind of a collection, as `listCollections` describes it.
pub(super) fn kind(info: &Document) -> CollectionKind {
    let capped = info.get_document("options").is_ok_and(|options| options.get_bool("capped").unwrap_or(false));
    match info.get_str("type") {
        Ok("view") => CollectionKind::View,
        Ok("timeseries") => CollectionKind::TimeSeries,
        _ if capped => CollectionKind::Capped,
        _ => CollectionKind::Plain,
    }
}

fn server_faults(server: &Server) -> Option<Fault> {
    if server.replica_set.is_none() && !server.mongos {
        return Some(Fault {
            what: "the source is a standalone server, which has no change streams".to_owned(),
            hint: "start mongod with --replSet and run rs.initiate(); one member is enough".to_owned(),
        });
    }
    let [major, minor, patch] = server.version;
    (server.version < [5, 0, 0]).then(|| Fault {
        what: format!("the source is MongoDB {major}.{minor}.{patch}, which cannot read at a cluster time"),
        hint: "upgrade it to 5.0 or later".to_owned(),
    })
}

fn kind_fault(database: &str, name: &str, kind: CollectionKind) -> Option<Fault> {
    let (what, hint) = match kind {
        CollectionKind::Plain | CollectionKind::Missing => return None,
        CollectionKind::View => ("is a view, which has no changes of its own", "map the collections it is made of"),
        CollectionKind::TimeSeries => (
            "is a time-series collection, whose changes MongoDB does not tell",
            "leave it out, and copy it by other means",
        ),
        CollectionKind::Capped => (
            "is capped, and MongoDB removes its old documents without a change event",
            "leave it out, or copy it into a plain collection (with a TTL index, whose deletes are events)",
        ),
    };
    Some(Fault { what: format!("{database}.{name} {what}"), hint: hint.to_owned() })
}

/// Returns the actions that the user lacks on the database; `None` if it lacks none, or if the server has no authentication.
fn missing_actions(status: &Document, database: &str) -> Option<Vec<&'static str>> {
    let info = status.get_document("authInfo").ok()?;
    if info.get_array("authenticatedUsers").is_ok_and(Vec::is_empty) {
        return None;
    }
    let mut granted = BTreeSet::new();
    for privilege in info.get_array("authenticatedUserPrivileges").ok()?.iter().filter_map(bson::Bson::as_document) {
        let Ok(resource) = privilege.get_document("resource") else { continue };
        let any = resource.get_bool("anyResource").unwrap_or(false);
        let here = resource.get_str("db").is_ok_and(|db| db.is_empty() || db == database)
            && resource.get_str("collection").is_ok_and(str::is_empty);
        if any || here {
            granted.extend(privilege.get_array("actions").into_iter().flatten().filter_map(bson::Bson::as_str));
        }
    }
    let missing: Vec<_> = ACTIONS.into_iter().filter(|action| !granted.contains(action)).collect();
    (!missing.is_empty()).then_some(missing)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn privileges(database: &str, collection: &str, actions: &[&str]) -> Document {
        doc! { "authInfo": {
            "authenticatedUsers": [{ "user": "reader", "db": "admin" }],
            "authenticatedUserPrivileges": [
                { "resource": { "db": database, "collection": collection }, "actions": actions },
            ],
        } }
    }

    #[rstest]
    #[case(privileges("shop", "", &["changeStream", "find", "listCollections"]), None)]
    #[case(privileges("", "", &["changeStream", "find", "listCollections"]), None)]
    #[case(privileges("shop", "", &["find", "listCollections"]), Some(vec!["changeStream"]))]
    #[case(privileges("other", "", &["changeStream", "find"]), Some(ACTIONS.to_vec()))]
    #[case(privileges("shop", "orders", &["changeStream", "find"]), Some(ACTIONS.to_vec()))]
    #[case(doc! { "authInfo": { "authenticatedUsers": [] } }, None)]
    fn names_what_the_user_lacks(#[case] status: Document, #[case] missing: Option<Vec<&'static str>>) {
        assert_eq!(missing_actions(&status, "shop"), missing);
    }

    #[rstest]
    #[case(doc! { "type": "collection", "options": {} }, CollectionKind::Plain)]
    #[case(doc! { "type": "collection", "options": { "capped": true } }, CollectionKind::Capped)]
    #[case(doc! { "type": "view" }, CollectionKind::View)]
    #[case(doc! { "type": "timeseries" }, CollectionKind::TimeSeries)]
    fn tells_kinds_apart(#[case] info: Document, #[case] expected: CollectionKind) {
        assert_eq!(kind(&info), expected);
        assert_eq!(kind_fault("shop", "x", expected).is_some(), expected != CollectionKind::Plain);
    }
}
