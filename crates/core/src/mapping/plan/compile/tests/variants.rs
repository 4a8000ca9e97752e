//! Faults of variants.

use super::*;

#[test]
fn faults_of_variants() {
    let text = r#"
namespace = "dns"
[collections.t]
id = "uuid5"
split = { by = "^.kind" }
[collections.t.variants.a]
is = ["a", 1]
table = "app.t"
[collections.t.variants.b]
is = 1.0
table = "app.g"
id_column = "c"
[collections.u]
split = { by = "kind" }
[collections.u.variants.x]
table = "app.c"
columns.t_id = { path = "t", reference = "u" }
"#;
    assert_snapshot!(faults(text, &language()), @r#"
    shop.toml:5:16: `^.kind` leads above the document
        hint: only the path of a child can lead up
    shop.toml:10:6: variant `b` never gets this value, which belongs to `a`
        hint: a value belongs to one variant
    shop.toml:12:13: table "app"."g" has no column "c"
        hint: add it to the table, or remove it here; the table has id, c_id
    shop.toml:16:9: collection `u` has no `id`, and nothing fills the key column "at" of "app"."c"
        hint: add `id`, the rule that makes keys of `_id`s, or add the column to `columns`
    shop.toml:17:42: the reference points to `u`, which has no id rule
        hint: declare how the value is converted: use `id` instead of `reference`
    "#);
}

#[test]
fn two_kinds_for_documents_without_one_are_a_fault() {
    let tables = ["a", "b"].map(|name| table(name, &["id"], vec![Column::new("id", ColumnType::Text)]));
    let catalog = Catalog { tables: tables.to_vec() };
    let text = r#"
[collections.things]
id = "text"
split = { by = "__t" }
[collections.things.variants.missing]
table = "app.a"
[collections.things.variants.thing]
table = "app.b"
missing = true
"#;
    assert_snapshot!(faults(text, &catalog), @r#"
    shop.toml:7:30: variant `thing` never gets a document without `__t`, which belongs to `missing`
        hint: declare it in one variant; a variant named `missing` needs no `is`
    "#);
}
