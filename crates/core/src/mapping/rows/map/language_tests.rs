//! Each part of the language on a small mapping: what a document becomes, written out.

use bson::{oid::ObjectId, raw::RawDocumentBuf, rawdoc};
use proptest::prelude::*;
use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::mapping::{
    Found, MappingFile, Plan, Reached, TablePlan,
    plan::target::{Catalog, Column, ColumnType, Filled, Table, TableName},
};

mod values;

/// A table by its columns, `name:type`, with `!` for NOT NULL; the first are the key.
fn table(name: &str, key: usize, columns: &str) -> Table {
    let columns: Vec<Column> = columns
        .split(' ')
        .map(|column| {
            let (name, kind) = column.split_once(':').expect("name:type");
            let (kind, not_null) = kind.strip_suffix('!').map_or((kind, false), |kind| (kind, true));
            let kind = match kind {
                "uuid" => ColumnType::Uuid,
                "int" => ColumnType::Int4,
                "bool" => ColumnType::Bool,
                "jsonb" => ColumnType::Jsonb,
                "texts" => ColumnType::Array(Box::new(ColumnType::Text)),
                "uuids" => ColumnType::Array(Box::new(ColumnType::Uuid)),
                _ => ColumnType::Text,
            };
            let sql_type = kind.to_string();
            Column {
                name: name.to_owned(),
                kind,
                sql_type,
                folds: false,
                not_null,
                has_default: false,
                filled: Filled::ByUs,
            }
        })
        .collect();
    Table {
        name: TableName::new("public", name),
        primary_key: columns[..key].iter().map(|column| column.name.clone()).collect(),
        columns,
        uniques: Vec::new(),
        foreign_keys: Vec::new(),
    }
}

fn catalog(tables: &[(&str, usize, &str)]) -> Catalog {
    Catalog { tables: tables.iter().map(|(name, key, columns)| table(name, *key, columns)).collect() }
}

fn compile(text: &str, tables: &[(&str, usize, &str)]) -> CollectionPlan {
    let file = MappingFile::parse(&format!("namespace = \"dns\"\n{text}"), "m.toml").expect("a mapping file");
    let plan = Plan::compile(&file, &catalog(tables));
    plan.expect("a plan").collection("a").expect("the collection").clone()
}

/// A row as text: UUIDs shortened to their first four digits, NULL as `-`.
fn shown(table: &TablePlan, row: &Row) -> String {
    let fields =
        table.columns.iter().zip(row.fields()).map(|(column, field)| match (column.param_type.as_str(), field) {
            (_, None) => "-".to_owned(),
            ("uuid", Some(bytes)) => hex::encode(&bytes[..2]),
            ("int4", Some(bytes)) => i32::from_be_bytes(bytes.try_into().expect("four bytes")).to_string(),
            ("jsonb", Some(bytes)) => String::from_utf8(bytes[1..].to_vec()).expect("UTF-8"),
            ("bool", Some(bytes)) => (bytes == [1]).to_string(),
            (_, Some(bytes)) => String::from_utf8(bytes.to_vec()).expect("UTF-8"),
        });
    fields.collect::<Vec<_>>().join(" ")
}

/// All rows of a document: `table: row; row`.
fn rows(plan: &CollectionPlan, document: &RawDocumentBuf) -> Vec<String> {
    match plan.map(document) {
        Err(rejects) => vec![rejects.to_string()],
        Ok(rows) => {
            let tables = plan.tables.iter().zip(&rows.tables).filter(|(_, rows)| !rows.is_empty());
            let shown = tables.map(|(table, rows)| {
                let rows: Vec<_> = rows.iter().map(|row| shown(table, row)).collect();
                format!("{}: {}", table.table.name, rows.join("; "))
            });
            shown.collect()
        }
    }
}

fn id(name: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()).simple().to_string()[..4].to_owned()
}

fn oid(byte: u8) -> ObjectId {
    ObjectId::from_bytes([byte; 12])
}

// One text column `v`, filled as the case says; the row without its id.
#[rstest]
#[case::renamed(r#""x""#, rawdoc! { "x": "a" }, "a")]
#[case::first_candidate(r#"["x", "y"]"#, rawdoc! { "x": "a", "y": "b" }, "a")]
#[case::second_candidate(r#"["x", "y"]"#, rawdoc! { "y": "b" }, "b")]
#[case::null_is_passed_over(r#"{ path = ["x", "y"] }"#, rawdoc! { "x": null, "y": "b" }, "b")]
#[case::no_candidate(r#"["x", "y"]"#, rawdoc! {}, "-")]
#[case::blocked_gives_way(r#"["x.z", "x"]"#, rawdoc! { "x": "a" }, "a")]
#[case::blocked_refuses(r#"["x.z", "y"]"#, rawdoc! { "x": "a" }, r#"TYPE_MISMATCH in column "v" at path "x.z""#)]
#[case::the_chosen_path_is_named(r#"["x", "y"]"#, rawdoc! { "y": true }, r#"TYPE_MISMATCH in column "v" at path "y""#)]
#[case::default(r#"{ path = ["x", "y"], default = "d" }"#, rawdoc! { "x": null }, "d")]
#[case::constant(r#"{ constant = "c" }"#, rawdoc! { "v": "a" }, "c")]
#[case::index(r#""x.y[1]""#, rawdoc! { "x": { "y": ["a", "b"] } }, "b")]
#[case::index_beyond(r#""x.y[2]""#, rawdoc! { "x": { "y": ["a", "b"] } }, "-")]
#[case::index_of_no_array(r#""x[0]""#, rawdoc! { "x": "a" }, r#"TYPE_MISMATCH in column "v" at path "x[0]""#)]
#[case::bracket_in_a_name(r#"'x\[0]'"#, rawdoc! { "x[0]": "a" }, "a")]
#[case::when_it_holds(r#"{ path = "x", when = { path = "k", is = "a" } }"#, rawdoc! { "x": "v", "k": "a" }, "v")]
#[case::when_it_does_not(r#"{ path = "x", when = { path = "k", is = "a" } }"#, rawdoc! { "x": "v", "k": "b" }, "-")]
#[case::when_with_default(
    r#"{ path = "x", default = "d", when = { path = "k", not = ["a", 1] } }"#,
    rawdoc! { "x": "v", "k": 1.0 },
    "d"
)]
#[case::constant_when(r#"{ constant = "c", when = { path = "k", exists = true } }"#, rawdoc! { "k": null }, "-")]
#[case::when_of_several(
    r#"{ path = "x", when = [{ path = "k", is = ["a", "b"] }, { path = "l", exists = false }] }"#,
    rawdoc! { "x": "v", "k": "b" },
    "v"
)]
fn columns(#[case] column: &str, #[case] document: RawDocumentBuf, #[case] expected: &str) {
    let plan =
        compile(&format!("[collections.a]\nid = \"integer\"\ncolumns.v = {column}"), &[("a", 1, "id:int! v:text")]);
    let mut with_id = rawdoc! { "_id": 1 };
    for field in &document {
        let (name, value) = field.expect("a field");
        with_id.append(name, value);
    }
    let found = rows(&plan, &with_id);
    let expected = if expected.contains("column") { expected.to_owned() } else { format!("a: 1 {expected}") };
    assert_eq!(found, [expected]);
}

const REST: &str = r#"
[collections.a]
id = "integer"
[collections.a.columns]
city = "place.city"
other = { rest = true }
when = { path = "day", when = { path = "kind", is = "x" } }
[collections.a.children.parts]
table = "parts"
parent = "a_id"
order = "at"
columns.rest = { rest = true }
columns.of = "^.owner.name"
"#;

#[rstest]
#[case::nothing_left(rawdoc! { "_id": 1 }, "{}", &[])]
#[case::below_a_path(
    rawdoc! { "_id": 1, "place": { "city": "x", "zip": 5, "at": { "city": 1 } }, "kind": "a", "day": "d" },
    r#"{"place":{"zip":5,"at":{"city":1}},"kind":"a"}"#,
    &[]
)]
#[case::children_are_read(rawdoc! { "_id": 1, "parts": [{ "x": 1 }, {}], "y": 2 }, r#"{"y":2}"#, &[r#"{"x":1}"#, "{}"])]
#[case::what_a_child_reads_above(
    rawdoc! { "_id": 1, "parts": [{ "owner": 5 }], "owner": { "name": "n", "age": 3 } },
    r#"{"owner":{"age":3}}"#,
    &[r#"{"owner":5}"#]
)]
#[case::twice(rawdoc! { "_id": 1, "y": 1, "y": 2 }, r#"{"y":1,"y":2}"#, &[])]
fn rest(#[case] document: RawDocumentBuf, #[case] expected: &str, #[case] parts: &[&str]) {
    let tables =
        [("a", 1, "id:int! city:text other:jsonb when:text"), ("parts", 2, "a_id:int! at:int! rest:jsonb of:text")];
    let plan = compile(REST, &tables);
    let rows = plan.map(&document).expect("rows");
    let json = |row: &Row, at| String::from_utf8(row.field(at).expect("JSON")[1..].to_vec()).expect("UTF-8");
    assert_eq!(json(&rows.tables[0][0], 2), expected);
    assert_eq!(rows.tables[1].iter().map(|row| json(row, 2)).collect::<Vec<_>>(), parts);
}

#[test]
fn a_whole_document_and_a_whole_element() {
    let text = "[collections.a]\nid = \"integer\"\ncolumns.doc = \"$\"\n[collections.a.children.p]\ntable = \"p\"\n\
                parent = \"a_id\"\norder = \"at\"\ncolumns.doc = \"$\"\ncolumns.all = \"^.$\"";
    let plan = compile(text, &[("a", 1, "id:int! doc:jsonb"), ("p", 2, "a_id:int! at:int! doc:jsonb all:jsonb")]);
    let document = rawdoc! { "_id": 1, "p": [[1], null, "x"] };
    let all = r#"{"_id":1,"p":[[1],null,"x"]}"#;
    assert_eq!(
        rows(&plan, &document),
        [format!("a: 1 {all}"), format!("p: 1 0 [1] {all}; 1 1 null {all}; 1 2 \"x\" {all}")]
    );
}

const REFERENCES: &str = r#"
[collections.a]
id = "integer"
[collections.a.columns]
owner = { path = "o", id = "hex" }
owners = { path = "os", id = "uuid5" }
target = { path = "t", reference = { by = "kind", to = { user = "users", plan = "plans" } } }
user = { path = "t", reference = "users", when = { path = "kind", is = "user" } }
[collections.users]
id = "hex"
[collections.plans]
id = "text"
"#;

#[rstest]
#[case::own_rule(rawdoc! { "_id": 1, "o": oid(1) }, "a: 1 010101010101010101010101 - - -".to_owned())]
#[case::elements(
    rawdoc! { "_id": 1, "os": [oid(2)] },
    format!("a: 1 - {{\"{}\"}} - -", Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"020202020202020202020202"))
)]
#[case::user(rawdoc! { "_id": 1, "t": oid(3), "kind": "user" }, "a: 1 - - 030303030303030303030303 030303030303030303030303".to_owned())]
#[case::plan(rawdoc! { "_id": 1, "t": "p", "kind": "plan" }, "a: 1 - - p -".to_owned())]
#[case::wrong_rule(rawdoc! { "_id": 1, "t": "p", "kind": "user" },
    "TYPE_MISMATCH in column \"target\" at path \"t\"; TYPE_MISMATCH in column \"user\" at path \"t\"".to_owned())]
#[case::unknown_kind(rawdoc! { "_id": 1, "t": "p", "kind": "x" }, "TYPE_MISMATCH in column \"target\" at path \"t\"".to_owned())]
#[case::no_kind(rawdoc! { "_id": 1, "t": "p" }, "TYPE_MISMATCH in column \"target\" at path \"t\"".to_owned())]
#[case::nothing_to_convert(rawdoc! { "_id": 1, "kind": "x" }, "a: 1 - - - -".to_owned())]
fn references(#[case] document: RawDocumentBuf, #[case] expected: String) {
    let tables = [
        ("a", 1, "id:int! owner:text owners:uuids target:text user:text"),
        ("users", 1, "id:text!"),
        ("plans", 1, "id:text!"),
    ];
    assert_eq!(rows(&compile(REFERENCES, &tables), &document), [expected]);
}

#[rstest]
#[case::absent(rawdoc! { "_id": 1, "t": "p" }, "a: 1 p")]
#[case::null(rawdoc! { "_id": 1, "t": "p", "kind": null }, "a: 1 p")]
#[case::named(rawdoc! { "_id": 1, "t": oid(3), "kind": "user" }, "a: 1 030303030303030303030303")]
#[case::another(rawdoc! { "_id": 1, "t": "p", "kind": "x" }, "TYPE_MISMATCH in column \"v\" at path \"t\"")]
fn a_reference_without_a_kind(#[case] document: RawDocumentBuf, #[case] expected: &str) {
    let text = "[collections.a]\nid = \"integer\"\n\
                columns.v = { path = \"t\", reference = { by = \"kind\", to = { user = \"users\", missing = \"plans\" } } }\n\
                [collections.users]\nid = \"hex\"\n[collections.plans]\nid = \"text\"";
    let tables = [("a", 1, "id:int! v:text"), ("users", 1, "id:text!"), ("plans", 1, "id:text!")];
    assert_eq!(rows(&compile(text, &tables), &document), [expected]);
}

#[rstest]
#[case(r#"{ path = "k", is = "a" }"#, true, false, false)]
#[case(r#"{ path = "k", not = "a" }"#, false, true, true)]
#[case(r#"{ path = "k", exists = true }"#, true, true, false)]
#[case(r#"[{ path = "k", exists = true }, { path = "k", not = "a" }]"#, false, true, false)]
fn filters(#[case] filter: &str, #[case] a: bool, #[case] b: bool, #[case] null: bool) {
    let plan = compile(&format!("[collections.a]\nid = \"integer\"\nfilter = {filter}"), &[("a", 1, "id:int! k:text")]);
    let has_row = |document: RawDocumentBuf| {
        let rows = plan.map(&document).expect("rows");
        // What is left out must still be found, to be removed.
        assert_eq!(rows.key, plan.keys(&rawdoc! { "_id": 1 }).expect("a key"));
        !rows.tables[0].is_empty()
    };
    let found = [
        has_row(rawdoc! { "_id": 1, "k": "a" }),
        has_row(rawdoc! { "_id": 1, "k": "b" }),
        has_row(rawdoc! { "_id": 1, "k": null }),
        has_row(rawdoc! { "_id": 1 }),
    ];
    assert_eq!(found, [a, b, null, null]);
}

#[test]
fn what_is_left_out_needs_no_key() {
    let text = "[collections.a]\nid = \"integer\"\nfilter = { path = \"k\", is = \"a\" }";
    let plan = compile(text, &[("a", 1, "id:int!")]);
    let rows = plan.map(&rawdoc! { "_id": "text" }).expect("no rows");
    assert_eq!((rows.tables, rows.key.fields().collect::<Vec<_>>()), (vec![vec![]], vec![None]));
    let rejects = plan.map(&rawdoc! { "k": "b" }).expect_err("no _id");
    assert_eq!(rejects.iter().collect::<Vec<_>>(), [&Reject::new(Reason::Malformed)]);
}

const TREE: &str = r#"
[collections.a]
id = "uuid5"
[collections.a.children.trees]
table = "trees"
parent = "a_id"
id = { column = "id", from = "key" }
[collections.a.children.trees.children."in.skills"]
table = "skills"
parent = "tree_id"
root = "a_id"
order = "at"
id = "id"
filter = { path = "kind", not = "draft" }
[collections.a.children.trees.children."in.skills".columns]
tree = "^.key"
owner = { path = "^^.owner", id = "hex" }
[collections.a.children.trees.children."in.skills".children.levels]
table = "levels"
parent = "skill_id"
order = "at"
columns.value = "$"
"#;

const TREE_TABLES: [(&str, usize, &str); 4] = [
    ("a", 1, "id:uuid!"),
    ("trees", 1, "id:uuid! a_id:uuid! key:text"),
    ("skills", 1, "id:uuid! a_id:uuid! tree_id:uuid! at:int! name:text tree:text owner:text"),
    ("levels", 2, "skill_id:uuid! at:int! value:int"),
];

#[test]
fn children_of_children() {
    let plan = compile(TREE, &TREE_TABLES);
    let document = rawdoc! {
        "_id": "r", "owner": oid(9),
        "trees": [
            { "key": "t1", "in": { "skills": [{ "name": "s1", "levels": [7, 8] }, { "kind": "draft" }, { "_id": 5, "name": "s3" }] } },
            { "key": "t2", "in": { "skills": [{ "name": "s1", "levels": [9] }] } },
            { "key": "t3" },
        ],
    };
    let root = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"r");
    let tree = |key: &str| Uuid::new_v5(&root, format!("trees/string:{key}").as_bytes());
    let skill = |key: &str, name: &str| Uuid::new_v5(&tree(key), format!("in.skills/{name}").as_bytes());
    let short = |id: Uuid| id.simple().to_string()[..4].to_owned();
    let (r, t1, t2, t3) = (short(root), short(tree("t1")), short(tree("t2")), short(tree("t3")));
    let (s1, s3, s4) = (short(skill("t1", "index:0")), short(skill("t1", "integer:5")), short(skill("t2", "index:0")));
    let owner = "090909090909090909090909";
    assert_eq!(
        rows(&plan, &document),
        [
            format!("a: {r}"),
            format!("trees: {t1} {r} t1; {t2} {r} t2; {t3} {r} t3"),
            format!(
                "skills: {s1} {r} {t1} 0 s1 t1 {owner}; {s3} {r} {t1} 2 s3 t1 {owner}; {s4} {r} {t2} 0 s1 t2 {owner}"
            ),
            format!("levels: {s1} 0 7; {s1} 1 8; {s4} 0 9"),
        ]
    );
    let found: Vec<_> = plan.tables.iter().map(|table| table.found).collect();
    let by = |column| Found::ById { key: 0, column };
    assert_eq!(found, [by(0), by(1), by(1), Found::Remembered]);
    assert_eq!(plan.tables.iter().map(|table| table.depth).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[rstest]
#[case::deep_value(rawdoc! { "name": true }, "TYPE_MISMATCH in column \"name\" at path \"trees.in.skills.name\"")]
#[case::deep_scalar(rawdoc! { "levels": 5 }, "TYPE_MISMATCH at path \"trees.in.skills.levels\"")]
#[case::deep_element(rawdoc! { "levels": ["x"] }, "TYPE_MISMATCH in column \"value\" at path \"trees.in.skills.levels.$\"")]
fn refusals_name_the_whole_path(#[case] skill: RawDocumentBuf, #[case] expected: &str) {
    let document = rawdoc! { "_id": "r", "trees": [{ "key": "t", "in": { "skills": [skill] } }] };
    assert_eq!(rows(&compile(TREE, &TREE_TABLES), &document), [expected]);
}

#[test]
fn a_mapping_names_what_it_reads() {
    let plan = compile(TREE, &TREE_TABLES);
    let reach = |path: &[&str]| plan.reads().reach(path);
    for path in [
        &["_id"][..],
        &["owner"],
        &["trees", "key"],
        &["trees", "in", "skills", "kind"],
        &["trees", "in", "skills", "levels"],
    ] {
        assert_eq!(reach(path), Reached::Mapped, "{path:?}");
    }
    assert_eq!((reach(&["trees"]), reach(&["trees", "in"])), (Reached::Inside, Reached::Inside));
    assert_eq!(
        (reach(&["owner", "x"]), reach(&["trees", "x"]), reach(&["x"])),
        (Reached::Under, Reached::Not, Reached::Not)
    );
}

#[rstest]
#[case::document(rawdoc! { "_id": 1, "p": { "city": "x" } }, &["a: 1", "p: 1 x"])]
#[case::absent(rawdoc! { "_id": 1 }, &["a: 1"])]
#[case::null(rawdoc! { "_id": 1, "p": null }, &["a: 1"])]
#[case::array(rawdoc! { "_id": 1, "p": [{ "city": "x" }] }, &["TYPE_MISMATCH at path \"p\""])]
fn an_embedded_document(#[case] document: RawDocumentBuf, #[case] expected: &[&str]) {
    let text = "[collections.a]\nid = \"integer\"\n[collections.a.children.p]\nshape = \"document\"\ntable = \"p\"\nparent = \"a_id\"";
    let plan = compile(text, &[("a", 1, "id:int!"), ("p", 1, "a_id:int! city:text")]);
    assert_eq!(rows(&plan, &document), expected);
}

#[rstest]
#[case::entries(rawdoc! { "_id": 1, "m": { "x": { "v": 1 }, "y.z": { "v": 2 } } }, &["a: 1", "m: 1 x 0 1; 1 y.z 1 2"], 0)]
#[case::empty(rawdoc! { "_id": 1, "m": {} }, &["a: 1"], 0)]
#[case::input_114_last_wins(
    rawdoc! { "_id": 1, "m": { "x": { "v": 1 }, "y": { "v": 2 }, "x": { "v": 3 } } },
    &["a: 1", "m: 1 y 0 2; 1 x 1 3"],
    1
)]
#[case::scalar_among_documents(rawdoc! { "_id": 1, "m": { "x": 5 } }, &["TYPE_MISMATCH at path \"m\""], 0)]
#[case::no_map(rawdoc! { "_id": 1, "m": [] }, &["TYPE_MISMATCH at path \"m\""], 0)]
fn a_map(#[case] document: RawDocumentBuf, #[case] expected: &[&str], #[case] duplicates: u64) {
    let text = "[collections.a]\nid = \"integer\"\n[collections.a.children.m]\nshape = \"map\"\ntable = \"m\"\nparent = \"a_id\"\n\
                map_key = \"name\"\norder = \"at\"";
    let plan = compile(text, &[("a", 1, "id:int!"), ("m", 2, "a_id:int! name:text! at:int v:int")]);
    assert_eq!(rows(&plan, &document), expected);
    assert_eq!(plan.map(&document).map_or(0, |rows| rows.losses.of(Loss::DuplicateName)), duplicates);
    assert_eq!(
        (plan.reads().reach(&["m", "any", "v"]), plan.reads().reach(&["m", "any", "w"])),
        (Reached::Mapped, Reached::Not)
    );
}

#[rstest]
#[case::by_name(r#""id""#, "key:x")]
#[case::by_name_said(r#"{ column = "id", from = "key" }"#, "key:x")]
#[case::by_index(r#"{ column = "id", from = "index" }"#, "index:0")]
#[case::by_field(r#"{ column = "id", from = "code" }"#, "integer:7")]
fn ids_in_a_map(#[case] rule: &str, #[case] expected: &str) {
    let text = format!(
        "[collections.a]\nid = \"uuid5\"\n[collections.a.children.m]\nshape = \"map\"\ntable = \"m\"\nparent = \"a_id\"\nid = {rule}"
    );
    let plan = compile(&text, &[("a", 1, "id:uuid!"), ("m", 1, "id:uuid! a_id:uuid! code:int")]);
    let found = rows(&plan, &rawdoc! { "_id": "r", "m": { "x": { "code": 7 } } });
    let root = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"r");
    // The name of a map is told apart like a text.
    let name = format!("m/{}", expected.replace("key:", "string:"));
    let own = Uuid::new_v5(&root, name.as_bytes()).simple().to_string()[..4].to_owned();
    assert_eq!(found[1], format!("m: {own} {} 7", id("r")));
}

#[rstest]
#[case::own_id(r#"{ column = "id", rule = "uuid5" }"#, rawdoc! { "_id": "e", "code": 7 }, &id("e"))]
#[case::field(r#"{ column = "id", from = "code", rule = "uuid5" }"#, rawdoc! { "_id": "e", "code": 7 }, &id("7"))]
#[case::missing(r#"{ column = "id", rule = "uuid5" }"#, rawdoc! { "code": 7 }, "")]
fn ids_by_a_rule(#[case] rule: &str, #[case] element: RawDocumentBuf, #[case] expected: &str) {
    let text = format!(
        "[collections.a]\nid = \"uuid5\"\n[collections.a.children.m]\ntable = \"m\"\nparent = \"a_id\"\nid = {rule}"
    );
    let plan = compile(&text, &[("a", 1, "id:uuid!"), ("m", 1, "id:uuid! a_id:uuid! code:int")]);
    let found = rows(&plan, &rawdoc! { "_id": "r", "m": [element] });
    match expected {
        "" => assert_eq!(found, ["NOT_NULL in column \"id\" at path \"m\""]),
        own => assert_eq!(found[1], format!("m: {own} {} 7", id("r"))),
    }
    // Another document may have an element with the same value: only the sink knows whose row it is.
    assert_eq!(plan.tables[1].found, Found::Remembered);
}

#[rstest]
#[case::kept(rawdoc! { "_id": 1, "w": [oid(1), oid(2)] }, 2, 0)]
#[case::collapsed(rawdoc! { "_id": 1, "w": [oid(1), "010101010101010101010101", oid(2), oid(1)] }, 2, 2)]
fn a_junction_of_distinct_ids(#[case] document: RawDocumentBuf, #[case] expected: usize, #[case] collapsed: u64) {
    let text = "[collections.a]\nid = \"integer\"\n[collections.a.children.w]\ntable = \"w\"\nparent = \"a_id\"\ndistinct = true\n\
                columns.user_id = { path = \"$\", reference = \"u\" }\n[collections.u]\nid = \"hex\"";
    let plan = compile(text, &[("a", 1, "id:int!"), ("w", 2, "a_id:int! user_id:text!"), ("u", 1, "id:text!")]);
    let rows = plan.map(&document).expect("rows");
    assert_eq!((rows.tables[1].len(), rows.losses.of(Loss::Collapsed)), (expected, collapsed));
    assert_eq!(plan.tables[1].found, Found::ById { key: 0, column: 0 });
}

const SPLIT: &str = r#"
[collections.a]
id = "integer"
filter = { path = "deleted", not = true }
split = { by = "kind", unlisted = "UNLISTED" }
[collections.a.variants.login]
is = ["login", "logout", 3]
table = "logins"
[collections.a.variants.buy]
table = "buys"
id_column = "event"
key = ["event"]
[collections.a.variants.buy.children.items]
table = "items"
parent = "buy"
columns.name = "$"
"#;

const SPLIT_TABLES: [(&str, usize, &str); 3] =
    [("logins", 1, "id:int! who:text"), ("buys", 1, "event:int! price:int"), ("items", 2, "buy:int! name:text!")];

#[rstest]
#[case::login(rawdoc! { "_id": 1, "kind": "logout", "who": "x" }, &["logins: 1 x"])]
#[case::number(rawdoc! { "_id": 1, "kind": 3.0, "who": "x" }, &["logins: 1 x"])]
#[case::buy(rawdoc! { "_id": 1, "kind": "buy", "price": 5, "items": ["p", "q"] }, &["buys: 1 5", "items: 1 p; 1 q"])]
#[case::unlisted(rawdoc! { "_id": 1, "kind": "x" }, &["TYPE_MISMATCH at path \"kind\""])]
#[case::no_kind(rawdoc! { "_id": 1 }, &["TYPE_MISMATCH at path \"kind\""])]
#[case::left_out(rawdoc! { "_id": 1, "kind": "x", "deleted": true }, &[])]
fn variants(#[case] document: RawDocumentBuf, #[case] expected: &[&str]) {
    let plan = compile(&SPLIT.replace("UNLISTED", "reject"), &SPLIT_TABLES);
    assert_eq!(rows(&plan, &document), expected);
    assert_eq!(plan.roots().map(|table| table.table.name.as_str()).collect::<Vec<_>>(), ["buys", "logins"]);
    let by = |key, column| Found::ById { key, column };
    assert_eq!(plan.tables.iter().map(|table| table.found).collect::<Vec<_>>(), [by(0, 0), by(0, 0), by(1, 0)]);
    let key = plan.keys(&document).expect("a key");
    assert_eq!(key.fields().collect::<Vec<_>>(), [Some(&[0, 0, 0, 1][..]); 2]);
    if let Ok(rows) = plan.map(&document) {
        assert_eq!(rows.key, key);
    }
}

#[test]
fn a_kind_that_is_not_listed_may_be_ignored() {
    let plan = compile(&SPLIT.replace("UNLISTED", "ignore"), &SPLIT_TABLES);
    let rows = plan.map(&rawdoc! { "_id": 1, "kind": "x" }).expect("no rows");
    assert_eq!(rows.tables, vec![Vec::<Row>::new(); 3]);
    assert_eq!(rows.losses.of(Loss::Unlisted), 1);
    assert_eq!(rows.key.fields().flatten().count(), 2);
}

const STATES: &str = r#"
[collections.a]
namespace = "url"
[collections.a.columns]
item_id = { path = "item", id = "hex" }
kc_id = { path = "kc", id = "hex" }
[collections.a.children.h]
table = "h"
id = "id"
[collections.a.children.h.columns]
item_id = { path = "^.item", id = "hex" }
kc_id = { path = "^.kc", id = "hex" }
"#;

#[test]
fn a_key_that_is_no_id() {
    let tables =
        [("a", 2, "item_id:text! kc_id:text! level:int"), ("h", 1, "id:uuid! item_id:text! kc_id:text! v:int")];
    let plan = compile(STATES, &tables);
    let document = |item: u8| rawdoc! { "_id": 5, "item": oid(item), "kc": oid(2), "level": 3, "h": [{ "v": 1 }] };
    let (one, two) = (rows(&plan, &document(1)), rows(&plan, &document(3)));
    let kc = "020202020202020202020202";
    assert_eq!(one[0], format!("a: 010101010101010101010101 {kc} 3"));
    assert!(one[1].ends_with(&format!("010101010101010101010101 {kc} 1")), "{one:?}");
    // The ids below follow from the key, as there is no id.
    assert_ne!(one[1][..8], two[1][..8]);
    assert!(plan.tables.iter().all(|table| table.found == Found::Remembered));
    assert_eq!(plan.keys(&document(1)).expect("a key").fields().collect::<Vec<_>>(), [None]);
    assert_eq!(rows(&plan, &rawdoc! { "_id": 5, "item": oid(1) }), ["NOT_NULL in column \"kc_id\" at path \"kc\""]);
}

#[test]
fn shared_tables_are_remembered() {
    let text = "[collections.a]\nid = \"integer\"\ntable = \"t\"\nshared = true\n[collections.a.children.p]\ntable = \"p\"\nparent = \"a\"\n\
                order = \"at\"\n[collections.b]\nid = \"integer\"\ntable = \"t\"\nshared = true";
    let plan = compile(text, &[("t", 1, "id:int! v:text"), ("p", 2, "a:int! at:int!")]);
    assert!(plan.tables.iter().all(|table| table.found == Found::Remembered));
    assert_eq!(plan.keys(&rawdoc! { "_id": 1 }).expect("a key").fields().collect::<Vec<_>>(), [None]);
    assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "v": "x" }), ["t: 1 x"]);
}

#[test]
fn elements_may_be_documents_or_values() {
    let text = "[collections.a]\nid = \"integer\"\n[collections.a.children.p]\ntable = \"p\"\nparent = \"a\"\norder = \"at\"\n\
                columns.v = [\"v\", \"$\"]";
    let plan = compile(text, &[("a", 1, "id:int!"), ("p", 2, "a:int! at:int! v:text")]);
    let document = rawdoc! { "_id": 1, "p": ["x", { "v": "y" }, null] };
    assert_eq!(rows(&plan, &document), ["a: 1", "p: 1 0 x; 1 1 y; 1 2 -"]);
}

#[test]
fn arrays_in_an_array() {
    let text = "[collections.a]\nid = \"integer\"\n[collections.a.children.p]\ntable = \"p\"\nparent = \"a\"\norder = \"at\"\n\
                columns.x = \"$[0]\"\ncolumns.y = \"$[1]\"";
    let plan = compile(text, &[("a", 1, "id:int!"), ("p", 2, "a:int! at:int! x:int y:int")]);
    assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "p": [[1, 2], [3]] }), ["a: 1", "p: 1 0 1 2; 1 1 3 -"]);
    assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "p": [{}] }), ["TYPE_MISMATCH at path \"p\""]);
}

#[test]
fn places_repeat_below_a_child() {
    let text = "[collections.a]\nid = \"integer\"\n[collections.a.children.p]\ntable = \"p\"\nparent = \"a\"\norder = \"at\"\n\
                [collections.a.children.p.children.q]\ntable = \"q\"\nroot = \"a\"\norder = \"at\"";
    let plan = compile(text, &[("a", 1, "id:int!"), ("p", 2, "a:int! at:int!"), ("q", 2, "a:int! at:int!")]);
    assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "p": [{ "q": [1, 2] }] })[2], "q: 1 0; 1 1");
    let twice = rawdoc! { "_id": 1, "p": [{ "q": [1] }, { "q": [1] }] };
    assert_eq!(rows(&plan, &twice), ["UNIQUE_CONFLICT at path \"p.q\""]);
}

#[test]
fn losses_name_their_column() {
    let text =
        "[collections.a]\nid = \"integer\"\n[collections.a.children.p]\ntable = \"p\"\nparent = \"a\"\norder = \"at\"";
    let plan = compile(text, &[("a", 1, "id:int! n:int"), ("p", 2, "a:int! at:int! n:int")]);
    let rows = plan.map(&rawdoc! { "_id": 1, "n": -0.0, "p": [{ "n": -0.0 }, { "n": -0.0 }] }).expect("rows");
    let mut places: Vec<_> = rows.losses.iter().map(|loss| (loss.table, loss.column, loss.count)).collect();
    places.sort_unstable();
    assert_eq!(places, [(0, 1, 1), (1, 2, 2)]);
}

fn field() -> impl Strategy<Value = (String, bson::RawBson)> {
    let value = prop_oneof![
        Just(bson::RawBson::Null),
        "[a-c]{0,2}".prop_map(bson::RawBson::String),
        any::<i32>().prop_map(bson::RawBson::Int32),
        proptest::collection::vec(("[a-c]", any::<i32>()), 0..3).prop_map(|fields| {
            let mut document = RawDocumentBuf::new();
            fields.into_iter().for_each(|(name, value)| {
                document.append(bson::raw::CString::try_from(name).expect("no NUL"), value);
            });
            bson::RawBson::Document(document)
        }),
        Just(bson::RawBson::Array([rawdoc! { "a": 1, "b": "x" }, rawdoc! { "b": "y" }].into_iter().collect())),
    ];
    ("(kind|a|b|p)", value)
}

proptest! {
    #[test]
    fn rows_do_not_depend_on_the_order_of_fields(
        fields in proptest::collection::vec(field(), 0..5),
        seed in proptest::collection::vec(any::<u16>(), 6),
    ) {
        let text = "[collections.a]\nid = \"integer\"\nsplit = { by = \"kind\", unlisted = \"ignore\" }\n\
                    [collections.a.variants.a]\ntable = \"t\"\nfilter = { path = \"b\", not = 0 }\ncolumns.v = [\"a.b\", \"a\", \"b\"]\n\
                    [collections.a.variants.a.children.p]\ntable = \"p\"\nparent = \"id\"\norder = \"at\"\ncolumns.up = \"^.b\"";
        let plan = compile(text, &[("t", 1, "id:int! v:text"), ("p", 2, "id:int! at:int! a:int up:text b:text")]);
        let mut fields = fields;
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields.dedup_by(|a, b| a.0 == b.0);
        fields.push(("_id".to_owned(), bson::RawBson::Int32(1)));
        let document = |fields: &[(String, bson::RawBson)]| {
            let mut document = RawDocumentBuf::new();
            for (name, value) in fields {
                document.append(bson::raw::CString::try_from(name.as_str()).expect("no NUL"), value.clone());
            }
            document
        };
        let mut shuffled: Vec<_> = fields.iter().cloned().zip(&seed).collect();
        shuffled.sort_by_key(|(_, at)| **at);
        let shuffled: Vec<_> = shuffled.into_iter().map(|(field, _)| field).collect();
        prop_assert_eq!(plan.map(&document(&fields)), plan.map(&document(&shuffled)));
    }
}
