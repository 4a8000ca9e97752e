//! The expected rows of the demo's documents: each column once, by hand, in the order of `config/demo/schema.sql`.

use mongodb::bson::{Bson, Document};
use uuid::Uuid;

use super::value::Kind::{
    self, Bool, Day, Float, Id, Ids, Int, Ints, Json, Moment, Numeric, Parent, Position, Text, Texts,
};

/// A column, the kind of its values, and the path of its value in the document (or in the element of the array).
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    path: &'static str,
    default: Option<&'static str>,
}

impl Column {
    /// Sets the canonical value that is expected if the document has none.
    const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }
}

const fn column(name: &'static str, kind: Kind, path: &'static str) -> Column {
    Column { name, kind, path, default: None }
}

/// A table of the target. The first column is its key.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) collection: &'static str,
    /// The embedded array of its rows, and the field that distinguishes elements; `None` for a document's own row.
    array: Option<(&'static str, &'static str)>,
    pub(super) columns: &'static [Column],
}

/// Every table.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "app.organisations",
        collection: "organisations",
        array: None,
        columns: &[
            column("id", Id, "_id"),
            column("name", Text, "name"),
            column("slug", Text, "slug"),
            column("kind", Text, "kind"),
            column("about", Text, "about"),
            column("employees", Int, "employees"),
            column("city", Text, "seat.city"),
            column("country", Text, "seat.country"),
            column("latitude", Float, "seat.position.lat"),
            column("longitude", Float, "seat.position.lon"),
            column("credit", Numeric, "credit"),
            column("domains", Texts, "domains"),
            column("founded_on", Day, "foundedOn"),
            column("settings", Json, "settings"),
            column("created_at", Moment, "createdAt"),
            column("updated_at", Moment, "updatedAt"),
        ],
    },
    Table {
        name: "app.users",
        collection: "users",
        array: None,
        columns: &[
            column("id", Id, "_id"),
            column("email", Text, "email"),
            column("full_name", Text, "name"),
            column("status", Text, "status").or("active"),
            column("role", Text, "role"),
            column("organisation_id", Id, "organisation"),
            column("street", Text, "profile.address.street"),
            column("city", Text, "profile.address.city"),
            column("postcode", Text, "profile.address.postcode"),
            column("country", Text, "profile.address.country"),
            column("phone", Text, "profile.phone"),
            column("born_on", Day, "profile.bornOn"),
            column("bio", Text, "profile.bio"),
            column("languages", Texts, "profile.languages"),
            column("tags", Texts, "tags"),
            column("preferences", Json, "settings"),
            column("login_count", Int, "loginCount"),
            column("rating", Float, "rating"),
            column("email_verified", Bool, "emailVerified"),
            column("last_login_at", Moment, "lastLoginAt"),
            column("created_at", Moment, "createdAt"),
            column("updated_at", Moment, "updatedAt"),
        ],
    },
    Table {
        name: "app.plans",
        collection: "plans",
        array: None,
        columns: &[
            column("id", Id, "_id"),
            column("title", Text, "title"),
            column("owner_id", Id, "owner"),
            column("organisation_id", Id, "organisation"),
            column("based_on_id", Id, "basedOn"),
            column("collaborator_ids", Ids, "collaborators"),
            column("status", Text, "status"),
            column("stage", Text, "stage"),
            column("industry", Text, "industry"),
            column("summary", Text, "summary"),
            column("budget", Numeric, "budget.amount"),
            column("currency", Text, "budget.currency"),
            column("progress", Float, "progress"),
            column("view_count", Int, "viewCount"),
            column("is_public", Bool, "public").or("false"),
            column("starts_on", Day, "startsOn"),
            column("tags", Texts, "tags"),
            column("settings", Json, "settings"),
            column("created_at", Moment, "createdAt"),
            column("updated_at", Moment, "updatedAt"),
        ],
    },
    Table {
        name: "app.plan_milestones",
        collection: "plans",
        array: Some(("milestones", "_id")),
        columns: &[
            column("id", Id, ""),
            column("plan_id", Parent, ""),
            column("position", Position, ""),
            column("name", Text, "name"),
            column("due_on", Day, "dueOn"),
            column("done", Bool, "done"),
            column("weight", Int, "weight"),
            column("owners", Texts, "owners"),
            column("budget", Numeric, "budget"),
            column("note", Text, "note"),
        ],
    },
    Table {
        name: "app.research_packs",
        collection: "research_packs",
        array: None,
        columns: &[
            column("id", Id, "_id"),
            column("owner_id", Id, "owner"),
            column("plan_id", Id, "plan"),
            column("topic", Text, "topic"),
            column("state", Text, "state"),
            column("region", Text, "scope.region"),
            column("years", Ints, "scope.years"),
            column("market_size", Numeric, "marketSize"),
            column("confidence", Float, "confidence"),
            column("keywords", Texts, "keywords"),
            column("findings", Json, "findings"),
            column("refreshed_at", Moment, "refreshedAt"),
            column("created_at", Moment, "createdAt"),
            column("updated_at", Moment, "updatedAt"),
        ],
    },
    Table {
        name: "app.research_sources",
        collection: "research_packs",
        array: Some(("sources", "key")),
        columns: &[
            column("id", Id, ""),
            column("research_pack_id", Parent, ""),
            column("position", Position, ""),
            column("key", Text, "key"),
            column("title", Text, "title"),
            column("url", Text, "url"),
            column("credibility", Float, "credibility"),
            column("paid", Bool, "paid"),
            column("price", Numeric, "price"),
            column("published_on", Day, "publishedOn"),
        ],
    },
    Table {
        name: "app.sections",
        collection: "sections",
        array: None,
        columns: &[
            column("id", Id, "_id"),
            column("plan_id", Id, "plan"),
            column("order_index", Int, "order"),
            column("title", Text, "title"),
            column("kind", Text, "kind"),
            column("body", Text, "body"),
            column("blocks", Json, "blocks"),
            column("word_count", Int, "wordCount"),
            column("ai_generated", Bool, "aiGenerated"),
            column("key_points", Texts, "keyPoints"),
            column("research_pack_id", Id, "researchPack"),
            column("review_score", Float, "review.score"),
            column("review_comment", Text, "review.comment"),
            column("reviewed_by", Id, "review.by"),
            column("reviewed_at", Moment, "review.at"),
            column("created_at", Moment, "createdAt"),
            column("updated_at", Moment, "updatedAt"),
        ],
    },
    Table {
        name: "app.financial_models",
        collection: "financial_models",
        array: None,
        columns: &[
            column("id", Id, "_id"),
            column("plan_id", Id, "plan"),
            column("name", Text, "name"),
            column("scenario", Text, "scenario"),
            column("currency", Text, "currency").or("EUR"),
            column("starts_on", Day, "startsOn"),
            column("horizon_months", Int, "horizonMonths").or("36"),
            column("opening_cash", Numeric, "cash.opening"),
            column("monthly_burn", Numeric, "cash.burn"),
            column("revenue_year_1", Numeric, "revenue.year1"),
            column("revenue_year_2", Numeric, "revenue.year2"),
            column("revenue_year_3", Numeric, "revenue.year3"),
            column("growth_rate", Float, "growthRate"),
            column("headcount", Int, "headcount"),
            column("units_sold", Int, "unitsSold"),
            column("assumptions", Json, "assumptions"),
            column("break_even_on", Day, "breakEvenOn"),
            column("locked", Bool, "locked"),
            column("created_at", Moment, "createdAt"),
            column("updated_at", Moment, "updatedAt"),
        ],
    },
];

/// Returns the id of a document's row: UUID version 5 of the id's hex digits, in the namespace of the mapping file.
pub(crate) fn root_id(hex: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, hex.as_bytes()).to_string()
}

/// Returns the id of a child row: UUID version 5, in the root row's id, of the array, the kind of the element's key, and its
/// text.
fn child_id(root: &str, array: &str, key: &str) -> String {
    let root: Uuid = root.parse().expect("the root's id is a UUID");
    Uuid::new_v5(&root, format!("{array}/{key}").as_bytes()).to_string()
}

impl Table {
    /// Returns the rows of this table that a document must have: key, and values in the order of the columns.
    pub(super) fn expect(&self, document: &Document) -> Vec<(String, Vec<Option<String>>)> {
        let root = document.get("_id").and_then(|id| Id.expect(id)).expect("every demo document has an ObjectId");
        let Some((array, distinct)) = self.array else {
            return vec![(root, self.columns.iter().map(|column| column.expect(document)).collect())];
        };
        let Some(Bson::Array(elements)) = find(document, array) else { return Vec::new() };
        let row = |(position, element): (usize, &Bson)| {
            let element = element.as_document().expect("the demo embeds documents");
            let id = child_id(&root, array, &own_key(element, distinct));
            let values = self.columns.iter().map(|column| match column.kind {
                Id if column.path.is_empty() => Some(id.clone()),
                Parent => Some(root.clone()),
                Position => Some(position.to_string()),
                _ => column.expect(element),
            });
            (id.clone(), values.collect())
        };
        elements.iter().enumerate().map(row).collect()
    }
}

impl Column {
    fn expect(&self, document: &Document) -> Option<String> {
        let value = find(document, self.path).and_then(|value| self.kind.expect(value));
        value.or_else(|| self.default.map(str::to_owned))
    }
}

/// Returns the value at a path; null counts as none.
fn find<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    let value = match path.split_once('.') {
        Some((first, rest)) => find(document.get_document(first).ok()?, rest),
        None => document.get(path),
    };
    value.filter(|value| !matches!(value, Bson::Null))
}

/// Returns the key that distinguishes an element from the others.
fn own_key(element: &Document, field: &str) -> String {
    match element.get(field) {
        Some(Bson::ObjectId(id)) => format!("oid:{id}"),
        Some(Bson::String(text)) => format!("string:{text}"),
        other => panic!("the demo's elements have a text or an ObjectId in {field}: {other:?}"),
    }
}
