use bson::raw::{RawArrayBuf, RawBson};
use insta::assert_snapshot;
use uuid::Uuid;

use super::*;
use crate::mapping::{
    CollectionFile, ColumnFile, IdFile, IdRule, IdType, KeyFrom, OnDrop, Path, RootsFile, TableFile, target::TableName,
};

const SHOP: &str = r#"
namespace = "dns"

[collections.users]
table = "app.users"
id = "uuid5"
on_drop = "ignore"
ignore = ["search"]
[collections.users.columns]
full_name = "name"
city = "profile.address.city"
status = { path = "status", default = "active" }
owner_id = { path = "owner", reference = "users" }

[collections.plans]
id = { rule = "uuid5", namespace = "6ba7b811-9dad-11d1-80b4-00c04fd430c8", type = "objectId", column = "id" }
[collections.plans.children.milestones]
table = "app.plan_milestones"
parent = "plan_id"
order = "position"
id = { column = "id", from = "key" }
[collections.plans.children.milestones.columns]
title = "name"
[collections.plans.children."a.tags"]
table = 'app."odd.tags"'
parent = "plan_id"
id = "id"
[collections.plans.children."a.tags".columns]
tag = "$"
"#;

fn table(file: &CollectionFile) -> &TableFile {
    match &file.tables {
        RootsFile::One(table) => table,
        RootsFile::Split(_) => panic!("one table"),
    }
}

fn id(file: &CollectionFile) -> &IdFile {
    &file.id.as_ref().expect("an id").value
}

fn faults(text: &str) -> String {
    let faults = MappingFile::parse(text, "shop.toml").expect_err("faults");
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn reads_every_part() {
    let file = MappingFile::parse(SHOP, "shop.toml").expect("a mapping");
    let [plans, users] = file.collections.as_slice() else { panic!("two collections") };
    assert_eq!(table(users).table.value, TableName::new("app", "users"));
    assert_eq!((id(users).rule, id(users).namespace), (IdRule::Uuid5, Uuid::NAMESPACE_DNS));
    assert_eq!((users.on_drop, plans.on_drop), (OnDrop::Ignore, OnDrop::Halt));
    assert_eq!(table(users).ignore[0].value, "search");
    let status = table(users).columns.iter().find(|column| column.name.value == "status").expect("a column");
    assert_eq!(status.default.as_ref().map(|default| &default.value), Some(&RawBson::String("active".to_owned())));
    assert_eq!((status.name.line, status.name.column), (12, 1));

    assert_eq!(table(plans).table.value, TableName::new("public", "plans"));
    assert_eq!((id(plans).only, id(plans).namespace), (Some(IdType::ObjectId), Uuid::NAMESPACE_URL));
    let [tags, milestones] = table(plans).children.as_slice() else { panic!("two children") };
    assert_eq!(milestones.id.as_ref().map(|id| &id.from), Some(&KeyFrom::Field(Path::field("key"))));
    assert_eq!(tags.table.table.value, TableName::new("app", "odd.tags"));
    assert_eq!(tags.id.as_ref().map(|id| &id.from), Some(&KeyFrom::Auto));
    assert_eq!(tags.path.value.to_string(), "a.tags");
    assert_eq!(tags.table.columns[0].paths[0].value.to_string(), "$");
}

#[test]
fn defaults_are_values_of_a_document() {
    let text = r#"
        [collections.a]
        id = "text"
        [collections.a.columns]
        a = { default = 0x10 }
        b = { default = 1.5 }
        c = { default = 2020-02-29 }
        d = { default = 2020-02-29T12:00:00+01:00 }
        e = { default = [1, { x = true }] }
    "#;
    let file = MappingFile::parse(text, "a").expect("a mapping");
    let defaults: Vec<_> = table(&file.collections[0])
        .columns
        .iter()
        .map(|column: &ColumnFile| column.default.as_ref().map(|d| &d.value))
        .collect();
    let inner = bson::rawdoc! { "x": true };
    let mut array = RawArrayBuf::new();
    array.push(1_i64);
    array.push(inner);
    assert_eq!(
        defaults,
        [
            Some(&RawBson::Int64(16)),
            Some(&RawBson::Double(1.5)),
            Some(&RawBson::DateTime(bson::DateTime::from_millis(1_582_934_400_000))),
            Some(&RawBson::DateTime(bson::DateTime::from_millis(1_582_974_000_000))),
            Some(&RawBson::Array(array)),
        ]
    );
}

#[test]
fn every_fault_at_once() {
    let text = r#"
namespace = "dsn"
colections = 1

[collections.users]
tabel = "app.users"
table = "app.users.x"
id = { rule = "uuid5", type = "oid" }
on_drop = "truncat"
ignore = "search"

[collections.users.columns]
full_name = "a..b"
age = 5
city = { pathh = "city" }
when = { default = 12:00:00 }

[collections.plans]
table = 3
[collections.plans.children.milestones]
order = 1
id = { from = "index" }

[collections.sections]
id = "uuid"
[collections.sections.children.parts]
table = "parts"
parent = "section_id"
extra = true
"#;
    assert_snapshot!(faults(text), @r#"
    shop.toml:2:13: `dsn` is not a namespace
        hint: one of dns, url, oid, x500, or a UUID
    shop.toml:3:1: `colections` is not known here
        hint: did you mean `collections`?
    shop.toml:6:1: `tabel` is not known here
        hint: did you mean `table`?
    shop.toml:7:9: `app.users.x` is not a table name
        hint: write schema.table; a name with dots goes in double quotes
    shop.toml:8:31: `oid` is not known here
        hint: one of objectId, string, integer, uuid, binary
    shop.toml:9:11: `truncat` is not known here
        hint: one of halt, ignore, truncate
    shop.toml:10:10: `ignore` is not a list
        hint: write ["column", …]
    shop.toml:13:13: `a..b` is not a path
        hint: a field name in a path cannot be empty
    shop.toml:14:7: column `age` is neither a path nor a table
        hint: write "path.in.the.document" or { path = "…", default = … }
    shop.toml:15:10: `pathh` is not known here
        hint: did you mean `path`?
    shop.toml:16:20: this value has no counterpart in a document
        hint: integers have 64 bits; a time of day needs a date and an offset
    shop.toml:18:14: collection `plans` does not say how `_id` becomes the primary key
        hint: add `id`, one of uuid5, md5, pad_left, pad_right, hex, text, integer, uuid, bytes, lookup
    shop.toml:19:9: a text is expected here, not an integer
        hint: put it in double quotes
    shop.toml:20:29: `table` is missing
        hint: it has no default: add it
    shop.toml:21:9: a text is expected here, not an integer
        hint: put it in double quotes
    shop.toml:22:6: `column` is missing
        hint: it has no default: add it
    shop.toml:29:1: `extra` is not known here
        hint: known here: table, key, shared, filter, ignore, columns, children, path, shape, parent, root, order, map_key, id, distinct, empty_elements
    "#);
}

#[test]
fn broken_syntax_is_all_there_is() {
    assert_snapshot!(faults("[collections.a]\nid = \"uuid5\ntable = 'x'\n[[\n"), @r#"
    shop.toml:2:12: invalid basic string, expected `"`
        hint: this is not valid TOML
    shop.toml:4:3: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
        hint: this is not valid TOML
    "#);
}

#[test]
fn a_uuid5_needs_a_namespace() {
    assert_snapshot!(faults("[collections.a]\nid = \"uuid5\""), @r#"
    shop.toml:2:6: a uuid5 id has no namespace
        hint: set `namespace` at the top of the file, once, and never change it: dns, url, oid, x500 or a UUID
    "#);
}

#[test]
fn a_type_must_go_with_its_rule() {
    assert_snapshot!(faults("[collections.a]\nid = { rule = \"hex\", type = \"string\" }"), @r#"
    shop.toml:2:6: this `type` does not fit this `rule`
        hint: leave `type` out, or use rule uuid5
    "#);
}

#[test]
fn an_empty_file() {
    assert_snapshot!(faults(""), @r#"
    shop.toml:1:1: no collections are mapped
        hint: add a table [collections.<name>] for each
    "#);
}

#[test]
fn faults_of_the_language() {
    let text = r#"
[collections.a]
id = "text"
table = "app.a"
split = { on = "kind" }
filter = { path = "x" }
[collections.b]
id = { rule = "lookup", table = "app.ids", form = "old" }
shared = "yes"
key = "x"
filter = [{ is = 1, not = 2, path = "x" }, { path = "x", is = [] }]
[collections.b.columns]
a = []
b = { constant = 1, default = 2 }
c = { rest = false }
d = { reference = "a", id = "hex" }
e = { reference = { by = "x" } }
f = { misfit = ["null", "rond", "null"], coerce = [], epoch = "hours" }
g = { trim = 1, empty = "", translate = { a = [1] } }
h = { id = { rule = "hex", column = "h", from = "x" } }
i = "a[x]"
[collections.c]
id = "text"
split = { by = "kind", unlisted = "drop" }
"#;
    assert_snapshot!(faults(text), @r#"
    shop.toml:2:14: `split` has no variants
        hint: add a table [….variants.<value>] for each kind of document
    shop.toml:4:1: `table` is not known here
        hint: known here: id, namespace, on_drop, may_be_empty, split, filter, variants
    shop.toml:5:9: `by` is missing
        hint: it has no default: add it
    shop.toml:5:11: `on` is not known here
        hint: known here: by, unlisted
    shop.toml:6:10: this condition says nothing
        hint: use exactly one of `is`, `not`, `exists` and `type`; write a list for several
    shop.toml:8:6: `from` is missing
        hint: it has no default: add it
    shop.toml:8:6: `to` is missing
        hint: it has no default: add it
    shop.toml:8:44: `form` is not known here
        hint: did you mean `from`?
    shop.toml:9:10: true or false is expected here, not a text
        hint: write it without quotes
    shop.toml:10:7: `key` is not a list
        hint: write ["column", …]
    shop.toml:11:11: this condition says several things
        hint: use exactly one of `is`, `not`, `exists` and `type`; write a list for several
    shop.toml:11:63: this list is empty
        hint: name at least one, or leave it out
    shop.toml:13:5: this list is empty
        hint: name at least one, or leave it out
    shop.toml:14:31: `default` has no effect beside `constant`
        hint: keep one of the two
    shop.toml:15:14: `rest` is true or left out
        hint: remove it
    shop.toml:16:29: `id` has no effect beside `reference`
        hint: keep one of the two
    shop.toml:17:19: `to` is missing
        hint: it has no default: add it
    shop.toml:18:25: `rond` is not known here
        hint: one of null, truncate, round, clamp, replace
    shop.toml:18:33: `misfit` names this twice
        hint: name it once
    shop.toml:18:51: this list is empty
        hint: name at least one, or leave it out
    shop.toml:18:63: `hours` is not known here
        hint: one of seconds, milliseconds
    shop.toml:19:14: true or false is expected here, not an integer
        hint: write it without quotes
    shop.toml:19:25: `` is not known here
        hint: one of null
    shop.toml:19:47: a single value is expected here, not a list
        hint: write a text, a number, true, false or a date
    shop.toml:20:28: `column` is not known here
        hint: known here: rule, type, namespace, strip_prefix, strip_suffix, table, from, to
    shop.toml:20:49: `from` belongs to rule lookup
        hint: remove it
    shop.toml:21:5: `a[x]` is not a path
        hint: write an index as [0], and a bracket inside a name as `\[`
    shop.toml:22:14: `split` has no variants
        hint: add a table [….variants.<value>] for each kind of document
    shop.toml:24:35: `drop` is not known here
        hint: one of reject, ignore
    "#);
}

#[test]
fn reads_the_language() {
    let text = r#"
namespace = "dns"
[collections.a]
id = "uuid5"
split = { by = "kind", unlisted = "ignore" }
[collections.a.variants.x]
is = ["x", 2]
table = "x"
key = ["p", "q"]
shared = true
id_column = "p"
[collections.a.variants.x.columns]
many = ["a", "b[0]"]
when = { path = "w", when = { path = "k", exists = false }, trim = true, misfit = ["round", "null"] }
[collections.a.variants.x.children.steps]
path = "in.steps"
table = "steps"
shape = "map"
map_key = "name"
root = "root_id"
distinct = true
id = { column = "id", from = "key", rule = "text" }
children.inner = { table = "inner", parent = "step_id", id = { column = "id", from = "key" } }
"#;
    let file = MappingFile::parse(text, "a.toml").expect("a mapping");
    let RootsFile::Split(split) = &file.collections[0].tables else { panic!("a split") };
    let variant = &split.variants[0];
    assert_eq!(
        (variant.is.len(), variant.id_column.is_some(), split.by.value.to_string()),
        (2, true, "kind".to_owned())
    );
    assert!(variant.table.shared && variant.table.key.len() == 2);
    let [many, when] = variant.table.columns.as_slice() else { panic!("two columns") };
    assert_eq!(many.paths.iter().map(|path| path.value.to_string()).collect::<Vec<_>>(), ["a", "b[0]"]);
    assert!(when.when.len() == 1 && when.policy.trim && when.policy.misfit.len() == 2);
    let steps = &variant.table.children[0];
    assert_eq!(
        (steps.path.value.to_string().as_str(), steps.distinct, steps.parent.is_none()),
        ("in.steps", true, true)
    );
    let id = steps.id.as_ref().expect("an id");
    assert_eq!((&id.from, id.rule.as_ref().map(|id| id.value.rule)), (&KeyFrom::Name, Some(IdRule::Text)));
    // In an array, `key` is a field like any other.
    let inner = steps.table.children[0].id.as_ref().expect("an id");
    assert_eq!((&inner.from, inner.rule.is_none()), (&KeyFrom::Field(Path::field("key")), true));
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_never_panics(
        text in "(\\[collections\\.a(\\.(columns|children|variants)\\.b)?\\]\n|(id|split|key|filter|path|table|is|misfit|id\\.rule|when) = (\"[a-z^$.\\[]{0,5}\"|1|true|\\[\\]|\\{\\}|\\{ (by|path|rule|is) = \"x\" \\})\n){0,8}|.*",
    ) {
        let _ = MappingFile::parse(&text, "any");
    }
}

#[test]
fn faults_of_what_prepares_a_value() {
    let text = r#"
[collections.a]
id = { rule = "hex", strip_prefix = "x" }
filter = { path = "k", type = "objectid" }
[collections.b]
id = { rule = "text", strip_prefix = "" }
[collections.b.columns]
a = { type = ["string", "string"] }
b = { constant = 1, strip_prefix = "x" }
c = { rest = true, empty_elements = "drop" }
d = { null_values = [] }
[collections.b.children.p]
table = "p"
empty_elements = "null"
[collections.b.children.q]
table = "q"
shape = "document"
empty_elements = "drop"
"#;
    assert_snapshot!(faults(text), @r#"
    shop.toml:3:37: `strip_prefix` is for ids that are texts
        hint: use rule uuid5, md5, text or lookup, or rule uuid with type = "string"
    shop.toml:4:31: `objectid` is not known here
        hint: one of double, string, object, array, binData, undefined, objectId, bool, date, null, regex, dbPointer, javascript, symbol, javascriptWithScope, int, timestamp, long, decimal, minKey, maxKey, number
    shop.toml:6:38: an empty text strips nothing
        hint: write the prefix or suffix of the texts
    shop.toml:8:25: `type` names this twice
        hint: name it once
    shop.toml:9:36: `strip_prefix` has no effect beside `constant`
        hint: keep one of the two
    shop.toml:10:37: `empty_elements` has no effect beside `rest`
        hint: keep one of the two
    shop.toml:11:21: this list is empty
        hint: name at least one, or leave it out
    shop.toml:14:18: an element of a child is a row, which is not NULL
        hint: use "drop" or "reject"; `empty` of the columns decides what becomes NULL
    shop.toml:18:18: a document has no elements
        hint: remove `empty_elements`, or use `filter`
    "#);
}

#[test]
fn one_cause_is_reported_once() {
    let text = "[collections.a]\nid = \"uuid5\"\n[collections.b]\nid = \"uuid5\"\n[collections.c]\nid = \"uuid5\"";
    assert_snapshot!(faults(text), @r#"
    shop.toml:2:6: a uuid5 id has no namespace (also on lines 4 and 6)
        hint: set `namespace` at the top of the file, once, and never change it: dns, url, oid, x500 or a UUID
    "#);
}
