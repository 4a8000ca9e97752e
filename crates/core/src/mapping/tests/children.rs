//! Arrays, maps and documents that become rows of their own.

use super::*;

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
    // The name of a map entry is marked as a string.
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
    assert_eq!(rows(&plan, &twice), ["UNIQUE_CONFLICT in column \"at\" at path \"p.q\""]);
}

const JUNCTION: &str = r#"
[collections.a]
id = "integer"
[collections.a.children.w]
table = "w"
parent = "a_id"
KEYS
columns.user = { path = "$", reference = "u" }
[collections.u]
id = "text"
"#;

#[rstest]
#[case::as_before("", r#"NOT_NULL in column "user" at path "w.$""#, 0)]
#[case::drop(r#"empty_elements = "drop""#, "a: 1\nw: 1 x; 1 y", 2)]
#[case::reject(r#"empty_elements = "reject""#, r#"NOT_NULL at path "w""#, 0)]
#[case::filter(r#"filter = { path = "$", type = "string" }"#, "a: 1\nw: 1 x; 1 ; 1 y", 0)]
#[case::filter_values(r#"filter = [{ path = "$", exists = true }, { path = "$", not = "" }]"#, "a: 1\nw: 1 x; 1 y", 0)]
fn empty_elements_of_a_child(#[case] keys: &str, #[case] expected: &str, #[case] dropped: u64) {
    let tables = [("a", 1, "id:int!"), ("w", 2, "a_id:int! user:text!"), ("u", 1, "id:text!")];
    let plan = compile(&JUNCTION.replace("KEYS", keys), &tables);
    let document = rawdoc! { "_id": 1, "w": ["x", "", null, "y"] };
    assert_eq!(rows(&plan, &document).join("\n"), expected);
    assert_eq!(plan.map(&document).map_or(0, |rows| rows.losses.of(Loss::Dropped)), dropped);
}

#[test]
fn a_dropped_element_leaves_its_place() {
    let text = "[collections.a]\nid = \"integer\"\n[collections.a.children.p]\ntable = \"p\"\nparent = \"a\"\norder = \"at\"\n\
                empty_elements = \"drop\"\ncolumns.v = { path = \"$\", trim = true, null_values = \"-\" }";
    let plan = compile(text, &[("a", 1, "id:int!"), ("p", 2, "a:int! at:int! v:text")]);
    assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "p": ["x", null, " ", "-", "y"] }), ["a: 1", "p: 1 0 x; 1 4 y"]);
}

#[rstest]
#[case::own_id(rawdoc! { "_id": "s" }, "settings/string:s")]
#[case::none(rawdoc! { "theme": "dark" }, "settings/index:0")]
fn ids_of_an_embedded_document(#[case] settings: RawDocumentBuf, #[case] name: &str) {
    let text = "[collections.a]\nid = \"uuid5\"\n[collections.a.children.settings]\nshape = \"document\"\ntable = \"s\"\nid = \"id\"";
    let plan = compile(text, &[("a", 1, "id:uuid!"), ("s", 1, "id:uuid! theme:text")]);
    let root = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"r");
    let own = Uuid::new_v5(&root, name.as_bytes()).simple().to_string()[..4].to_owned();
    let found = rows(&plan, &rawdoc! { "_id": "r", "settings": settings });
    assert!(found[1].starts_with(&format!("s: {own} ")), "{found:?}");
}

#[rstest]
#[case::object_id("010101010101010101010101", "a: 1\nm: 1 010101010101010101010101 5")]
#[case::upper_case_is_the_same("0A0A0A0A0A0A0A0A0A0A0A0A", "a: 1\nm: 1 0a0a0a0a0a0a0a0a0a0a0a0a 5")]
#[case::no_id("x", "TYPE_MISMATCH in column \"user\" at path \"m\"")]
fn names_of_a_map_that_are_ids(#[case] name: &str, #[case] expected: &str) {
    for key in [r#"{ column = "user", reference = "u" }"#, r#"{ column = "user", id = "hex" }"#] {
        let text = format!(
            "[collections.a]\nid = \"integer\"\n[collections.a.children.m]\nshape = \"map\"\ntable = \"m\"\nparent = \"a_id\"\n\
             map_key = {key}\ncolumns.v = \"$\"\n[collections.u]\nid = \"hex\""
        );
        let plan = compile(&text, &[("a", 1, "id:int!"), ("m", 2, "a_id:int! user:text! v:int"), ("u", 1, "id:text!")]);
        let mut entries = RawDocumentBuf::new();
        entries.append(bson::raw::CString::try_from(name).expect("no NUL"), 5);
        assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "m": entries }).join("\n"), expected);
    }
}

#[rstest]
#[case::ids(r#"{ column = "user", reference = "u" }"#, "text", "0a0a0a0a0a0a0a0a0a0a0a0a", "0A0A0A0A0A0A0A0A0A0A0A0A")]
#[case::uuids(r#""user""#, "uuid", "c02bb386-0c9e-5f4e-a2b9-7e8f3a6d1c05", "C02BB386-0C9E-5F4E-A2B9-7E8F3A6D1C05")]
fn two_names_of_one_id_are_one_key(#[case] key: &str, #[case] kind: &str, #[case] lower: &str, #[case] upper: &str) {
    let text = format!(
        "[collections.a]\nid = \"integer\"\n[collections.a.children.m]\nshape = \"map\"\ntable = \"m\"\nparent = \"a_id\"\n\
         map_key = {key}\ncolumns.v = \"$\"\n[collections.u]\nid = \"hex\""
    );
    let m = format!("a_id:int! user:{kind}! v:int");
    let plan = compile(&text, &[("a", 1, "id:int!"), ("m", 2, &m), ("u", 1, "id:text!")]);
    let mut entries = RawDocumentBuf::new();
    for name in [lower, upper] {
        entries.append(bson::raw::CString::try_from(name).expect("no NUL"), 5);
    }
    assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "m": entries }), ["UNIQUE_CONFLICT in column \"user\" at path \"m\""]);
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
