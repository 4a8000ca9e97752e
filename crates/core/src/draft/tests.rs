use bson::{RawDocumentBuf, doc, oid::ObjectId, rawdoc};

use super::*;
use crate::{
    mapping::MappingFile,
    profile::{Database, Facts, Index, Validator},
};

fn choices() -> Choices {
    Choices {
        names: Naming::Snake,
        ids: ObjectIds::Uuid5,
        schema: "app".to_owned(),
        jsonb_depth: 3,
        strict: false,
        extra: false,
    }
}

fn draft(collections: Vec<(Facts, Vec<RawDocumentBuf>)>, choices: &Choices) -> Draft {
    let mut database = Database::new("shop");
    for (facts, documents) in collections {
        database.begin(facts);
        documents.iter().for_each(|document| database.add(document));
        database.end(true);
    }
    let draft = Draft::new(&database.analysis(), choices);
    MappingFile::parse(&draft.mapping, "mapping.toml").unwrap_or_else(|faults| panic!("{faults:?}\n{}", draft.mapping));
    draft
}

fn facts(name: &str) -> Facts {
    Facts { name: name.to_owned(), ..Facts::default() }
}

/// Plans of users: references of both kinds, an array of arrays of objects, a map, few texts, and a number that is a text once.
fn plans() -> Vec<(Facts, Vec<RawDocumentBuf>)> {
    let users: Vec<ObjectId> = (0..6).map(|at| ObjectId::from_bytes([at; 12])).collect();
    let documents = users.iter().enumerate().map(|(at, user)| {
        let number: bson::raw::RawBson = if at == 0 { "7".into() } else { (at as i32).into() };
        rawdoc! {
            "_id": ObjectId::from_bytes([100 + at as u8; 12]), "user": *user, "gone": ObjectId::from_bytes([if at < 2 { 99 } else { at as u8 }; 12]),
            "status": if at % 2 == 0 { "open" } else { "done" }, "zip": number, "profile": { "address": { "city": "x", "geo": { "x": 1 } } },
            "steps": [{ "title": "a", "tasks": [{ "n": 1 }] }], "members": [*user, *user], "tags": ["a"],
            "byDay": { "2025-01-01": 1, "2025-01-02": 2 }, "either": if at == 0 { bson::raw::RawBson::Boolean(true) } else { "x".into() },
        }
    });
    let documents = documents.collect();
    let people =
        users.iter().map(|user| rawdoc! { "_id": *user, "createdAt": bson::DateTime::from_millis(0) }).collect();
    let index = |described: bson::Document| Index::read(&described).expect("an index");
    let indexes = vec![
        index(doc! { "key": { "user": 1, "status": -1 }, "name": "a", "unique": true }),
        index(doc! { "key": { "zip": 1 }, "name": "b", "unique": true }),
        index(doc! { "key": { "steps.title": 1 }, "name": "c" }),
        index(doc! { "key": { "nothing\nthere": 1 }, "name": "d" }),
        index(doc! { "key": { "nothing there": "2dsphere" }, "name": "e" }),
    ];
    let validator = doc! { "$jsonSchema": { "required": ["status"], "properties": { "status": { "bsonType": "string", "enum": ["open", "done", "lost"] } } } };
    let validator = Validator::read(&doc! { "validator": validator });
    vec![(Facts { indexes, validator, ..facts("plans") }, documents), (facts("users"), people)]
}

#[test]
fn a_draft_explains_its_decisions() {
    let draft = draft(plans(), &choices());
    assert_eq!(draft.tables, 5);
    insta::assert_snapshot!("mapping", draft.mapping);
    insta::assert_snapshot!("schema", draft.schema);
}

#[test]
fn the_conventions_are_chosen() {
    let chosen =
        Choices { names: Naming::AsIs, ids: ObjectIds::Text, jsonb_depth: 1, strict: true, extra: true, ..choices() };
    let draft = draft(plans(), &chosen);
    insta::assert_snapshot!("schema_with_other_choices", draft.schema);
    assert!(draft.mapping.contains("id = \"hex\"") && draft.mapping.contains("createdAt = \"createdAt\""));
}

#[test]
fn odd_names_stay_names() {
    let mut document = rawdoc! { "_id": { "a": 1 } };
    for name in [
        "",
        "a.b",
        "$ref",
        "x[0]",
        "user",
        "USER",
        "user ",
        "'; DROP TABLE x; --",
        "line\nbreak",
        "\u{1}",
        "^up",
        "back\\slash",
        "xmin",
        "id",
        "\"q\"",
    ] {
        document.append(bson::raw::CString::try_from(name).expect("no NUL"), rawdoc! { "n": 1, "": 2 });
    }
    let long = "n".repeat(80);
    document.append(bson::raw::CString::try_from(long.as_str()).expect("no NUL"), 1);
    for names in [Naming::Snake, Naming::AsIs] {
        let draft = draft(
            vec![(facts("odd.name$"), vec![document.clone()]), (facts("Odd Name"), vec![])],
            &Choices { names, ..choices() },
        );
        // A field that no path can name goes where everything else does.
        assert!(draft.mapping.contains("extra = { rest = true }"), "{}", draft.mapping);
        assert!(draft.schema.lines().all(|line| !line.trim_start().starts_with("DROP")), "{}", draft.schema);
    }
}
