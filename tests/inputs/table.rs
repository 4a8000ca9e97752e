//! The list of odd inputs and their outcomes, and the page generated from it.
//!
//! A test fails if the page is not what would be generated now, if a number has no test, or if the number of a test is not in
//! the table. `UPDATE_DOCS=1 cargo test --test inputs table` writes the page.

use std::fmt::Write;

use driftless_testing::stack::root;

/// Sections, each with the source of its tests.
const SECTIONS: &[(&str, &[Input], &str)] = &[
    ("Keys", KEYS, include_str!("keys.rs")),
    ("Strings", STRINGS, include_str!("strings.rs")),
    ("Numbers", NUMBERS, include_str!("numbers.rs")),
    ("Dates", DATES, include_str!("dates.rs")),
    ("Other types", TYPES, include_str!("types.rs")),
    ("Structure", STRUCTURE, include_str!("structure.rs")),
    ("Events and records", EVENTS, include_str!("events.rs")),
    ("Constraints", CONSTRAINTS, include_str!("constraints.rs")),
    ("What applications write", APPLICATIONS, include_str!("applications.rs")),
];
const COUNT: u16 = 181;

/// Number, input, and outcome.
type Input = (u16, &'static str, &'static str);

#[rustfmt::skip]
const KEYS: &[Input] = &[
    (1, "ObjectId as `_id`", "kept, by the id rule: hexadecimal digits or a version-5 UUID"),
    (2, "text `_id` that looks like another document's ObjectId", "two keys; rule `uuid5` refuses the text (`KEY_UNSUPPORTED`), rule `text` the ObjectId; no rule takes both"),
    (3, r#"`_id` 1 and `_id` "1""#, "two keys, and two rows under rules that accept both; `uuid5` refuses the text"),
    (4, "integer deleted, equal double inserted", "one key, one partition, one row"),
    (5, "long 2^53+1 and double 2^53", "two keys, compared exactly"),
    (6, "Decimal 1.0 and 1.00", "one key, as for MongoDB"),
    (7, "-0.0 and 0.0", "one key, as for MongoDB"),
    (8, "NaN", "one key; `NONFINITE`"),
    (9, "Decimal NaN and double NaN", "one key, as for MongoDB"),
    (10, "null", "a separate key; `KEY_UNSUPPORTED`"),
    (11, "event or document without `_id`", "a mapped view is a fault of the configuration; a record without it is `MALFORMED`"),
    (12, "boolean", "a separate key; `KEY_UNSUPPORTED` under every id rule, kept in a column that accepts it"),
    (13, "date in the year 300000", "a separate key; `KEY_UNSUPPORTED` under every id rule, `RANGE_TS` in a column of dates"),
    (14, "UUID (binary subtype 4)", "kept as uuid"),
    (15, "the same bytes as subtype 3", "another key; `KEY_UNSUPPORTED`"),
    (16, "empty binary", "a separate key; kept under rule `bytes`, `KEY_UNSUPPORTED` under others"),
    (17, "`{a, b}` and `{b, a}`", "two keys"),
    (18, "embedded document with arrays and dots", "a separate key, by its bytes"),
    (19, "text of 10 KB", "the key is a hash; a row under `uuid5`, `KEY_TOO_LONG` under `text`"),
    (20, "text of many megabytes", "a hash as Kafka key, the whole `_id` in the value; above 5 MB MongoDB cannot report a change, and the source stops; above 8 MB it refuses the document"),
    (21, "empty text", "kept, not NULL"),
    (22, "text with NUL", "a row under `uuid5`, `NUL_IN_TEXT` under `text`"),
    (23, "text that is not UTF-8", "key by its bytes; `BAD_UTF8`"),
    (24, r#""é" composed and decomposed"#, "two keys, two rows"),
    (25, r#""ABC" and "abc" under a collation that ignores case"#, "MongoDB holds one at a time, so does the table"),
    (26, r#""a" and "a ""#, "two rows; a padded or folding primary key is a fault of the mapping"),
    (27, "MinKey, MaxKey, Timestamp", "separate keys; `KEY_UNSUPPORTED`"),
    (28, "array, regular expression, undefined (MongoDB refuses them)", "in a record: `MALFORMED`"),
    (29, "`_id` beside shard key fields", "never taken for the lone `_id`: `MALFORMED`"),
    (30, "shard key field that is null or missing", "the same"),
];
#[rustfmt::skip]
const STRINGS: &[Input] = &[
    (31, "NUL inside", r#"`NUL_IN_TEXT`; `misfit = "replace"`: U+FFFD; JSON: wrapped"#),
    (32, "nothing but NUL", "`NUL_IN_TEXT`; JSON: wrapped"),
    (33, r#"the six characters `\u0000`"#, "kept"),
    (34, "NUL in a field name", "the name ends there, the rest does not parse: `MALFORMED`"),
    (35, "bytes ED A0 80 (a lone surrogate)", "`BAD_UTF8`; JSON: wrapped"),
    (36, "a lone low surrogate", "`BAD_UTF8`; JSON: wrapped"),
    (37, "bytes C0 80", "`BAD_UTF8`; JSON: wrapped"),
    (38, "byte FF", r#"`BAD_UTF8`; `misfit = "replace"`: U+FFFD; JSON: wrapped"#),
    (39, "a character cut at its end", "`BAD_UTF8`; JSON: wrapped"),
    (40, "U+FFFE, U+FFFF", "kept"),
    (41, "emoji", "kept, one character of `varchar`"),
    (42, "bidirectional and zero-width characters", "kept; never in a log line"),
    (43, "terminal escapes, line breaks", "kept; never in a log line"),
    (44, "text of 16 MB", "kept"),
    (45, "16 MB of U+0001", "kept, in text and in JSON"),
    (46, "longer than `varchar(n)`", r#"`TOO_LONG`, spaces at the end included; `misfit = "truncate"`: cut"#),
    (47, "shorter than `char(n)`", "kept, padded by PostgreSQL"),
    (48, "the words NaN, null, true", "kept as text"),
    (49, r#""2020-02-30" into date"#, r#"`TYPE_MISMATCH`, with `coerce = "date"` too"#),
    (50, r#"" 12 " into integer"#, r#"`TYPE_MISMATCH`; `trim` and `coerce = "number"`: 12"#),
    (51, r#""maybe" into boolean"#, r#"`TYPE_MISMATCH`, with `coerce = "boolean"` too"#),
    (52, r#""zz" into uuid"#, "`TYPE_MISMATCH`"),
    (53, r#""" into integer"#, r#"`TYPE_MISMATCH`, never 0; `empty = "null"`: NULL"#),
    (54, "quotes, semicolon, DROP", "kept"),
    (55, "not a label of the enum", "`TYPE_MISMATCH`; `fallback`: the given one"),
    (56, "another case into a unique `citext`", "`UNIQUE_CONFLICT`"),
    (57, "`<a>` into xml", "`REFUSED` with its SQLSTATE"),
    (58, "broken text into inet, json", "inet: `TYPE_MISMATCH`; in JSON columns a text is a JSON string"),
];
#[rustfmt::skip]
const NUMBERS: &[Input] = &[
    (59, "70000 into smallint", r#"`RANGE_INT`; `misfit = "clamp"`: 32767"#),
    (60, "3e9 into integer", "`RANGE_INT`"),
    (61, "smallest 64-bit integer", "kept"),
    (62, "2^53+1 in JSON", "every digit kept"),
    (63, "1.5, 2.5 into integer", r#"`LOSSY`; `misfit = "round"`: half away from zero"#),
    (64, "3.0 into integer; doubles 2^62 and 1e23", "kept; every digit of a whole double, the same in bigint, numeric, text, JSON and arrays"),
    (65, "-0.0", "kept in double precision; JSON, numeric and integers have one zero (counted)"),
    (66, "NaN", "kept in double precision and numeric; JSON: wrapped"),
    (67, "infinities", "kept in double precision and numeric; `numeric(p,s)`: `NONFINITE`; JSON: wrapped"),
    (68, "1e308 into numeric", "kept: all 309 digits of the double"),
    (69, "5e-324 into numeric", "kept"),
    (70, "Decimal 1E+6144", "kept, 6,145 digits"),
    (71, "Decimal 1E-6176", "kept"),
    (72, "Decimal -0E-6176", "0, the lost sign is counted"),
    (73, "Decimal NaN, also signalling", "NaN"),
    (74, "Decimal infinity", "like the infinity of a double"),
    (75, "9.99E+6144 into `numeric(38,9)`", "`RANGE_NUM`"),
    (76, "1.005 into `numeric(10,2)`", r#"`LOSSY`; `misfit = "round"`: 1.01"#),
    (77, "1e-9 into `numeric(10,2)`", r#"`LOSSY`; `misfit = "null"`: NULL"#),
    (78, "Decimal whose bytes are not canonical", "0"),
    (79, "200,000 times 1E+6144", "`AMPLIFY`"),
    (80, "1E+6144 into double precision", "`RANGE_NUM`"),
    (81, "integer into text", "its digits"),
    (82, "double into text", "a whole number with all its digits, any other with the shortest digits that parse to it"),
    (83, "number into boolean", "`TYPE_MISMATCH`"),
    (84, "Timestamp beyond 2038", "unsigned in numeric; `TYPE_MISMATCH` in integers"),
    (85, "1.10 becomes 1.1", "applied, scale and all; both sides are equal"),
];
#[rustfmt::skip]
const DATES: &[Input] = &[
    (86, "smallest 64-bit number of milliseconds", "`RANGE_TS`; JSON: wrapped"),
    (87, "largest", "`RANGE_TS`; JSON: wrapped"),
    (88, "year 10000", "kept; JSON: wrapped"),
    (89, "last millisecond of the year 294276", "kept"),
    (90, "year 294277", "`RANGE_TS`"),
    (91, "4714-11-24 BC, and the millisecond before", "kept; `RANGE_TS`"),
    (92, "year 0", "kept (1 BC)"),
    (93, "one millisecond before 1970", "kept"),
    (94, "a time of day into `date`", "its day in UTC (counted)"),
    (95, "milliseconds into `timestamptz(0)`", r#"`LOSSY`; `misfit = "round"`: rounded"#),
    (96, "into `timestamp` without time zone", "kept in UTC; `check` warns"),
    (97, "a number where a date is expected", "`TYPE_MISMATCH`; `epoch`: the instant"),
    (98, "Timestamp(0, 0)", "as MongoDB stored it: filled in at the top level, kept below"),
    (99, "Timestamp(4294967295, 4294967295)", "kept unsigned"),
];
#[rustfmt::skip]
const TYPES: &[Input] = &[
    (100, "undefined", "NULL; JSON: wrapped"),
    (101, "symbol", "text"),
    (102, "DBPointer", "JSON: wrapped"),
    (103, "code", "text; JSON: wrapped"),
    (104, "code with a scope 90 levels deep", "JSON: wrapped"),
    (105, "MinKey, MaxKey", "`TYPE_MISMATCH`; JSON: wrapped"),
    (106, "regular expression with unknown flags", "text `/pattern/flags`; JSON: wrapped"),
    (107, "binary subtype 2 whose inner length lies", "`MALFORMED`"),
    (108, "binary subtype 6 (encrypted)", "kept in bytea; never in a log line"),
    (109, "binary subtypes 7, 8, 9, 128", "kept in bytea; JSON: wrapped with the subtype"),
    (110, "DBRef", "JSON object"),
    (111, "type byte 0x20", "`MALFORMED`"),
    (112, "collections of Queryable Encryption", "not followed unless mapped"),
    (113, "GridFS chunks", "kept"),
];
#[rustfmt::skip]
const STRUCTURE: &[Input] = &[
    (114, "a field name twice", "the last one, in columns and in JSON"),
    (115, "empty field name", "kept in JSON"),
    (116, "field `a.b` beside `{a: {b}}`", "two paths"),
    (117, "field `$set`", "kept in JSON"),
    (118, "names equal in their first 63 bytes", "two paths; a column name that PostgreSQL would truncate is a fault of the mapping"),
    (119, "field name with quotes and semicolons", "kept in JSON"),
    (120, "reserved words as names", "quoted"),
    (121, "names that differ by case", "two columns"),
    (122, "field name of 1 MB", "kept in JSON"),
    (123, "10,000 fields", "kept in JSON; columns take their fields"),
    (124, "100 levels", "kept in JSON"),
    (125, "180 levels", "kept in JSON; travels as BSON"),
    (126, "5,000 levels (MongoDB refuses them)", "`DEPTH`"),
    (127, "array of a million elements", "kept"),
    (128, r#"`[1, "a", null]` into `integer[]`"#, "`TYPE_MISMATCH`"),
    (129, "`[[1, 2], [3]]` into `integer[]`", "`TYPE_MISMATCH`"),
    (130, "`[]` and `[[]]`", "kept; in an array column both are empty"),
    (131, "`{}`", "kept in JSON"),
    (132, "the same fields in another order", "no drift"),
    (133, "integer, then text, then document", "each version is judged alone; the last valid row stays"),
    (134, "missing, null, undefined", "three states in JSON; NULL in columns, never their default"),
    (135, "15.9 MB inserted, replaced, updated", "kept"),
    (136, "15 MB rewritten in a collection with pre-images", "kept"),
    (137, r#"document `{"$oid": …}`"#, "stays a document"),
    (138, r#"document `{"$numberDecimal": "abc"}`"#, "stays a document"),
    (139, "only `_id`", "a row"),
    (140, "fields called op, ts, before", "kept"),
    (141, "JSON of more than 268,435,455 bytes", "`TOO_BIG`"),
];
#[rustfmt::skip]
const EVENTS: &[Input] = &[
    (142, "updated and deleted at once, so that the lookup finds nothing", "no row; a tombstone"),
    (143, "delete of an unknown key", "a tombstone"),
    (144, "insert of an existing key", "the higher version wins"),
    (145, "the same record again", "nothing changes"),
    (146, "the same version with other bytes", "the later record wins: its document was looked up again"),
    (147, "older after newer", "loses, counted"),
    (148, "deleted and inserted in one transaction", "the insert wins"),
    (149, "several operations of one cluster time", "ordered by their place in the transaction"),
    (150, "unknown operation", "`UNKNOWN_OP`"),
    (151, "no Kafka key", "`MALFORMED`"),
    (152, "no value", "`MALFORMED`"),
    (153, "a value that is not an envelope", "`MALFORMED`"),
    (154, "BSON with lengths below 5, negative, beyond the buffer", "`MALFORMED`"),
    (155, "bytes after the BSON", "`MALFORMED`"),
    (156, "record of a foreign producer", "`MALFORMED`"),
    (157, "record of a newer format", "the sink stops with its position intact"),
    (158, "broken version header", "`MALFORMED`"),
    (159, "version of an older epoch", "loses, counted"),
    (160, "collection that is not mapped", "skipped"),
    (161, "collection name that is not a valid topic name, or too long", "escaped, and hashed at the end"),
    (162, "collections `a.b_c` and `a_b.c`", "a topic and a table each"),
];
#[rustfmt::skip]
const CONSTRAINTS: &[Input] = &[
    (163, "child before its parent", "waits; `FK_MISSING` if the parent never arrives"),
    (164, "a unique value moves from one document to another", "applied, whichever change comes first"),
    (165, "two documents swap a unique value in a transaction", "applied"),
    (166, "a true duplicate", "`UNIQUE_CONFLICT`"),
    (167, "NOT NULL without a value", "`NOT_NULL`"),
    (168, "CHECK fails", "`CHECK`"),
    (169, "exclusion constraint", "waits, then `UNIQUE_CONFLICT`"),
    (170, "generated and identity columns", "a fault of the mapping if they are mapped"),
    (171, "a trigger raises", "waits, then `REFUSED` with its SQLSTATE"),
    (172, "row longer than a page", "`TOO_BIG`"),
    (173, "delete of a dead letter's document", "a tombstone; the letter is closed"),
    (174, "a valid version after a dead letter", "applied; the letter is closed"),
];

#[rustfmt::skip]
const APPLICATIONS: &[Input] = &[
    (175, r#""" under the first of two names"#, r#"the text; `empty = "null"`: the value of the second, or the `default` or NULL"#),
    (176, r#"`["a", "", null]`"#, r#"kept, null as NULL; `empty_elements = "drop"`: `{a}`, or one row of a child; `"null"`: NULL; `"reject"`: `NOT_NULL`"#),
    (177, "a document without the field that names its kind, or with null in it", "the variant `missing`; without one, `TYPE_MISMATCH`"),
    (178, "text reference with a prefix, and one without", "`strip_prefix`: the id after it; without the prefix `TYPE_MISMATCH`, never hashed"),
    (179, "a field of mixed types", r#"`type`: the listed types, otherwise `TYPE_MISMATCH`, or NULL with `misfit = "null"`; in a condition, it holds or not"#),
    (180, "object whose names are ids", "rows whose key is the reference in `map_key`; two spellings of one id: `UNIQUE_CONFLICT`"),
    (181, "a type with errors of an unknown class (`seg`)", "`REFUSED` with its SQLSTATE; other rows are written"),
];

/// Returns the names of all tests.
pub(crate) fn tests() -> Vec<&'static str> {
    SECTIONS.iter().flat_map(|(_, _, source)| tests_in(source)).collect()
}

fn tests_in(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .filter_map(|line| line.strip_prefix("fn input_").map(|_| &line["fn ".len()..]))
        .filter_map(|rest| rest.split('(').next())
}

fn number(test: &str) -> Option<u16> {
    test.strip_prefix("input_")?.get(..3)?.parse().ok()
}

fn page() -> String {
    let mut page = String::from(
        "# Odd inputs\n\n<!-- Generated from tests/inputs/table.rs: UPDATE_DOCS=1 cargo test --test inputs table -->\n\n\
         The outcome of values that migrations stumble over. Each line is tested against real servers, through the running\n\
         daemon: `cargo test --test inputs input_031` runs one.\n\n\
         *kept* means that PostgreSQL holds the same value. A code in capitals is the reason of a dead letter, which keeps\n\
         every byte of the record. *wrapped* means an object `{\"$driftless\": \"<type>\", …}` inside JSON, from which the value\n\
         can be recovered exactly. If a column declares a policy (`misfit`, `coerce`, …), the policy decides, and each use\n\
         is counted.\n",
    );
    for (title, inputs, source) in SECTIONS {
        let _ = write!(page, "\n## {title}\n\n| | input | outcome | test |\n|---|---|---|---|\n");
        for (number, input, outcome) in *inputs {
            let tests: Vec<_> = tests_in(source)
                .filter(|test| self::number(test) == Some(*number))
                .map(|test| format!("`{test}`"))
                .collect();
            let _ = writeln!(page, "| {number} | {input} | {outcome} | {} |", tests.join("<br>"));
        }
    }
    page
}

#[test]
fn table_holds_every_number_once_and_each_has_a_test() {
    let numbers: Vec<u16> = SECTIONS.iter().flat_map(|(_, inputs, _)| inputs.iter()).map(|input| input.0).collect();
    assert_eq!(numbers, (1..=COUNT).collect::<Vec<_>>(), "the numbers, in order");
    for (title, inputs, source) in SECTIONS {
        let tested: Vec<u16> =
            tests_in(source).map(|test| number(test).unwrap_or_else(|| panic!("{test} has no number"))).collect();
        for (number, input, _) in *inputs {
            assert!(tested.contains(number), "{title}: number {number} ({input}) has no test");
        }
        for number in tested {
            assert!(inputs.iter().any(|input| input.0 == number), "{title}: number {number} is not in the table");
        }
        let marked = source.matches("#[test]\nfn input_").count();
        assert_eq!(marked, tests_in(source).count(), "{title}: every function of that name is a test");
    }
}

#[test]
fn table_and_page_are_equal() {
    let path = root().join("docs/inputs.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
        std::fs::write(&path, page()).expect("write the page");
    }
    let found = std::fs::read_to_string(&path).expect("read docs/inputs.md");
    assert!(found == page(), "docs/inputs.md is not up to date: UPDATE_DOCS=1 cargo test --test inputs table");
}
