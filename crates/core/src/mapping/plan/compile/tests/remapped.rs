//! The meaning of another mapping for the rows of the one before.

use super::*;
use crate::mapping::{Effect, Remapped};

fn remapped(before: &str, after: &str, catalog: &Catalog) -> Vec<Remapped> {
    let files = [before, after].map(|text| MappingFile::parse(text, "shop.toml").expect("a mapping file"));
    let plans = [&files[0], &files[1]].map(|file| Plan::compile_partly(file, catalog).0);
    Remapped::all((&files[0], &plans[0]), (&files[1], &plans[1]))
}

/// The only collection that is other than before.
fn plans(from: &str, to: &str) -> Remapped {
    let after = SHOP.replace(from, to);
    assert_ne!(after, SHOP);
    let mut all = remapped(SHOP, &after, &shop());
    assert!(all.len() == 1 && all[0].collection == "plans", "{all:?}");
    all.remove(0)
}

const CHILD: &str = "[collections.plans.children.parts]\ntable = \"app.parts\"\nparent = \"plan_id\"\norder = \"position\"\nid = \"id\"\n";
const OWNER: &str = "owner_id = { path = \"owner\", reference = \"users\" }\n";

#[test]
fn the_same_mapping_is_no_change() {
    assert_eq!(remapped(SHOP, &format!("# Nothing.\n{SHOP}"), &shop()), []);
}

#[rstest]
#[case::another_path("path = \"owner\"", "path = \"owners\"", Effect::Rewritten)]
#[case::a_policy(
    "reference = \"users\" }\n[collections.plans",
    "reference = \"users\", misfit = \"null\" }\n[collections.plans",
    Effect::Rewritten
)]
#[case::what_happens_when_it_is_dropped(
    "table = \"app.plans\"\n",
    "table = \"app.plans\"\non_drop = \"ignore\"\n",
    Effect::SameRows
)]
#[case::a_filter(
    "table = \"app.plans\"\n",
    "table = \"app.plans\"\nfilter = [{ path = \"a\", is = 1 }]\n",
    Effect::Rewritten
)]
fn a_change_says_what_becomes_of_the_rows(#[case] from: &str, #[case] to: &str, #[case] expected: Effect) {
    let found = plans(from, to);
    assert_eq!((found.effect, found.settings.len()), (expected, 1));
    assert!(found.gained.is_empty() && found.left.is_empty());
}

#[test]
fn what_leaves_the_mapping_is_left_as_it_is() {
    let child = plans(CHILD, "");
    assert_eq!(child.effect, Effect::SameRows);
    let [left] = &child.left[..] else { panic!("{child:?}") };
    assert!(left.whole && left.table.name == "parts" && left.columns.iter().any(|column| column == "plan_id"));
    let column = plans(OWNER, "");
    // The column is filled by its name from now on.
    assert_eq!((column.effect, column.left.len()), (Effect::Rewritten, 0));
    let ignored = plans("table = \"app.plans\"\n", "table = \"app.plans\"\nignore = [\"tags\"]\n");
    assert_eq!((ignored.effect, ignored.left[0].columns.clone()), (Effect::SameRows, vec!["tags".to_owned()]));
    let whole = &SHOP[..SHOP.find("[collections.plans]").expect("plans")];
    let users = &SHOP[SHOP.find("[collections.users]").expect("users")..];
    let gone = remapped(SHOP, &format!("{whole}{users}"), &shop());
    assert_eq!((gone.len(), &gone[0].effect, gone[0].left.len()), (1, &Effect::Gone, 2));
}

#[test]
fn what_comes_is_written() {
    let without = SHOP.replace(CHILD, "");
    let child = remapped(&without, SHOP, &shop()).remove(0);
    assert_eq!(
        (&child.effect, child.gained[0].table.name.as_str(), child.gained[0].whole),
        (&Effect::Rewritten, "parts", true)
    );
    let ignored = SHOP.replace("table = \"app.plans\"\n", "table = \"app.plans\"\nignore = [\"tags\"]\n");
    let column = remapped(&ignored, SHOP, &shop()).remove(0);
    assert_eq!((&column.effect, column.gained[0].columns.clone()), (&Effect::Rewritten, vec!["tags".to_owned()]));
    let users = &SHOP[SHOP.find("[collections.users]").expect("users")..];
    let new = remapped(&format!("namespace = \"dns\"\n{users}"), SHOP, &shop());
    assert_eq!((new.len(), &new[0].effect), (1, &Effect::New));
}

#[test]
fn rows_that_would_not_be_found_again_are_others() {
    let rule = SHOP.replace("table = \"app.users\"\nid = \"uuid5\"", "table = \"app.users\"\nid = \"md5\"");
    let found = remapped(SHOP, &rule, &shop());
    // The references of `plans` follow.
    let effects: Vec<(&str, bool)> =
        found.iter().map(|one| (one.collection.as_str(), matches!(one.effect, Effect::OtherRows(_)))).collect();
    assert_eq!(effects, [("plans", false), ("users", true)]);
    assert_eq!((&found[0].effect, found[0].settings.len()), (&Effect::Rewritten, 0));
    let Effect::OtherRows(reasons) = &found[1].effect else { panic!("{found:?}") };
    assert!(reasons[0].contains("md5") && reasons[0].contains("uuid5"), "{reasons:?}");

    let mut catalog = shop();
    let mut copy = catalog.tables.iter().find(|table| table.name.name == "plans").expect("the table").clone();
    copy.name.name = "copies".to_owned();
    catalog.tables.push(copy);
    let found = remapped(SHOP, &SHOP.replace("app.plans", "app.copies"), &catalog).remove(0);
    let Effect::OtherRows(reasons) = &found.effect else { panic!("{found:?}") };
    assert!(reasons[0].contains("app.plans"), "{reasons:?}");

    // A table that the target lacks decides nothing yet.
    let found = remapped(SHOP, &SHOP.replace("app.parts", "app.pieces"), &shop()).remove(0);
    assert_eq!((found.effect, found.left), (Effect::Unfit, vec![]));
}
