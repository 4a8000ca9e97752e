//! Files with faults of several kinds: each is reported in one round.

use super::*;

fn partly(text: &str) -> (Vec<String>, String) {
    let (file, mut faults) = MappingFile::parse_partly(text, "shop.toml");
    let (plan, more) = Plan::compile_partly(&file, &shop());
    faults.extend(more);
    let plans = plan.collections().iter().map(|plan| plan.collection.clone()).collect();
    (plans, faults.iter().map(|fault| format!("{fault}\n")).collect())
}

const USERS: &str = "[collections.users]\ntable = \"app.users\"\nid = \"uuid5\"\n";

#[test]
fn a_fault_in_one_collection_hides_no_fault_of_another_and_none_of_the_catalog() {
    let text = format!(
        "namespace = \"dns\"\n{USERS}[collections.plans]\ntable = \"app.plan\"\nid = \"uuid9\"\n\
         [collections.parts]\ntable = \"app.parts\"\nid = \"uuid5\"\nordre = 1\ncolumns.titel = \"x\"\n\
         columns.plan_id = {{ reference = \"plans\" }}\n"
    );
    let (plans, faults) = partly(&text);
    assert_eq!(plans, ["users"]);
    assert_snapshot!(faults, @r#"
    shop.toml:7:6: `uuid9` is not known here
        hint: one of uuid5, md5, pad_left, pad_right, hex, text, integer, uuid, bytes, lookup
    shop.toml:11:1: `ordre` is not known here
        hint: known here: table, key, shared, filter, ignore, columns, children, id, namespace, on_drop, may_be_empty, split
    shop.toml:6:9: table "app"."plan" does not exist
        hint: did you mean `app.plans`?
    shop.toml:12:9: table "app"."parts" has no column "titel"
        hint: did you mean `title`?
    "#);
}

#[test]
fn broken_toml_hides_only_the_rest_of_its_collection() {
    let text = format!(
        "namespace = \"dns\"\n[collections.plans]\ntable = \"app.plans\"\nid = = \"uuid5\"\ncolumns.owner_id = {{ path = \"owner\" }}\n{USERS}\
         [collections.users.columns]\nemial = \"mail\"\nmanager_id = {{ path = \"boss\", reference = \"plans\" }}\n"
    );
    let (plans, faults) = partly(&text);
    assert_eq!(plans, [""; 0]);
    assert_snapshot!(faults, @r#"
    shop.toml:4:6: extra `=`, expected nothing
        hint: this is not valid TOML
    shop.toml:4:8: unexpected key or value, expected newline, `#`
        hint: this is not valid TOML
    shop.toml:10:1: table "app"."users" has no column "emial"
        hint: did you mean `email`?
    "#);
}

#[test]
fn a_collection_that_refers_to_a_broken_one_has_no_fault_and_no_plan() {
    let text = format!(
        "namespace = \"dns\"\n[collections.plans\ntable = \"app.plans\"\nid = \"uuid5\"\n{USERS}\
         columns.manager_id = {{ path = \"boss\", reference = \"plans\" }}\n"
    );
    let (plans, faults) = partly(&text);
    assert_eq!(plans, [""; 0]);
    assert_snapshot!(faults, @r"
    shop.toml:2:19: unclosed table, expected `]`
        hint: this is not valid TOML
    ");
}
