//! Claims of a Prisma schema for MongoDB.
//!
//! ```text
//!  text ──▶ tokens ──▶ syntax: Block, Field, Attribute ──▶ this file: Claims of each collection
//! ```
//! Only what says something about documents is read: models, composite types and enums with their `@map`s, `?`, `[]`, `@default` and
//! `@relation`. Prisma publishes no parser as a package.

mod syntax;
mod tokens;

use std::collections::BTreeMap;

use self::syntax::{Block, Expression, Field, Kind};
pub use self::tokens::Fault;
use super::{Author, Claims, Description, Preset, Referred};

/// Composite types inside each other that are followed; a type may contain itself.
const MAX_DEPTH: usize = 8;

/// Reads the files of a schema; returns what it says about each collection, by its name.
///
/// # Errors
/// Fails at the first place that is no Prisma schema, and for a schema of another database. The first number is that of the file.
pub fn prisma(files: &[String]) -> Result<BTreeMap<String, Description>, (usize, Fault)> {
    let mut blocks = Vec::new();
    for (place, text) in files.iter().enumerate() {
        blocks.extend(syntax::parse(text).map_err(|fault| (place, fault))?);
    }
    let schema = Schema(&blocks);
    let models = blocks.iter().filter(|block| block.kind == Kind::Model);
    let described = |model: &Block| Description { by: Author::Prisma, claims: schema.object(model, 0) };
    Ok(models.map(|model| (model.stored().to_owned(), described(model))).collect())
}

/// The blocks of all files.
struct Schema<'s>(&'s [Block]);

impl Schema<'_> {
    fn block(&self, kind: Kind, name: &str) -> Option<&Block> {
        self.0.iter().find(|block| block.kind == kind && block.name == name)
    }

    /// The claims about the objects of a model or a composite type.
    fn object(&self, block: &Block, depth: usize) -> Claims {
        // The field of a relation is not stored: the fields that it names are.
        let stored = block.fields.iter().filter(|field| self.block(Kind::Model, &field.kind).is_none());
        let fields = stored.map(|field| (field.stored().to_owned(), self.field(block, field, depth))).collect();
        Claims { required: true, fields, ..Claims::default() }
    }

    fn field(&self, block: &Block, field: &Field, depth: usize) -> Claims {
        let inner = self.block(Kind::Type, &field.kind).filter(|_| depth < MAX_DEPTH);
        let values = self.block(Kind::Enum, &field.kind);
        let object = inner.map(|inner| self.object(inner, depth + 1)).unwrap_or_default();
        let one = Claims {
            required: true,
            texts: values.iter().flat_map(|values| &values.fields).map(|value| value.stored().to_owned()).collect(),
            reference: self.reference(block, &field.name),
            ..object
        };
        if field.list {
            // A list that is not there is an empty one.
            return Claims { elements: Some(Box::new(one)), ..Claims::default() };
        }
        Claims {
            required: !field.optional,
            default: field.default().and_then(|default| preset(default, values)),
            ..one
        }
    }

    /// The target of a field, by the relation that names it.
    fn reference(&self, block: &Block, name: &str) -> Option<Referred> {
        let relations = block.fields.iter().filter_map(|field| Some((field, field.attribute("relation")?)));
        relations.into_iter().find_map(|(field, relation)| {
            let [own] = relation.names("fields")[..] else { return None };
            let [theirs] = relation.names("references")[..] else { return None };
            let model = self.block(Kind::Model, &field.kind).filter(|_| own == name)?;
            let theirs = model.fields.iter().find(|field| field.name == theirs)?.stored();
            let field = Some(theirs.to_owned()).filter(|theirs| theirs != "_id");
            Some(Referred { collection: model.stored().to_owned(), field })
        })
    }
}

fn preset(default: &Expression, values: Option<&Block>) -> Option<Preset> {
    match default {
        Expression::Text(text) => Some(Preset::Text(text.clone())),
        Expression::Call(name) if name == "now" => Some(Preset::Now),
        Expression::Word(word) => match (values, word.as_str()) {
            (Some(values), name) => {
                let value = values.fields.iter().find(|value| value.name == name)?;
                Some(Preset::Text(value.stored().to_owned()))
            }
            (None, "true") => Some(Preset::Flag(true)),
            (None, "false") => Some(Preset::Flag(false)),
            (None, number) => number.parse().ok().map(Preset::Number),
        },
        // Ids that the client makes, and lists.
        Expression::Call(_) | Expression::List(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = include_str!("shop.prisma");

    #[test]
    fn a_schema_is_read() {
        let described = prisma(&[SHOP.to_owned()]).unwrap_or_else(|fault| panic!("{fault:?}"));
        assert_eq!(described.keys().collect::<Vec<_>>(), ["Audit", "orders", "products", "users"]);
        let orders = &described["orders"].claims.fields;
        let names: Vec<&str> = orders.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "_id",
                "address",
                "createdAt",
                "currency",
                "customer_id",
                "lines",
                "note",
                "status",
                "tagIds",
                "total",
                "urgent"
            ]
        );
        assert!(orders["_id"].required && orders["status"].required && !orders["note"].required);
        assert_eq!(orders["status"].texts, ["open", "paid & sent"]);
        assert_eq!(orders["status"].default, Some(Preset::Text("open".to_owned())));
        assert_eq!(orders["total"].default, Some(Preset::Number(0.into())));
        assert_eq!(orders["urgent"].default, Some(Preset::Flag(false)));
        assert_eq!((&orders["createdAt"].default, &orders["_id"].default), (&Some(Preset::Now), &None));
        let to = |collection: &str, field: Option<&str>| {
            Some(Referred { collection: collection.to_owned(), field: field.map(str::to_owned) })
        };
        assert_eq!(orders["customer_id"].reference, to("users", None));
        let tags = orders["tagIds"].elements.as_deref().expect("elements");
        assert_eq!((orders["tagIds"].required, &tags.reference), (false, &to("products", None)));
        let lines = orders["lines"].elements.as_deref().expect("elements");
        assert!(lines.required && lines.fields["sku"].required && !lines.fields["gift"].required);
        assert!(orders["address"].fields["city"].required && !orders["address"].required);
        assert_eq!(described["Audit"].claims.fields["email"].reference, to("users", Some("email")));
        assert!(described["products"].claims.fields["parts"].elements.is_some(), "a type that contains itself ends");
    }

    #[test]
    fn a_fault_has_its_line() {
        for (text, line, says) in [
            ("model A {\n  id String @id\n  b\n}", 3, "the type of field b"),
            ("model A {\n  id String", 2, "a `}`"),
            ("model A {\n  id String @default(\"a\n}", 2, "the end of the text"),
            ("datasource db {\n  provider = \"postgresql\"\n}", 2, "postgresql"),
            ("nonsense", 1, "`nonsense`"),
        ] {
            let (file, fault) = prisma(&["// another file\n".to_owned(), text.to_owned()]).expect_err(text);
            assert_eq!((file, fault.line), (1, line), "{text}: {fault}");
            assert!(fault.to_string().contains(says), "{text}: {fault}");
        }
    }
}
