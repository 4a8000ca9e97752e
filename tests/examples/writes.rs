//! Random writes to collections of which nothing is known: what is written is put together from the documents that are there. Fields
//! come from other documents of the same collection, are removed, or get a fresh value of the type that they have, so a mapping that was
//! drafted from those documents has to take all of it.

use futures_util::TryStreamExt;
use mongodb::{
    Database,
    bson::{Bson, DateTime, Document, doc, oid::ObjectId, raw::RawDocumentBuf},
};
use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Documents of a collection that are looked at for one command of each kind.
const READ: i64 = 64;
/// Writes to a collection in one round.
const WRITES: usize = 32;
/// A collection keeps this many documents: its writes need others to take fields from.
const KEPT: usize = 8;
/// Answers of the server that are no failure: a unique index, a validator or a name that begins with `$` forbids the write, so nothing
/// has changed.
const FORBIDDEN: [i32; 3] = [11_000, 121, 52];

/// The writes, and the random stream that they follow.
pub(crate) struct Writes {
    pub(crate) source: Database,
    pub(crate) rng: ChaCha8Rng,
}

/// The writes of one round to one collection, in the form of the server's commands.
#[derive(Default)]
struct Round {
    inserts: Vec<Bson>,
    updates: Vec<Bson>,
    deletes: Vec<Bson>,
}

impl Writes {
    /// Writes to every collection in turn, until so many documents were changed.
    pub(crate) async fn write(&mut self, wanted: u64) {
        let names = self.source.list_collection_names().await.expect("the collections");
        let mut changed = 0;
        while changed < wanted {
            for name in &names {
                let collection = self.source.collection::<RawDocumentBuf>(name);
                let found = collection.find(doc! {}).limit(READ).await.expect("read");
                let documents: Vec<RawDocumentBuf> = found.try_collect().await.expect("read");
                let documents: Vec<Document> = documents.iter().filter_map(writable).collect();
                let round = self.round(&documents);
                changed += self.run(name, round).await;
            }
        }
    }

    fn round(&mut self, documents: &[Document]) -> Round {
        let mut round = Round::default();
        let mut left = documents.len();
        for one in documents.iter().cycle().take(WRITES) {
            let other = documents.choose(&mut self.rng).expect("there are documents");
            let mut filter = doc! { "_id": one["_id"].clone() };
            let update = match self.rng.random_range(0..12) {
                0 if left > KEPT => {
                    left -= 1;
                    round.deletes.push(doc! { "q": filter, "limit": 1 }.into());
                    continue;
                }
                0..3 => {
                    let Some(id) = self.fresh_id(&one["_id"]) else { continue };
                    let mut fresh = self.mixed(one, other);
                    fresh.insert("_id", id.clone());
                    if self.rng.random_bool(0.5) {
                        round.inserts.push(fresh.into());
                    } else {
                        let update = doc! { "q": { "_id": id }, "u": replacement(fresh), "upsert": true };
                        round.updates.push(update.into());
                    }
                    continue;
                }
                3..5 => {
                    let mut fresh = self.mixed(one, other);
                    fresh.insert("_id", one["_id"].clone());
                    replacement(fresh)
                }
                5..7 => self.unset(one).into(),
                7..10 => self.array(&mut filter, one, other).into(),
                _ => self.set(other).into(),
            };
            round.updates.push(doc! { "q": filter, "u": update }.into());
        }
        round
    }

    /// Runs the writes; returns how many documents were changed.
    async fn run(&self, name: &str, round: Round) -> u64 {
        let Round { inserts, updates, deletes } = round;
        let mut changed = 0;
        for (command, argument, writes) in
            [("insert", "documents", inserts), ("update", "updates", updates), ("delete", "deletes", deletes)]
        {
            if writes.is_empty() {
                continue;
            }
            let answer = self.source.run_command(doc! { command: name, argument: writes, "ordered": false }).await;
            let answer = answer.unwrap_or_else(|error| panic!("{command} {name}: {error}"));
            for refused in answer.get_array("writeErrors").into_iter().flatten().filter_map(Bson::as_document) {
                let code = refused.get_i32("code").expect("a code");
                assert!(FORBIDDEN.contains(&code), "{command} {name}: {refused}");
            }
            // `n` of an update counts documents that already had the values, too.
            let count = answer.get_i32("nModified").or_else(|_| answer.get_i32("n")).expect("a count");
            let upserted = answer.get_array("upserted").map_or(0, Vec::len);
            changed += u64::try_from(count).expect("a count") + upserted as u64;
        }
        changed
    }

    /// A document whose fields come from two others.
    fn mixed(&mut self, one: &Document, other: &Document) -> Document {
        let mut mixed = Document::new();
        for (name, value) in one.iter().chain(other) {
            if self.rng.random_bool(0.7) {
                mixed.insert(name, self.varied(value));
            }
        }
        mixed
    }

    /// An update that sets some fields to what another document has, or to something like it.
    fn set(&mut self, other: &Document) -> Document {
        let fields: Vec<&String> = plain_fields(other).collect();
        let chosen = fields.choose_multiple(&mut self.rng, 2).copied().collect::<Vec<_>>();
        let set: Document = chosen.into_iter().map(|name| (name.clone(), self.varied(&other[name]))).collect();
        doc! { "$set": set }
    }

    /// An update that removes a field, of the document or of an object in it.
    fn unset(&mut self, one: &Document) -> Document {
        let fields: Vec<&String> = plain_fields(one).collect();
        let Some(name) = fields.choose(&mut self.rng) else { return doc! { "$unset": {} } };
        let inner = one[*name].as_document().map(|inner| plain_fields(inner).collect::<Vec<_>>()).unwrap_or_default();
        let path = match inner.choose(&mut self.rng) {
            Some(inner) => format!("{name}.{inner}"),
            None => (*name).clone(),
        };
        doc! { "$unset": { path: "" } }
    }

    /// An update that changes an array, if both documents have one of the name; else one as [`Self::set`] makes. An earlier write may
    /// have removed the array, so the filter asks for what the update needs.
    fn array(&mut self, filter: &mut Document, one: &Document, other: &Document) -> Document {
        let is_array = |name: &&String| one.get_array(*name).is_ok() && other.get_array(*name).is_ok();
        let arrays: Vec<&String> = plain_fields(one).filter(is_array).collect();
        let Some(name) = arrays.choose(&mut self.rng).copied() else { return self.set(other) };
        let (own, others) = (one.get_array(name).expect("an array"), other.get_array(name).expect("an array"));
        filter.insert(name, doc! { "$type": "array" });
        match (self.rng.random_range(0..5), others.choose(&mut self.rng), own.len()) {
            (0, ..) => doc! { "$pop": { name: if self.rng.random_bool(0.5) { 1 } else { -1 } } },
            (1, ..) => doc! { "$set": { name: [] } },
            (2, Some(element), 1..) => {
                let place = format!("{name}.{}", self.rng.random_range(0..own.len()));
                filter.insert(&place, doc! { "$exists": true });
                doc! { "$set": { place: self.varied(element) } }
            }
            (_, Some(element), _) => {
                let place = self.rng.random_range(0..=own.len()) as i32;
                doc! { "$push": { name: { "$each": [self.varied(element)], "$position": place } } }
            }
            (_, None, _) => doc! { "$set": { name: others.clone() } },
        }
    }

    /// The value, or one like it: of the same type, with fewer fields, or with its elements in another order.
    fn varied(&mut self, value: &Bson) -> Bson {
        if self.rng.random_bool(0.5) {
            return value.clone();
        }
        match value {
            Bson::Document(inner) => {
                let kept = inner.iter().filter(|_| self.rng.random_bool(0.8)).collect::<Vec<_>>();
                kept.into_iter().map(|(name, value)| (name.clone(), self.varied(value))).collect::<Document>().into()
            }
            Bson::Array(elements) => {
                let amount = self.rng.random_range(0..=elements.len());
                let chosen = elements.choose_multiple(&mut self.rng, amount).cloned().collect::<Vec<_>>();
                Bson::Array(chosen.iter().map(|element| self.varied(element)).collect())
            }
            Bson::Boolean(_) => self.rng.random_bool(0.5).into(),
            Bson::Int32(_) => self.rng.random::<i32>().into(),
            Bson::Int64(_) => i64::from(self.rng.random::<i32>()).into(),
            // A whole number may be an id.
            Bson::Double(number) if number.fract() != 0.0 => self.rng.random_range(-1e6..1e6).into(),
            Bson::DateTime(_) => DateTime::from_millis(self.rng.random_range(0..4_000_000_000_000)).into(),
            Bson::String(text) if !reads_as_an_id(text) => self.word().into(),
            value => value.clone(),
        }
    }

    /// An `_id` that no document has, of the same type; `None` for types that nobody makes up.
    fn fresh_id(&mut self, id: &Bson) -> Option<Bson> {
        match id {
            Bson::ObjectId(_) => Some(ObjectId::from_bytes(self.rng.random()).into()),
            Bson::Int32(_) | Bson::Int64(_) => Some(i64::from(self.rng.random::<u32>()).into()),
            Bson::String(_) => Some(self.word().into()),
            _ => None,
        }
    }

    fn word(&mut self) -> String {
        const ENDS: [&str; 4] = ["", " it's", " \"ż\"", " {\\}"];
        format!("word {}{}", self.rng.random::<u32>(), ENDS.choose(&mut self.rng).expect("an end"))
    }
}

/// Fields that the operators of an update can name.
fn plain_fields(document: &Document) -> impl Iterator<Item = &String> {
    document.keys().filter(|name| *name != "_id" && !name.is_empty() && !name.contains(['.', '$']))
}

/// Whether the text can stand for an id of another type: an ObjectId, a UUID or a number.
fn reads_as_an_id(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// An update to this document. A pipeline, because a plain replacement must not have fields such as `$set`.
fn replacement(document: Document) -> Bson {
    vec![Bson::from(doc! { "$replaceWith": { "$literal": document } })].into()
}

/// The document, unless it is not to be written: a text that is not UTF-8 would change, and a server of the 6.0 series aborts when it
/// replaces a document that has one name twice.
fn writable(raw: &RawDocumentBuf) -> Option<Document> {
    let document = Document::try_from(raw).ok()?;
    (raw.iter().count() == document.len()).then_some(document)
}
