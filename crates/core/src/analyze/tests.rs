//! Surveys of whole collections: what they find, and what they must not.

use bson::{raw::RawDocumentBuf, rawdoc};

use super::{Conversion, Coverage, Survey};
use crate::mapping::{
    MappingFile, Plan,
    target::{Catalog, Column, ColumnType, Table, TableName},
};

/// Room for every value of these tests.
const ROOM: usize = 1 << 20;

/// A table by its columns, `name:type`, with `!` for NOT NULL; the first is the key.
fn table(name: &str, columns: &str) -> Table {
    let columns = columns.split(' ').map(|column| {
        let (name, kind) = column.split_once(':').expect("name:type");
        let (kind, not_null) = kind.strip_suffix('!').map_or((kind, false), |kind| (kind, true));
        let kind = match kind {
            "uuid" => ColumnType::Uuid,
            "int" => ColumnType::Int4,
            _ => ColumnType::Text,
        };
        Column { not_null, ..Column::new(name, kind) }
    });
    let columns: Vec<Column> = columns.collect();
    let key = columns[0].name.clone();
    Table { primary_key: vec![key], ..Table::new(TableName::new("public", name), &[], columns) }
}

/// Surveys documents, each with the position of its collection.
fn survey(
    mapping: &str,
    tables: Vec<Table>,
    documents: &[(usize, RawDocumentBuf)],
    room: usize,
) -> (Vec<String>, Vec<Conversion>) {
    let file = MappingFile::parse(&format!("namespace = \"dns\"\n{mapping}"), "m.toml").expect("a mapping file");
    let catalog = Catalog { tables };
    let plan = Plan::compile(&file, &catalog).expect("a plan");
    let mut survey = Survey::new(&plan, &catalog, Coverage::All, room);
    for (collection, document) in documents {
        let id = document.get_i32("_id").ok().map(|id| rawdoc! { "_id": id });
        let repeats = survey.add(*collection, id, document).is_some_and(|mapped| mapped.repeats);
        survey.dead(*collection, u64::from(repeats));
    }
    let findings = survey.findings(&file, false);
    let told = findings.faults.into_iter().chain(findings.warnings).map(|finding| finding.what);
    (told.chain(findings.notes).collect(), survey.conversions())
}

fn assert_silent_about(told: &[String], words: &str) {
    assert!(!told.iter().any(|line| line.contains(words)), "{words}: {told:#?}");
}

#[test]
fn a_shared_table_is_filled_by_every_collection_that_writes_it() {
    let mapping = "[collections.a]\ntable = \"t\"\nid = \"uuid5\"\nshared = true\n\
                   [collections.b]\ntable = \"t\"\nid = \"uuid5\"\nshared = true\n";
    let documents = [(0, rawdoc! { "_id": 1, "x": "x" }), (1, rawdoc! { "_id": 2, "y": "y" })];
    let (told, _) = survey(mapping, vec![table("t", "id:uuid! x:text y:text z:text")], &documents, ROOM);
    assert_silent_about(&told, "fills column \"x\"");
    assert_silent_about(&told, "fills column \"y\"");
    assert!(told.iter().any(|line| line.contains("no document fills column \"z\"")), "{told:#?}");
}

#[test]
fn a_value_from_the_row_around_counts_where_only_refused_documents_have_it() {
    let mapping = "[collections.a]\nid = \"uuid5\"\n[collections.a.children.items]\ntable = \"i\"\nparent = \"a_id\"\nid = \"id\"\n\
                   columns.code = \"^.code\"\n[collections.a.children.items.children.parts]\ntable = \"p\"\nid = \"id\"\n\
                   columns.code = \"^^.code\"\n";
    let tables = vec![
        table("a", "id:uuid! n:int"),
        table("i", "id:uuid! a_id:uuid! code:text"),
        table("p", "id:uuid! code:text"),
    ];
    let parts = || rawdoc! { "parts": [rawdoc! { "x": 1 }] };
    let documents = [
        (0, rawdoc! { "_id": 1, "n": 1, "items": [parts()] }),
        (0, rawdoc! { "_id": 2, "n": "no number", "code": "c", "items": [parts()] }),
    ];
    let (told, _) = survey(mapping, tables, &documents, ROOM);
    assert_silent_about(&told, "column \"code\"");
}

#[test]
fn a_column_whose_values_all_become_null_is_not_said_to_have_no_path() {
    let mapping = "[collections.a]\nid = \"uuid5\"\ncolumns.n = { path = \"m\", misfit = \"null\" }\n";
    let (told, conversions) =
        survey(mapping, vec![table("a", "id:uuid! n:int")], &[(0, rawdoc! { "_id": 1, "m": "x" })], ROOM);
    assert_silent_about(&told, "no document fills");
    assert!(
        told.iter().any(|line| line.contains("is NULL in its one row, although documents have its path")),
        "{told:#?}"
    );
    assert_eq!(conversions[0].losses[0].column.as_deref(), Some("n"));
}

#[test]
fn a_hint_does_not_offer_what_the_column_has() {
    for (settings, expected) in [("misfit = \"clamp\"", "`coerce`"), ("coerce = \"number\"", "`empty = \"null\"`")] {
        let mapping = format!(
            "namespace = \"dns\"\n[collections.a]\nid = \"uuid5\"\ncolumns.n = {{ path = \"n\", {settings} }}\n"
        );
        let file = MappingFile::parse(&mapping, "m.toml").expect("a mapping file");
        let catalog = Catalog { tables: vec![table("a", "id:uuid! n:int")] };
        let plan = Plan::compile(&file, &catalog).expect("a plan");
        let mut survey = Survey::new(&plan, &catalog, Coverage::All, ROOM);
        survey.add(0, Some(rawdoc! { "_id": 1 }), &rawdoc! { "_id": 1, "n": "" });
        let faults = survey.findings(&file, false).faults;
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        assert!(fault.hint.contains(expected), "{}", fault.hint);
        assert_eq!(fault.hint.contains("`coerce`"), expected == "`coerce`", "{}", fault.hint);
    }
}

#[test]
fn the_keys_of_a_map_and_the_columns_of_a_child_are_read_and_filled() {
    let mapping = "[collections.a]\nid = \"uuid5\"\n[collections.a.children.votes]\ntable = \"v\"\nshape = \"map\"\nparent = \"a_id\"\n\
                   map_key = { column = \"user\", id = \"uuid5\" }\ncolumns.points = \"points\"\nkey = [\"id\"]\nid = \"id\"\n\
                   [collections.a.children.votes.children.log]\ntable = \"l\"\nshape = \"map\"\nmap_key = \"day\"\nid = \"id\"\n\
                   columns.n = \"$\"\ncolumns.user = \"^.points\"\n";
    let tables = vec![
        table("a", "id:uuid!"),
        table("v", "id:uuid! a_id:uuid! user:uuid! points:int"),
        table("l", "id:uuid! day:text n:int user:int"),
    ];
    let votes = rawdoc! { "507f1f77bcf86cd799439011": rawdoc! { "points": 3, "log": rawdoc! { "2025-03-01": 1 } } };
    let (told, _) = survey(mapping, tables, &[(0, rawdoc! { "_id": 1, "votes": votes })], ROOM);
    assert_silent_about(&told, "is not read");
    assert_silent_about(&told, "fills column");
}

#[test]
fn a_document_is_counted_once_by_reason_and_column() {
    let tables =
        vec![Table { uniques: vec![vec!["code".to_owned()]], ..table("a", "id:uuid! code:text n:int! m:int!") }];
    let documents = [
        (0, rawdoc! { "_id": 1, "code": "x", "n": 1, "m": 1 }),
        (0, rawdoc! { "_id": 2, "code": "x", "n": 1, "m": 1 }),
        (0, rawdoc! { "_id": 3, "code": "y", "n": "1", "m": 1 }),
        (0, rawdoc! { "_id": 4, "code": "z", "n": "1" }),
    ];
    let (told, conversions) = survey("[collections.a]\nid = \"uuid5\"\n", tables.clone(), &documents, ROOM);
    assert!(told.iter().any(|line| line == "data: a: 4 documents, 3 of them refused"), "{told:#?}");
    let Conversion { documents: seen, dead_letters, refused, .. } = &conversions[0];
    let refused: Vec<_> = refused
        .iter()
        .map(|one| (one.reason.as_str(), one.columns.join(","), one.documents, one.example.as_deref().unwrap_or("")))
        .collect();
    assert_eq!((*seen, *dead_letters), (4, 3));
    assert_eq!(
        refused,
        [
            ("TYPE_MISMATCH", "n".to_owned(), 2, "3"),
            ("NOT_NULL", "m".to_owned(), 1, "4"),
            ("UNIQUE_CONFLICT", "code".to_owned(), 1, "2"),
        ]
    );
    // Two values fit into this room: the duplicate is still found, and the note says that others may not be.
    let (told, conversions) = survey("[collections.a]\nid = \"uuid5\"\n", tables, &documents, 64);
    assert!(told.iter().any(|line| line.starts_with("there are more unique values than are kept")), "{told:#?}");
    assert_eq!(conversions[0].documents, 4);
}
