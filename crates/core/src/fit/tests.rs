//! Whole mappings: tables as frameworks make them, and what is not sure.

use bson::{RawDocumentBuf, oid::ObjectId, rawdoc};

use super::*;
use crate::{
    mapping::target::{Column, Filled, ForeignKey},
    profile::{Database, Facts},
};

/// Ids of the documents of a collection.
fn id(collection: u8, at: u8) -> ObjectId {
    ObjectId::from_bytes([collection, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, at])
}

fn analysis(collections: &[(&str, &dyn Fn(u8) -> RawDocumentBuf)]) -> Analysis {
    let mut database = Database::new("shop");
    for (name, make) in collections {
        database.begin(Facts { name: (*name).to_owned(), ..Facts::default() });
        (0..20).for_each(|at| database.add(&make(at)));
        database.end(true);
    }
    database.analysis()
}

/// A table; its columns are `name`, or `name -> table.column` where a foreign key leads; `!` makes them NOT NULL.
fn table(schema: &str, name: &str, key: &[&str], columns: &[(&str, ColumnType)]) -> Table {
    let mut foreign_keys = Vec::new();
    let made = columns.iter().map(|(said, kind)| {
        let (own, parent) = said.split_once(" -> ").map_or((*said, None), |(own, parent)| (own, Some(parent)));
        let column = own.trim_end_matches('!');
        if let Some((parent, parent_column)) = parent.and_then(|parent| parent.split_once('.')) {
            foreign_keys.push(ForeignKey {
                name: format!("{column}_fkey"),
                columns: vec![column.to_owned()],
                parent: TableName::new(schema, parent),
                parent_columns: vec![parent_column.to_owned()],
            });
        }
        Column { not_null: own.ends_with('!') || key.contains(&column), ..Column::new(column, kind.clone()) }
    });
    let made = made.collect();
    Table { foreign_keys, ..Table::new(TableName::new(schema, name), key, made) }
}

fn fitted(analysis: &Analysis, tables: Vec<Table>) -> Fitted {
    Fitted::new(analysis, &Target { catalog: Catalog { tables }, lists: Vec::new() }, ObjectIds::Uuid5)
}

fn has(fitted: &Fitted, lines: &[&str]) {
    for line in lines {
        assert!(
            fitted.mapping.lines().any(|known| known.split("  # ").next() == Some(line)),
            "{line}\n{}",
            fitted.mapping
        );
    }
}

const TEXT: ColumnType = ColumnType::Text;
const UUID: ColumnType = ColumnType::Uuid;
const INSTANT: ColumnType = ColumnType::Timestamptz { precision: 6 };

#[test]
fn prisma_quoted_names_and_a_join_table() {
    let analysis = analysis(&[
        ("users", &|at| rawdoc! { "_id": id(1, at), "email": "a@b", "createdAt": bson::DateTime::MIN }),
        ("posts", &|at| {
            rawdoc! { "_id": id(2, at), "title": "t", "author": id(1, at), "published": true, "tags": [id(3, at), id(3, 0)] }
        }),
        ("tags", &|at| rawdoc! { "_id": id(3, at), "name": "n" }),
    ]);
    let mut join = table("public", "_PostToTag", &[], &[("A! -> Post.id", TEXT), ("B! -> Tag.id", TEXT)]);
    join.uniques.push(vec!["A".to_owned(), "B".to_owned()]);
    let fitted = fitted(
        &analysis,
        vec![
            table(
                "public",
                "User",
                &["id"],
                &[("id", TEXT), ("email!", TEXT), ("createdAt", INSTANT), ("nickname", TEXT)],
            ),
            table(
                "public",
                "Post",
                &["id"],
                &[("id", TEXT), ("title", TEXT), ("authorId -> User.id", TEXT), ("published", ColumnType::Bool)],
            ),
            table("public", "Tag", &["id"], &[("id", TEXT), ("name", TEXT)]),
            join,
        ],
    );
    has(
        &fitted,
        &[
            "table = \"public.User\"",
            "id = \"hex\"",
            "authorId = { path = \"author\", reference = \"users\" }",
            "table = \"public._PostToTag\"",
            "key = [\"A\", \"B\"]",
            "parent = \"A\"",
            "distinct = true",
            "B = { path = \"$\", reference = \"tags\" }",
            "# nickname: text: no field fits",
        ],
    );
    assert_eq!((fitted.collections, fitted.tables, fitted.open), (3, 4, 1), "{}", fitted.mapping);
}

#[test]
fn django_prefixes_and_ids_that_the_target_counts() {
    let analysis = analysis(&[
        ("customers", &|at| rawdoc! { "_id": id(1, at), "firstName": "a", "isActive": at as i32 % 2 }),
        ("groups", &|at| rawdoc! { "_id": id(4, at), "name": "g" }),
        ("orders", &|at| {
            rawdoc! { "_id": id(2, at), "customer": id(1, at), "total": 1.5, "created": 1_700_000_000_i64, "lines": [{ "sku": "s", "quantity": 2 }] }
        }),
    ]);
    let mut group = table("public", "auth_group", &["id"], &[("id", ColumnType::Int8), ("name!", TEXT)]);
    group.columns[0].filled = Filled::Identity;
    let fitted = fitted(
        &analysis,
        vec![
            table(
                "public",
                "shop_customer",
                &["id"],
                &[("id", UUID), ("first_name!", ColumnType::Varchar(Some(100))), ("active!", ColumnType::Bool)],
            ),
            table(
                "public",
                "shop_order",
                &["id"],
                &[
                    ("id", UUID),
                    ("customer_id! -> shop_customer.id", UUID),
                    ("total", ColumnType::Float8),
                    ("created_at!", INSTANT),
                ],
            ),
            table(
                "public",
                "shop_orderline",
                &["id"],
                &[("id", UUID), ("order_id! -> shop_order.id", UUID), ("sku!", TEXT), ("quantity!", ColumnType::Int4)],
            ),
            group,
        ],
    );
    has(
        &fitted,
        &[
            "table = \"public.shop_customer\"",
            "first_name = \"firstName\"",
            "active = { path = \"isActive\", coerce = \"boolean\" }",
            "customer_id = { path = \"customer\", reference = \"customers\" }",
            "created_at = { path = \"created\", epoch = \"seconds\" }",
            "[collections.orders.children.lines]",
            "table = \"public.shop_orderline\"",
            "parent = \"order_id\"",
            "id = { column = \"id\", from = \"index\" }",
        ],
    );
    assert!(
        fitted.mapping.contains("# groups: not mapped: table public.auth_group: nothing fills id (int8) of its key"),
        "{}",
        fitted.mapping
    );
    assert!(!fitted.mapping.contains("\n[collections.groups]"), "{}", fitted.mapping);
}

#[test]
fn rails_plurals_timestamps_and_embedded_rows() {
    let analysis = analysis(&[
        ("authors", &|at| rawdoc! { "_id": id(1, at), "name": "a" }),
        ("blogPosts", &|at| {
            rawdoc! { "_id": id(2, at), "title": "t", "writer": id(1, at), "createdAt": bson::DateTime::MIN, "updatedAt": bson::DateTime::MIN,
            "comments": [{ "_id": id(5, at), "content": "c", "createdAt": bson::DateTime::MIN }], "stats": { "2025-01-01": 1, "2025-01-02": 2 } }
        }),
    ]);
    let stamps = [("created_at!", INSTANT), ("updated_at!", INSTANT)];
    let fitted = fitted(
        &analysis,
        vec![
            table("public", "authors", &["id"], &[("id", UUID), ("name", TEXT)]),
            table(
                "public",
                "blog_posts",
                &["id"],
                &[
                    ("id", UUID),
                    ("title", TEXT),
                    ("author_id -> authors.id", UUID),
                    stamps[0].clone(),
                    stamps[1].clone(),
                ],
            ),
            table(
                "public",
                "comments",
                &["id"],
                &[
                    ("id", UUID),
                    ("blog_post_id! -> blog_posts.id", UUID),
                    ("body", TEXT),
                    ("position", ColumnType::Int4),
                    stamps[0].clone(),
                ],
            ),
            table(
                "public",
                "blog_post_stats",
                &["blog_post_id", "day"],
                &[("blog_post_id -> blog_posts.id", UUID), ("day", TEXT), ("views!", ColumnType::Int4)],
            ),
        ],
    );
    has(
        &fitted,
        &[
            "[collections.blogPosts]",
            "author_id = { path = \"writer\", reference = \"authors\" }",
            "created_at = \"createdAt\"",
            "[collections.blogPosts.children.comments]",
            "parent = \"blog_post_id\"",
            "order = \"position\"",
            "id = \"id\"",
            "body = \"content\"",
            "[collections.blogPosts.children.stats]",
            "shape = \"map\"",
            "map_key = \"day\"",
            "views = \"$\"",
        ],
    );
    assert_eq!(fitted.open, 0, "{}", fitted.mapping);
}

#[test]
fn a_field_that_tells_kinds_is_offered_to_no_column() {
    let analysis = analysis(&[
        ("users", &|at| rawdoc! { "_id": id(1, at) }),
        (
            "rewards",
            &|at| rawdoc! { "_id": id(2, at), "for": if at % 2 == 0 { "user" } else { "season" }, "target": id(1, at) },
        ),
    ]);
    let columns = [("id", UUID), ("user_id -> users.id", UUID), ("currency", TEXT)];
    let tables =
        vec![table("public", "users", &["id"], &[("id", UUID)]), table("public", "rewards", &["id"], &columns)];
    has(
        &fitted(&analysis, tables),
        &[
            "user_id = { path = \"target\", reference = \"users\", when = { path = \"for\", is = \"user\" } }",
            "# currency: text: no field fits",
        ],
    );
}

#[test]
fn what_is_not_sure_is_a_comment() {
    let analysis = analysis(&[("bills", &|at| {
        rawdoc! { "_id": id(1, at), "net": { "amount": 1 }, "gross": { "amount": 2 }, "kind": 7, "from": id(9, at), "to": id(8, at) }
    })]);
    let columns = [
        ("id", UUID),
        ("amount", ColumnType::Int4),
        ("kind", ColumnType::Bool),
        ("place!", TEXT),
        ("payer_id -> bills.id", UUID),
        ("payee_id -> bills.id", UUID),
    ];
    let fitted = fitted(&analysis, vec![table("public", "bills", &["id"], &columns)]);
    assert_eq!((fitted.placed, fitted.open), (1, 5), "{}", fitted.mapping);
    has(
        &fitted,
        &[
            "# amount: int4: several would fit: gross.amount, net.amount, kind",
            "# kind: bool: the field of this name has values of other types: int; ignored",
            "ignore = [\"kind\"]",
        ],
    );
    assert!(
        fitted.mapping.contains("# place: text: ") && fitted.mapping.contains("NOT NULL, so `check` refuses"),
        "{}",
        fitted.mapping
    );
}

#[test]
fn of_several_paths_the_likely_ones_are_listed() {
    let analysis = analysis(&[("quakes", &|at| {
        rawdoc! {
            "_id": id(1, at), "code": format!("c{at}"), "home_link": "h", "lang": "en", "alpha": 1.5, "dmin": 2.5,
            "properties": { "mag": 3.5, "cdi": 1.5, "net": "us", "gap": 4.5 }, "area": "a", "back": "b", "county": "c",
        }
    })]);
    let columns = [("id", UUID), ("magnitude", ColumnType::Float8), ("homePage", TEXT)];
    let fitted = fitted(&analysis, vec![table("public", "quakes", &["id"], &columns)]);
    has(
        &fitted,
        &[
            "# magnitude: float8: several would fit: properties.mag, alpha, dmin, properties.cdi; and 1 more",
            "# homePage: text: several would fit: home_link, area, back, code; and 3 more",
        ],
    );
}

#[test]
fn a_key_that_pads_says_so() {
    let analysis = analysis(&[("countries", &|at| rawdoc! { "_id": format!("{at:02}"), "name": "n" })]);
    let columns = [("code", ColumnType::Bpchar(Some(2))), ("name", TEXT)];
    let fitted = fitted(&analysis, vec![table("public", "Country", &["code"], &columns)]);
    let expected = "ALTER TABLE \"public\".\"Country\" ALTER COLUMN \"code\" TYPE varchar(2)";
    assert!(fitted.mapping.contains(expected), "{}", fitted.mapping);
}

#[test]
fn empty_texts_of_a_coerced_column_are_null_where_it_takes_null() {
    let analysis = analysis(&[("airports", &|at| {
        let feet = if at < 3 { String::new() } else { at.to_string() };
        rawdoc! { "_id": id(1, at), "elevation_ft": feet.as_str(), "depth": feet.as_str(), "name": "n" }
    })]);
    let columns = [("id", UUID), ("elevationFt", ColumnType::Int4), ("depth!", ColumnType::Int4), ("name", TEXT)];
    let fitted = fitted(&analysis, vec![table("public", "airports", &["id"], &columns)]);
    has(
        &fitted,
        &[
            "elevationFt = { path = \"elevation_ft\", coerce = \"number\", empty = \"null\" }",
            "depth = { path = \"depth\", coerce = \"number\" }",
            "name = \"name\"",
        ],
    );
    for remark in ["3 empty texts are NULL", "3 empty texts are refused"] {
        assert!(fitted.mapping.contains(remark), "{remark}\n{}", fitted.mapping);
    }
}
