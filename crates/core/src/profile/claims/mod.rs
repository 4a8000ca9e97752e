//! Claims about documents: which fields an author says there are, which are required, to what they are limited, and what they refer to.
//!
//! ```text
//!  $jsonSchema of a validator ──▶ json_schema ──┐
//!  schemas of Mongoose, as JSON ──▶ mongoose ───┼──▶ Claims ──▶ a Claim at each Field
//!  Prisma schema ──▶ prisma ────────────────────┘
//! ```
//! A claim is about what ought to be; the documents show what is. Whoever decides by a claim looks at both, and names the author.

mod json_schema;
mod mongoose;
mod prisma;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Number;

pub(super) use self::json_schema::of_validator;
pub use self::{
    mongoose::mongoose,
    prisma::{Fault, prisma},
};
use super::report::Field;

/// Who makes a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// A validator that MongoDB enforces.
    Validator,
    /// A Prisma schema.
    Prisma,
    /// Schemas of Mongoose.
    Mongoose,
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validator => "the validator",
            Self::Prisma => "the Prisma schema",
            Self::Mongoose => "the Mongoose schema",
        })
    }
}

/// The claims of one author about a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who makes them.
    pub by: Author,
    /// Whether every object has it, with a value that is not null.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The texts to which it is limited; empty if it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// The value that new objects get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Preset>,
    /// The target of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Referred>,
}

/// The value that a field of a new object gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// A text.
    Text(String),
    /// A number.
    Number(Number),
    /// True or false.
    Flag(bool),
    /// The time of the write.
    Now,
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Now => f.write_str("the current time"),
        }
    }
}

/// The field of a collection that others refer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referred {
    /// The collection.
    pub collection: String,
    /// The field, if it is not the `_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// The claims of one author about the documents of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Who claims it.
    pub by: Author,
    /// About the documents.
    pub claims: Claims,
}

/// Claims about the values of a path, and about those below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    pub(super) required: bool,
    pub(super) texts: Vec<String>,
    pub(super) default: Option<Preset>,
    pub(super) reference: Option<Referred>,
    pub(super) fields: BTreeMap<String, Claims>,
    pub(super) elements: Option<Box<Claims>>,
}

impl Claims {
    fn claim(&self, by: Author, required: bool) -> Option<Claim> {
        let Self { texts, default, reference, .. } = self.clone();
        let says = required || !texts.is_empty() || default.is_some() || reference.is_some();
        says.then_some(Claim { by, required, texts, default, reference })
    }
}

/// Enters what is claimed about the fields of an object; `demanded` says whether the object itself is.
pub(super) fn enter(fields: &mut [Field], by: Author, claims: &Claims, demanded: bool) {
    for field in fields {
        if let Some(claims) = claims.fields.get(&field.name) {
            at(field, by, claims, demanded);
        }
    }
}

fn at(field: &mut Field, by: Author, claims: &Claims, demanded: bool) {
    let required = demanded && claims.required;
    field.claims.extend(claims.claim(by, required));
    enter(&mut field.fields, by, claims, required);
    if let (Some(elements), Some(claims)) = (&mut field.elements, &claims.elements) {
        // A row of a child table is an element, so what is demanded of an element holds in each row.
        at(elements, by, claims, true);
    }
}

/// The fields of documents that are claimed, and that no document has.
pub(super) fn unseen(fields: &[Field], claims: &Claims) -> Vec<String> {
    let is_seen = |name: &str| fields.iter().any(|field| field.name == name);
    claims.fields.keys().filter(|name| !is_seen(name)).cloned().collect()
}
