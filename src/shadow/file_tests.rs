use rstest::rstest;

use super::*;

const WHOLE: &str = r#"
search_path = "app"

[[query]]
name = "plans of a user"
mongodb = '''{ "find": "plans", "filter": { "userId": { "$parameter": "user" } } }'''
sql = "SELECT id, title FROM plans WHERE user_id = $1;"
order = true
parameter = [{ name = "user", path = "userId" }]
column.total = { path = "n", column = "app.plans.target_raise" }
"#;

#[test]
fn a_file_is_read() {
    let file = ShadowFile::parse(WHOLE).expect("no faults");
    assert_eq!(file.search_path, "app");
    let [query] = &file.queries[..] else { panic!("one query") };
    assert_eq!((query.line, query.sql_line, query.order), (4, 7, true));
    assert_eq!(query.sql, "SELECT id, title FROM plans WHERE user_id = $1");
    let [parameter] = &query.parameters[..] else { panic!("one parameter") };
    assert_eq!((parameter.from.as_str(), parameter.line), ("plans", 9));
    let total = &query.columns["total"];
    assert_eq!(total.path, Some(Path::field("n")));
    assert_eq!(total.column.as_ref().map(ColumnName::label).as_deref(), Some("app.plans.target_raise"));
}

const FIND: &str = r#"mongodb = '''{ "find": "a" }'''"#;
const SQL: &str = r#"sql = "SELECT 1""#;

/// A file of one query with these lines, which begin at line 3.
fn of(lines: &[&str]) -> String {
    format!("[[query]]\nname = \"q\"\n{}\n", lines.join("\n"))
}

#[rstest]
#[case::no_toml("query =\n".to_owned(), "1: string values must be quoted, expected literal string")]
#[case::unknown_key("[[query]]\nnam = \"q\"\n".to_owned(), "2: unknown field `nam`, expected one of `name`, `mongodb`, `sql`, `order`, `parameter`, `column`")]
#[case::missing_key("[[query]]\nname = \"q\"\n".to_owned(), "1: missing field `mongodb`")]
#[case::empty(String::new(), "1: the file has no query")]
#[case::no_name(format!("[[query]]\nname = \" \"\n{FIND}\n{SQL}\n"), "1: query ` `: the query has no name")]
#[case::same_name(format!("{0}{0}", of(&[FIND, SQL])), "5: query `q`: another query has this name")]
#[case::no_sql(of(&[FIND, "sql = \" ; \""]), "4: query `q`: `sql` is empty")]
#[case::no_command(of(&["mongodb = \"{\"", SQL]), "3: query `q`: `mongodb` is no Extended JSON, at line 1, column 1 of it")]
#[case::undeclared(
    of(&[r#"mongodb = '''{ "find": "a", "filter": { "x": { "$parameter": "p" } } }'''"#, SQL]),
    "3: query `q`: the command names the parameter `p`, which is not declared"
)]
#[case::unused(
    of(&[FIND, SQL, "parameter = [{ name = \"p\", path = \"x\" }]"]),
    "5: query `q`: the command does not use the parameter `p`"
)]
#[case::same_parameter(
    of(&[
        r#"mongodb = '''{ "find": "a", "filter": { "x": { "$parameter": "p" } } }'''"#,
        SQL,
        "parameter = [{ name = \"p\", path = \"x\" }, { name = \"p\", path = \"y\" }]",
    ]),
    "5: query `q`: another parameter has this name"
)]
#[case::no_path(
    of(&[FIND, SQL, "column.x = { path = \"a..b\" }"]),
    "5: query `q`: the path `a..b` cannot be read: a field name in a path cannot be empty"
)]
#[case::no_column(of(&[FIND, SQL, "column.x = { column = \"plans.id\" }"]), "5: query `q`: `plans.id` is no column")]
fn faults_are_named(#[case] text: String, #[case] expected: &str) {
    let faults = ShadowFile::parse(&text).expect_err("a fault");
    let said: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.line, fault.what)).collect();
    assert_eq!(said.first().map(String::as_str), Some(expected), "{said:?}");
    assert!(faults.iter().all(|fault| !fault.hint.is_empty()));
}

#[test]
fn all_faults_are_named_at_once() {
    let text = format!("{}{}", of(&[FIND, "sql = \"\""]), of(&["mongodb = \"{}\"", SQL]));
    assert_eq!(ShadowFile::parse(&text).expect_err("faults").len(), 2);
}
