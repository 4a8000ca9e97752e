//! The documents of all collections, seen one after the other.

use bson::raw::RawDocument;

use super::{
    claims::{self, Description},
    described::{Index, Validator},
    form::{Fitting, identity},
    kinds::Candidates,
    links,
    report::{Analysis, Collection, Field},
    sketch::{Ids, Sketch, hash},
    tree::Tree,
};
use crate::mapping::{Raw, Value};

/// Most hashes of `_id`s in all collections together: at most 48 MB.
const MAX_IDS: usize = 3 << 20;
/// Most hashes of other values in all collections together: at most 40 MB.
const MAX_HASHES: usize = 1 << 20;

/// Documents between two looks at those bounds.
const MAKE_ROOM_EVERY: u64 = 256;

/// The facts that the server gives about a collection.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Documents, estimated.
    pub documents: u64,
    /// Bytes of all documents.
    pub bytes: u64,
    /// Its indexes, without the one of `_id`.
    pub indexes: Vec<Index>,
    /// Its validator.
    pub validator: Option<Validator>,
    /// Descriptions of its documents by others.
    pub descriptions: Vec<Description>,
}

/// The collections of a database that were read so far, and the one that is being read.
#[derive(Debug)]
pub struct Database {
    name: String,
    done: Vec<Collection>,
    known: Vec<(Vec<Sketch>, Ids)>,
    now: Option<Reading>,
}

/// The collection that is being read.
#[derive(Debug)]
struct Reading {
    facts: Facts,
    seen: u64,
    largest: u64,
    tree: Tree,
    own: Fitting,
    ids: Ids,
    kinds: Candidates,
}

impl Database {
    /// A database of which nothing was read yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), done: Vec::new(), known: Vec::new(), now: None }
    }

    /// Begins with the next collection.
    pub fn begin(&mut self, facts: Facts) {
        self.now = Some(Reading {
            facts,
            seen: 0,
            largest: 0,
            tree: Tree::default(),
            own: Fitting::default(),
            ids: Ids::default(),
            kinds: Candidates::default(),
        });
    }

    /// Takes a document of the collection in.
    pub fn add(&mut self, document: &RawDocument) {
        let Some(now) = &mut self.now else { return };
        now.add(document);
        if now.seen.is_multiple_of(MAKE_ROOM_EVERY) {
            self.make_room();
        }
    }

    /// Ends the collection; `all` says whether every document was taken in.
    pub fn end(&mut self, all: bool) {
        let Some(mut now) = self.now.take() else { return };
        now.ids.sort();
        let objects = now.seen;
        let fields = now.tree.root.fields.iter();
        let mut fields: Vec<Field> =
            fields.map(|(name, node)| Field::of(name, objects, node, &now.tree.sketches)).collect();
        let own = now.facts.validator.as_ref().and_then(Validator::description);
        let mut unseen = Vec::new();
        for Description { by, claims } in own.iter().chain(&now.facts.descriptions) {
            unseen.extend(claims::unseen(&fields, claims).into_iter().map(|name| (*by, name)));
            claims::enter(&mut fields, *by, claims, true);
        }
        self.done.push(Collection {
            name: now.facts.name,
            documents: now.facts.documents.max(now.seen),
            bytes: now.facts.bytes,
            seen: now.seen,
            all,
            largest: now.largest,
            indexes: now.facts.indexes,
            validator: now.facts.validator,
            id_forms: now.own.id_forms(),
            kinds: now.kinds.report(),
            fields,
            unseen,
            cut: now.tree.is_cut() || now.tree.root.others.is_some(),
        });
        self.known.push((now.tree.sketches, now.ids));
    }

    /// The analysis of everything that was read.
    pub fn analysis(mut self) -> Analysis {
        links::enter(&mut self.done, &self.known);
        self.done.sort_by(|a, b| a.name.cmp(&b.name));
        Analysis { database: self.name, collections: self.done }
    }

    /// Thins the largest sets until all fit.
    fn make_room(&mut self) {
        let Some(now) = &mut self.now else { return };
        let ids: usize = self.known.iter().map(|(_, ids)| ids.len()).sum();
        if ids + now.ids.len() > MAX_IDS {
            let all = self.known.iter_mut().map(|(_, ids)| ids).chain([&mut now.ids]);
            all.max_by_key(|ids| ids.len()).into_iter().for_each(Ids::thin);
        }
        let hashes: usize = self.known.iter().flat_map(|(sketches, _)| sketches).map(Sketch::len).sum();
        if hashes + now.tree.hashes() > MAX_HASHES {
            let largest = self.known.iter_mut().flat_map(|(sketches, _)| sketches).max_by_key(|sketch| sketch.len());
            match largest {
                Some(largest) if largest.len() >= now.tree.hashes() => largest.thin(),
                _ => now.tree.thin(),
            }
        }
    }
}

impl Reading {
    fn add(&mut self, document: &RawDocument) {
        let raw = Raw::new(document.as_bytes());
        self.seen += 1;
        self.largest = self.largest.max(document.as_bytes().len() as u64);
        let id = raw.fields().map_while(Result::ok).find(|(name, _)| *name == b"_id").map(|(_, value)| value);
        // A document that cannot be read up to its `_id` has none that a rule could take.
        self.own.own(id.unwrap_or(Value::Null));
        id.and_then(identity).iter().for_each(|text| self.ids.add(hash(text)));
        self.tree.add(raw);
        self.kinds.add(raw);
    }
}

#[cfg(test)]
mod tests {
    use bson::{oid::ObjectId, rawdoc};

    use super::*;
    use crate::profile::{Form, IdForm, Reference};

    fn facts(name: &str) -> Facts {
        Facts { name: name.to_owned(), ..Facts::default() }
    }

    #[test]
    fn references_and_their_dangling_share_are_found() {
        let mut database = Database::new("shop");
        let users: Vec<ObjectId> = (0..40).map(|_| ObjectId::new()).collect();
        database.begin(facts("plans"));
        for (at, user) in users.iter().enumerate() {
            // A text, a dangling id, and a number that is found by chance only.
            let owner = if at < 4 { ObjectId::new() } else { *user };
            database.add(&rawdoc! { "_id": at as i32, "user": user.to_hex(), "owner": owner, "order": at as i32 % 3, "tags": ["a"] });
        }
        database.end(true);
        database.begin(facts("users"));
        users.iter().for_each(|user| database.add(&rawdoc! { "_id": *user, "name": "x", "plan": 7 }));
        database.end(true);
        let analysis = database.analysis();
        let [plans, users] = &analysis.collections[..] else { panic!("{analysis:?}") };
        let field = |name: &str| plans.fields.iter().find(|field| field.name == name).expect("a field");
        let to = |found| {
            Some(Reference { collection: "users".to_owned(), field: None, by: None, looked: 40, found, exact: true })
        };
        assert_eq!(field("user").reference, to(40));
        assert_eq!(field("owner").reference, to(36));
        assert_eq!((&field("order").reference, &field("_id").reference), (&None, &None));
        assert_eq!(
            users
                .fields
                .iter()
                .find(|field| field.name == "plan")
                .and_then(|plan| plan.reference.clone())
                .map(|to| to.collection),
            Some("plans".to_owned())
        );
        assert_eq!(
            (plans.id_forms.as_slice(), users.id_forms.as_slice()),
            (&[IdForm::Integer, IdForm::Mixed][..], &[IdForm::ObjectId, IdForm::Mixed][..])
        );
        assert_eq!(field("order").forms, [Form::Integer, Form::Bigint, Form::Double, Form::Numeric, Form::Text]);
        assert_eq!(field("tags").elements.as_deref().map(|tags| tags.forms.clone()), Some(vec![Form::Text]));
    }

    #[test]
    fn an_analysis_is_read_back_as_it_was_written() {
        let mut database = Database::new("shop");
        database.begin(facts("odd"));
        database.add(&rawdoc! { "_id": { "a": 1 }, "n": 0.5, "at": bson::DateTime::MAX, "": { "": [[1], "x"] }, "m": { "1": 2, "2": null } });
        database.end(false);
        let analysis = database.analysis();
        let text = serde_json::to_string(&analysis).expect("JSON");
        let back: Analysis = serde_json::from_str(&text).expect("an analysis");
        assert_eq!(back, analysis);
        assert!(back.collections[0].id_forms.is_empty() && !back.collections[0].all);
    }
}
