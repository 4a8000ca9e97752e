//! The page of a report in a browser, opened from its file.

use driftless_testing::{packages, stack::root, unique, wait};
use serde_json::{Value, json};

use super::run;
use crate::harness::Example;

/// A file and a query whose names would be markup.
const FILE: &str = "<b onclick='alert(1)'>&amp;.toml";
const QUERY: &str =
    r#"<script>document.title = ""</script><img src="http://127.0.0.1:9/" onerror="alert(1)"/> & 'more'"#;
/// Its values would be, too, and they differ.
const WRONG: &str = r#"
mongodb = '{ "find": "plans", "sort": { "_id": 1 } }'
sql = "SELECT id, '<i>' || title AS title FROM plans ORDER BY id LIMIT 3"
"#;
const RUNS: u64 = 5;

/// Checks that the page shows each query with its result and its plot, asks for nothing, and holds texts of others as texts.
pub(super) async fn opens_from_its_file(example: &Example, right: &str) {
    let folder = example.migration.mapping().with_file_name(unique("page"));
    let lock = root().join("tests/support/browser/package-lock.json");
    let program = root().join("tests/examples/shadow/browser/look.mjs");
    let mut browser = packages::node(&lock, &program, folder.clone()).await;
    let (file, page) = (folder.join(FILE), folder.join("report.html"));
    let (file, page) = (file.to_str().expect("a path"), page.to_str().expect("a path"));
    let right = std::fs::read_to_string(root().join(right)).expect("read the file");
    let text = format!("{right}\n[[query]]\nname = {}\n{WRONG}", toml::Value::from(QUERY));
    std::fs::write(file, text).expect("write a file of queries");
    let runs = RUNS.to_string();
    let (report, code) = run(example, file, &["--runs", &runs, "--warm-up", "0", "--reveal", "--html", page]).await;
    assert_eq!(code, 4, "{report:#}");

    // The browser unpacks itself into the folder for temporary files.
    let looked =
        wait::soon("the page opens", browser.arg(page).env("TMPDIR", &folder).kill_on_drop(true).output()).await;
    let looked = looked.expect("start Node");
    assert!(looked.status.success(), "{}", String::from_utf8_lossy(&looked.stderr));
    let seen: Value = serde_json::from_slice(&looked.stdout).expect("JSON");
    assert_eq!(seen["requests"], json!([seen["url"]]), "{seen:#}");
    assert_eq!((&seen["complaints"], &seen["active"]), (&json!([]), &json!(0)), "{seen:#}");
    assert_eq!(seen["title"], format!("Shadow reads: {FILE}"));
    let queries = report["queries"].as_array().expect("queries");
    assert!(queries.iter().any(|query| query["name"] == QUERY && query["outcome"] == "different"), "{report:#}");
    let rows: Vec<Value> = queries.iter().map(|query| json!([query["name"], query["outcome"]])).collect();
    assert_eq!(seen["rows"], Value::from(rows));
    let section = |query: &Value| {
        let counts =
            ["equal", "different", "undecided"].map(|outcome| format!("{} {outcome}", query[outcome])).join(", ");
        json!({ "name": query["name"], "counts": counts, "dots": 2 * RUNS })
    };
    assert_eq!(seen["sections"], queries.iter().map(section).collect::<Value>());
    let values = seen["values"].as_array().expect("values");
    assert!(values.iter().any(|value| value.as_str().is_some_and(|value| value.starts_with("<i>"))), "{seen:#}");
}
