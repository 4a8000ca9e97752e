//! The digest of a plan follows the meaning of the mapping.

use super::*;

fn digest(text: &str, name: &str, catalog: &Catalog) -> [u8; 16] {
    let file = MappingFile::parse(text, name).expect("a mapping file");
    Plan::compile(&file, catalog).expect("a plan").collection("plans").expect("the collection").digest()
}

#[rstest]
#[case::a_comment_above("namespace", "# Why this file is as it is.\n\nnamespace")]
#[case::a_comment_inside("owner_id =", "# The owner.\nowner_id =")]
#[case::white_space("owner_id = {", "owner_id   =   {")]
#[case::another_collection("[collections.users.columns]", "[collections.users.columns]\nemail = \"mail\"")]
fn a_digest_does_not_change_with_the_layout_of_the_file(#[case] from: &str, #[case] to: &str) {
    let changed = SHOP.replace(from, to);
    assert_ne!(changed, SHOP);
    assert_eq!(digest(&changed, "moved/shop.toml", &shop()), digest(SHOP, "shop.toml", &shop()));
}

#[rstest]
#[case::a_path("path = \"owner\"", "path = \"owners[0]\"")]
#[case::a_condition(
    "reference = \"users\" }\n[collections.plans.ch",
    "reference = \"users\", when = { path = \"a\", is = 1 } }\n[collections.plans.ch"
)]
#[case::a_default(
    "path = \"owner\", reference = \"users\"",
    "path = \"owner\", misfit = \"null\", reference = \"users\""
)]
#[case::a_rule("table = \"app.plans\"\nid = \"uuid5\"", "table = \"app.plans\"\nid = \"md5\"")]
#[case::a_namespace("namespace = \"dns\"", "namespace = \"url\"")]
#[case::the_rule_of_a_referenced_collection(
    "table = \"app.users\"\nid = \"uuid5\"",
    "table = \"app.users\"\nid = \"pad_left\""
)]
#[case::a_column_that_is_left_out("order = \"position\"", "ignore = [\"position\"]")]
fn a_digest_changes_with_the_meaning_of_the_mapping(#[case] from: &str, #[case] to: &str) {
    let changed = SHOP.replace(from, to);
    assert_ne!(changed, SHOP);
    assert_ne!(digest(&changed, "shop.toml", &shop()), digest(SHOP, "shop.toml", &shop()));
}

#[test]
fn a_digest_changes_with_the_catalog() {
    let mut narrower = shop();
    let parts = narrower.tables.iter_mut().find(|table| table.name.name == "parts").expect("the table");
    parts.columns[3].kind = ColumnType::Varchar(Some(40));
    assert_ne!(digest(SHOP, "shop.toml", &narrower), digest(SHOP, "shop.toml", &shop()));
}
