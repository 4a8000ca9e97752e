//! Faults of a file of queries that only the servers show, each with its text.

use crate::harness::Example;

/// Lines of a query behind its name, and the fault.
type Case = (&'static str, &'static str);

const SQL: &str = "sql = \"SELECT id FROM plans WHERE user_id = $1\"";

pub(super) const BUSINESS_PLANS: &[Case] = &[
    (
        "mongodb = '{ \"find\": \"plans\" }'\nsql = 'SELECT nothing FROM plans'",
        ":5: query `q`: PostgreSQL refuses the statement: SQLSTATE 42703: column \"nothing\" does not exist\n    hint: correct `sql`",
    ),
    (
        "mongodb = '{ \"find\": \"plans\" }'\nsql = 'SELECT FROM plans'",
        ":5: query `q`: the statement gives no columns\n    hint: write one SELECT",
    ),
    (
        "mongodb = '{ \"find\": \"plans\" }'\nsql = 'DELETE FROM plans RETURNING id'",
        ":5: query `q`: PostgreSQL refuses the statement: SQLSTATE 42601: syntax error at or near \"FROM\"\n    hint: write one SELECT; \
         give columns of unlike types a `column`",
    ),
    (
        "mongodb = '{ \"find\": \"plans\" }'\nsql = 'SELECT id FROM plans WHERE user_id = $1'",
        ":5: query `q`: the number of parameters is 1 in the statement, and 0 here\n    hint: declare them in the order of $1, $2, …",
    ),
    (
        "mongodb = '{ \"find\": \"others\" }'\nsql = 'SELECT id FROM plans'",
        ":3: query `q`: the collection `others` is not mapped\n    hint: map it, or leave it out: nothing of it is in PostgreSQL",
    ),
    (
        "mongodb = '{ \"aggregate\": \"plans\", \"pipeline\": [{ \"$unionWith\": \"others\" }] }'\nsql = 'SELECT id FROM plans'",
        ":3: query `q`: the collection `others` is not mapped",
    ),
    (
        "mongodb = '{ \"find\": \"plans\", \"filter\": { \"$nope\": 1 } }'\nsql = 'SELECT id FROM plans'",
        ":3: query `q`: MongoDB refuses the command: BadValue (2): unknown top level operator: $nope",
    ),
    (
        "mongodb = '{ \"find\": \"plans\" }'\nsql = 'SELECT id, extra FROM plans'",
        ":5: query `q`: the result column `extra` cannot be made of one value: it is app.plans.extra, and it takes the rest of a whole \
         document\n    hint: leave it out, or give `column` another column of the mapping",
    ),
    (
        "mongodb = '{ \"find\": \"plans\" }'\nsql = 'SELECT id FROM plans'\ncolumn.total = { path = \"n\" }",
        ":6: query `q`: the statement has no result column `total`\n    hint: name it in the SELECT, or remove it here",
    ),
    (
        "mongodb = '{ \"find\": \"plans\" }'\nsql = 'SELECT id, user_id AS id FROM plans'",
        ":5: query `q`: two result columns are called `id`\n    hint: name each with AS",
    ),
    (
        "mongodb = '{ \"find\": \"plans\" }'\nsql = 'SELECT plans AS whole FROM plans'",
        ":5: query `q`: the result column `whole` is plans, which is not compared\n    hint: cast it to text or jsonb in the SELECT",
    ),
    (
        "mongodb = '{ \"find\": \"plans\" }'\nsql = 'SELECT id FROM plans'\ncolumn.id = { column = \"app.plans.nothing\" }",
        ":6: query `q`: the mapping writes no column app.plans.nothing\n    hint: name a column of a mapped table",
    ),
];

/// Parameters of a query that compares `user_id`, and the fault.
pub(super) const PARAMETERS: &[Case] = &[
    (
        "from = \"others\", path = \"userId\"",
        ":6: query `q`: the parameter `p` is drawn from `others`, which is not mapped\n    hint: draw it from a mapped collection",
    ),
    (
        "path = \"nothing\"",
        ":6: query `q`: the parameter `p`: no document that was drawn of `plans` has a value at `nothing`\n    hint: correct `path`, \
         or draw it from another collection with `from`",
    ),
    (
        "path = \"userId\", column = \"app.plans.nothing\"",
        ":6: query `q`: the parameter `p` names app.plans.nothing, which the mapping does not write\n    hint: name in `column` a \
         column of the mapping that takes one value",
    ),
    (
        "path = \"version\", column = \"app.plans.user_id\"",
        ":6: query `q`: the parameter `p`: no value at `version` that was drawn of `plans` can be converted: TYPE_MISMATCH",
    ),
    (
        "path = \"unknown\", column = \"app.plans.extra\"",
        ":6: query `q`: the parameter `p` cannot be converted as app.plans.extra is: it takes the rest of a whole document",
    ),
];

/// Faults of a query with this command, statement and parameter.
pub(super) const TYPES: &[Case] = &[
    (
        "mongodb = '{ \"find\": \"plans\", \"filter\": { \"tags\": { \"$parameter\": \"p\" } } }'\n\
         sql = 'SELECT id FROM plans WHERE tags = $1'\nparameter = [{ name = \"p\", path = \"tags\" }]",
        ":6: query `q`: the parameter `p` is an array\n    hint: draw one value, and compare it with `= ANY (…)`",
    ),
    (
        "mongodb = '{ \"find\": \"plans\", \"filter\": { \"x\": { \"$parameter\": \"p\" } } }'\n\
         sql = 'SELECT id FROM plans WHERE int4range(1, 2) = $1'\nparameter = [{ name = \"p\", path = \"x\" }]",
        ":6: query `q`: the parameter `p` is int4range, which is not converted\n    hint: name in `column` the column that it is \
         compared with",
    ),
    (
        "mongodb = '{ \"find\": \"plans\", \"filter\": { \"x\": { \"$parameter\": \"p\" } } }'\n\
         sql = 'SELECT id FROM plans WHERE int4range(1, 2) = $1'\n\
         parameter = [{ name = \"p\", path = \"x\", column = \"app.plans.title\" }]",
        ":6: query `q`: the parameter `p` is int4range, which app.plans.title is not",
    ),
];

pub(super) const CRM: &[Case] = &[
    (
        "mongodb = '{ \"find\": \"Activities\" }'\nsql = 'SELECT \"targetId\" FROM \"Activities\"'",
        ":5: query `q`: the result column `targetId` cannot be made of one value: it is public.Activities.targetId, and another field \
         of the document decides how its value is converted",
    ),
    (
        "mongodb = '{ \"find\": \"Notes\" }'\nsql = 'SELECT \"leadId\" FROM \"Notes\"'",
        ":5: query `q`: the result column `leadId` cannot be made of one value: it is public.Notes.leadId, and a condition on the \
         document decides whether it has its value",
    ),
];

/// Skills of a tree have ids of their own.
pub(super) const SKILLS_PLATFORM: &[Case] = &[(
    "mongodb = '{ \"find\": \"skill_trees\" }'\nsql = 'SELECT id FROM skills.skills'",
    ":5: query `q`: the result column `id` cannot be made of one value: it is skills.skills.id, and it is made of the document's id \
     and the place of an element",
)];

pub(super) const PLANNING: &[Case] = &[(
    "mongodb = '{ \"find\": \"accounts\", \"filter\": { \"currency\": { \"$parameter\": \"p\" } } }'\n\
     sql = 'SELECT id FROM accounts WHERE currency_id = $1'\nparameter = [{ name = \"p\", path = \"currency\" }]",
    ":6: query `q`: the parameter `p` cannot be converted as planning.accounts.currency_id is: its value is looked up",
)];

/// A query with this parameter, compared with `user_id`.
pub(super) fn with_parameter(parameter: &str) -> String {
    let command = r#"mongodb = '{ "find": "plans", "filter": { "userId": { "$parameter": "p" } } }'"#;
    format!("{command}\n{SQL}\nparameter = [{{ name = \"p\", {parameter} }}]")
}

/// Checks that a file with this query has this fault.
pub(super) async fn is_refused(example: &Example, search_path: &str, lines: &str, fault: &str) {
    let path = std::env::temp_dir().join(format!("{}.toml", driftless_testing::unique("shadow")));
    let text = format!("search_path = \"{search_path}\"\n\n[[query]] # q\n{lines}\nname = \"q\"\n");
    std::fs::write(&path, text).expect("write a file");
    let output = example.migration.command(&["shadow", "check", path.to_str().expect("a path")]).await;
    std::fs::remove_file(&path).expect("remove the file");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{lines}: {told} {complained}");
    assert!(told.contains(fault), "{lines}:\n{told}\nlacks\n{fault}");
}
