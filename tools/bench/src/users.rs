//! The flat collection that everything is measured on: 12 fields, 524 bytes, and its table with four indexes besides the key.
//!
//! A document follows from its number and its revision alone, so these two determine what its row must be.

use bson::{DateTime, oid::ObjectId, raw::RawDocumentBuf, rawdoc};
use bytes::{BufMut, BytesMut};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::servers::Application;

/// Name of the collection and of its table.
pub(crate) const USERS: &str = "users";
/// Bytes of a document.
pub(crate) const SIZE: usize = 524;
/// First second of the documents' ids and instants: 2024-01-01.
const EPOCH: i64 = 1_704_067_200;
/// Microseconds between PostgreSQL's epoch, 2000-01-01, and Unix's.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

const FIRST: [&str; 8] = ["Ada", "Béla", "Chen", "Dilnoza", "Emil", "Fatima", "Goran", "Hana"];
const LAST: [&str; 8] = ["Albers", "Bianchi", "Cohen", "Dvořák", "Eriksen", "Fischer", "Grant", "Haddad"];
const CITIES: [&str; 8] = ["Aarhus", "Bologna", "Cork", "Dresden", "Espoo", "Faro", "Ghent", "Haifa"];
const COUNTRIES: [&str; 8] = ["DK", "IT", "IE", "DE", "FI", "PT", "BE", "IL"];

/// The columns of the table, in its order; `id` and `_id` hold the same value.
pub(crate) const COLUMNS: [(&str, &str); 13] = [
    ("id", "text"),
    ("_id", "text"),
    ("seq", "int8"),
    ("email", "text"),
    ("name", "text"),
    ("company", "text"),
    ("country", "text"),
    ("city", "text"),
    ("street", "text"),
    ("score", "float8"),
    ("active", "bool"),
    ("bio", "text"),
    ("created_at", "timestamptz"),
];

/// One document, or the row that it must become.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct User {
    pub(crate) id: ObjectId,
    pub(crate) seq: i64,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) company: String,
    pub(crate) country: &'static str,
    pub(crate) city: &'static str,
    pub(crate) street: String,
    pub(crate) score: f64,
    pub(crate) active: bool,
    pub(crate) bio: String,
    pub(crate) created_at_ms: i64,
}

/// A generator of users.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Users {
    /// Seed for all values.
    pub(crate) seed: u64,
}

impl Users {
    /// Returns the user of that number after `revision` updates.
    pub(crate) fn user(self, seq: u64, revision: u32) -> User {
        let draw =
            |what: u64, below: u64| xxh3_64_with_seed(&[seq, what].map(u64::to_le_bytes).concat(), self.seed) % below;
        let (first, last) = (draw(0, 8) as usize, draw(1, 8) as usize);
        let place = draw(2, 8) as usize;
        let mut user = User {
            id: id_of(seq),
            seq: seq as i64,
            email: format!("user{seq}@mail{}.example", draw(3, 500)),
            name: format!("{} {}", FIRST[first], LAST[last]),
            company: company(draw(4, 5_000), revision),
            country: COUNTRIES[place],
            city: CITIES[place],
            street: format!("{} street {}", LAST[draw(5, 8) as usize], 1 + draw(6, 300)),
            score: score(draw(7, 1_000_000), revision),
            active: draw(8, 10) > 0,
            bio: String::new(),
            created_at_ms: EPOCH * 1000 + seq as i64 * 977 + draw(9, 977) as i64,
        };
        let bare = user.document().as_bytes().len();
        user.bio = sentence(seq, SIZE.saturating_sub(bare));
        user
    }

    /// Returns the documents of these numbers, before any update.
    pub(crate) fn documents(self, numbers: std::ops::Range<u64>) -> Vec<RawDocumentBuf> {
        numbers.map(|seq| self.user(seq, 0).document()).collect()
    }
}

/// Returns the `_id` of a number; ids ascend with it.
pub(crate) fn id_of(seq: u64) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&((EPOCH as u64 + seq / 1_000) as u32).to_be_bytes());
    bytes[4..].copy_from_slice(&seq.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// Returns an update's new company, which differs from that of every other revision.
pub(crate) fn company(number: u64, revision: u32) -> String {
    format!("Company {number:04}.{revision:06} Ltd")
}

/// Returns an update's new score.
pub(crate) fn score(number: u64, revision: u32) -> f64 {
    number as f64 / 1_000.0 + f64::from(revision)
}

fn sentence(seq: u64, length: usize) -> String {
    let mut text = String::with_capacity(length + 16);
    let mut at = seq;
    while text.len() < length {
        text.push_str(["lorem ", "ipsum ", "dolor ", "sit ", "amet ", "quia ", "nemo "][(at % 7) as usize]);
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 3;
    }
    text.truncate(length);
    text
}

impl User {
    /// Returns the document.
    pub(crate) fn document(&self) -> RawDocumentBuf {
        rawdoc! {
            "_id": self.id,
            "seq": self.seq,
            "email": self.email.as_str(),
            "name": self.name.as_str(),
            "company": self.company.as_str(),
            "country": self.country,
            "city": self.city,
            "street": self.street.as_str(),
            "score": self.score,
            "active": self.active,
            "bio": self.bio.as_str(),
            "created_at": DateTime::from_millis(self.created_at_ms),
        }
    }

    /// Appends the row in the binary form of `COPY`.
    pub(crate) fn copy_row(&self, out: &mut BytesMut) {
        let id = self.id.to_hex();
        out.put_i16(COLUMNS.len() as i16);
        for text in [&id, &id] {
            field(out, text.as_bytes());
        }
        field(out, &self.seq.to_be_bytes());
        for text in [&self.email, &self.name, &self.company] {
            field(out, text.as_bytes());
        }
        for text in [self.country, self.city, &self.street] {
            field(out, text.as_bytes());
        }
        field(out, &self.score.to_be_bytes());
        field(out, &[u8::from(self.active)]);
        field(out, self.bio.as_bytes());
        field(out, &(self.created_at_ms * 1_000 - POSTGRES_EPOCH_MICROS).to_be_bytes());
    }
}

fn field(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(bytes.len() as i32);
    out.put_slice(bytes);
}

/// The beginning of a binary `COPY`: signature, flags, length of the header's extension.
pub(crate) const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The end of a binary `COPY`.
pub(crate) const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// Returns the table and the mapping to it.
pub(crate) fn application() -> Application {
    Application {
        schema: format!("{}{}", table(USERS), indexes(USERS)),
        mapping: format!("[collections.{USERS}]\ntable = \"public.{USERS}\"\nid = \"hex\"\n"),
    }
}

/// Returns several collections of the same shape, each with its table.
pub(crate) fn collections(names: &[String]) -> Application {
    let schema = names.iter().map(|name| format!("{}{}", table(name), indexes(name))).collect();
    let mapping = names.iter().map(|name| format!("[collections.{name}]\ntable = \"public.{name}\"\nid = \"hex\"\n"));
    Application { schema, mapping: mapping.collect() }
}

fn table(name: &str) -> String {
    let columns: Vec<String> = COLUMNS[1..].iter().map(|(name, sql)| format!("\"{name}\" {sql}")).collect();
    format!("CREATE TABLE {name} (id text PRIMARY KEY, {});\n", columns.join(", "))
}

fn indexes(name: &str) -> String {
    ["seq", "email", "company", "created_at"].map(|column| format!("CREATE INDEX ON {name} ({column});\n")).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDED: Users = Users { seed: 1 };

    #[test]
    fn a_document_has_12_fields_and_524_bytes() {
        for (seq, revision) in [(0, 0), (7, 3), (299_999, 0), (5_000_000, 999_999)] {
            let document = SEEDED.user(seq, revision).document();
            assert_eq!((document.as_bytes().len(), document.iter().count()), (SIZE, 12), "user {seq}");
        }
    }

    #[test]
    fn a_user_follows_from_its_number_and_revision() {
        assert_eq!(SEEDED.user(5, 0), SEEDED.user(5, 0));
        assert_ne!(SEEDED.user(5, 0), Users { seed: 2 }.user(5, 0));
        let (before, after) = (SEEDED.user(5, 0), SEEDED.user(5, 1));
        assert!(before.company != after.company && before.score != after.score && before.email == after.email);
    }

    #[test]
    fn ids_ascend() {
        let ids: Vec<_> = [0, 1, 999, 1_000, 1_001, 2_000_000].map(id_of).into();
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_copied_row_has_every_column() {
        let mut row = BytesMut::new();
        SEEDED.user(1, 0).copy_row(&mut row);
        let (mut at, mut fields) = (2, 0);
        while at < row.len() {
            let length = i32::from_be_bytes(row[at..at + 4].try_into().expect("four bytes"));
            at += 4 + usize::try_from(length).expect("no NULL here");
            fields += 1;
        }
        assert_eq!((at, fields, i16::from_be_bytes([row[0], row[1]])), (row.len(), COLUMNS.len(), 13));
    }
}
