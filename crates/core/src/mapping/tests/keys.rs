//! Keys that no `_id` makes, and tables that several parts of a mapping write.

use super::*;

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
