//! `config/examples/planning`: numbers and texts that mean times, booleans and amounts.

use driftless_testing::DEADLINE;
use mongodb::bson::{Binary, Bson, Document, doc, spec::BinarySubtype};

use crate::{
    draw::{Draw, pair},
    harness::{Example, Kind, kind},
};

const HOUSEHOLDS: u64 = 20;
const ACCOUNTS: u64 = 30;
const TABLES: &[&str] = &[
    "planning.households",
    "planning.people",
    "planning.institutions",
    "planning.accounts",
    "planning.categories",
    "planning.transactions",
    "planning.budgets",
    "planning.goals",
    "planning.goal_accounts",
    "planning.scenarios",
    "planning.projections",
    "planning.attachments",
    "planning.settings",
];

pub(crate) static KINDS: &[Kind] = &[
    kind("households", HOUSEHOLDS, household, &["active", "updated"], &[]),
    kind("people", 30, person, &["birth_date", "smoker", "retirement_age"], &[]),
    kind("institutions", 10, institution, &["bic"], &[]),
    kind("accounts", ACCOUNTS, account, &["balance", "currency", "opened", "last_sync"], &[]),
    kind("categories", 30, category, &[], &["parent", "sort"]),
    kind("transactions", 150, transaction, &["memo", "category", "import_time"], &[]),
    kind("budgets", 60, budget, &["amount"], &["household", "category", "month"]),
    kind("goals", 20, goal, &["due", "accounts", "priority"], &[]),
    kind("scenarios", 15, scenario, &["inflation", "assumptions"], &[]),
    kind("projections", 60, projection, &["computed"], &["scenario", "year"]),
    kind("attachments", 15, attachment, &["note", "transaction"], &[]),
    kind("settings", 12, setting, &["value"], &[]),
];

/// Ids count from one, as in SQLite. Their integer width is the one that the driver chose.
fn id(draw: &mut Draw, index: u64) -> Bson {
    let id = i64::try_from(index + 1).expect("small");
    match draw.int(0, 2) {
        0 => Bson::Int64(id),
        _ => Bson::Int32(i32::try_from(id).expect("small")),
    }
}

fn reference(draw: &mut Draw, count: u64) -> Bson {
    let index = draw.below(count);
    id(draw, index)
}

/// Returns an `_id` that keeps its type over all revisions.
fn own(index: u64) -> Bson {
    Bson::Int64(i64::try_from(index + 1).expect("small"))
}

fn flag(draw: &mut Draw) -> Bson {
    draw.pick(&[0.into(), 1.into(), 1_i64.into(), "0".into(), true.into()])
}

fn household(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut household =
        doc! { "_id": own(index), "name": draw.text(2), "created": draw.int(1_600_000_000, 1_700_000_000) };
    let (active, updated) = (flag(draw), draw.ratio(1.6e9, 1.7e9).round() + 0.25);
    draw.odd(&mut household, "active", active);
    draw.odd(&mut household, "updated", updated);
    household
}

fn person(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut person = doc! { "_id": own(index), "household": reference(draw, HOUSEHOLDS), "name": draw.text(2) };
    let birth = if draw.chance(0.2) { String::new() } else { draw.day_text() };
    draw.odd(&mut person, "birth_date", birth);
    let age: Bson = draw.pick(&[65.into(), "67".into(), 1_000_000.into(), "never".into()]);
    draw.odd(&mut person, "retirement_age", age);
    let smoker: Bson = draw.pick(&[0.into(), 1.into(), "unknown".into()]);
    draw.odd(&mut person, "smoker", smoker);
    person
}

fn institution(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let mut institution = doc! { "_id": own(index), "name": format!(" bank {index}.{revision}") };
    let bic = draw.pick(&["", " ", "ABCDEFGHXXX"]);
    draw.odd(&mut institution, "bic", bic);
    institution
}

fn account(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut account = doc! { "_id": own(index), "household": reference(draw, HOUSEHOLDS), "name": draw.text(2) };
    let institution = reference(draw, 10);
    draw.odd(&mut account, "institution", institution);
    let currency = draw.pick(&["EUR", "USD", "JPY"]);
    draw.odd(&mut account, "currency", currency);
    let balance: Bson = draw.pick(&["1234.56".into(), 0.1.into(), (0.1 + 0.2).into(), 7.into()]);
    draw.odd(&mut account, "balance", balance);
    let (closed, opened) = (flag(draw), draw.day_text());
    draw.odd(&mut account, "closed", closed);
    draw.odd(&mut account, "opened", opened);
    draw.odd(&mut account, "last_sync", 1_740_000_000_123_i64);
    account
}

/// Each category has four places of its own below its one parent.
fn category(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let place = i64::try_from(index * 4 + revision % 4).expect("small");
    doc! { "_id": own(index), "parent": 1, "sort": place, "name": draw.text(1) }
}

fn transaction(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut transaction = doc! {
        "_id": own(index), "account": reference(draw, ACCOUNTS), "amount": draw.ratio(-1e3, 1e3), "date": draw.day_text(),
    };
    let (category, cleared) = (reference(draw, 30), flag(draw));
    draw.odd(&mut transaction, "category", category);
    draw.odd(&mut transaction, "cleared", cleared);
    let memo = draw.pick(&[
        "",
        " tea ",
        "nul\0here",
        "a memo far longer than the eighty characters that the column of the new application takes",
    ]);
    draw.odd(&mut transaction, "memo", memo);
    let time: Bson = draw.pick(&[1_740_000_000_000_i64.into(), "n/a".into()]);
    draw.odd(&mut transaction, "import_time", time);
    transaction
}

fn budget(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let (household, category) = pair(index, revision, 30);
    let mut budget =
        doc! { "_id": own(index), "household": own(household), "category": own(category), "month": "2025-04" };
    let amount: Bson = draw.pick(&["100".into(), 99.995.into(), 50.into()]);
    draw.odd(&mut budget, "amount", amount);
    budget
}

fn goal(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut goal = doc! {
        "_id": own(index), "household": reference(draw, HOUSEHOLDS), "name": draw.text(3),
        "target": draw.pick::<Bson>(&["25000".into(), 1e5.into()]),
    };
    let (due, reached) = (draw.pick(&["2030-01-01", "someday", ""]), flag(draw));
    draw.odd(&mut goal, "due", due);
    draw.odd(&mut goal, "is_reached", reached);
    let accounts: Vec<Bson> = (0..draw.int(0, 5)).map(|_| reference(draw, 6)).collect();
    draw.odd(&mut goal, "accounts", accounts);
    let priority = draw.pick(&[1, 99_999]);
    draw.odd(&mut goal, "priority", priority);
    goal
}

fn scenario(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut scenario = doc! {
        "_id": own(index), "household": reference(draw, HOUSEHOLDS), "name": draw.text(2), "created": 1_700_000_000.5,
    };
    let inflation = draw.ratio(0.0, 0.1);
    draw.odd(&mut scenario, "inflation", inflation);
    draw.odd(&mut scenario, "assumptions", doc! { "return": 0.05 });
    scenario
}

fn projection(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let (scenario, year) = pair(index, revision, 40);
    let year = i32::try_from(2025 + year).expect("a year");
    let mut projection =
        doc! { "_id": own(index), "scenario": own(scenario), "year": year, "worth": draw.ratio(0.0, 1e7) };
    draw.odd(&mut projection, "computed", 1_740_000_000);
    projection
}

fn attachment(draw: &mut Draw, index: u64, _: u64) -> Document {
    let content = Binary { subtype: BinarySubtype::Generic, bytes: draw.text(9).into_bytes() };
    let mut attachment = doc! { "_id": own(index), "file_name": draw.text(20), "content": content };
    let transaction = reference(draw, 150);
    draw.odd(&mut attachment, "transaction", transaction);
    draw.odd(&mut attachment, "note", 7);
    attachment
}

fn setting(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut setting = doc! { "_id": format!("setting.{index}"), "changed": 1_740_000_000 };
    let value: Bson = draw.pick(&["dark".into(), 12.into(), 0.5.into(), true.into()]);
    draw.odd(&mut setting, "value", value);
    setting
}

#[tokio::test(flavor = "multi_thread")]
async fn planning() {
    let example = Example::start("planning", "planning", KINDS, 200).await;
    for table in TABLES.iter().filter(|table| !table.ends_with("goal_accounts")) {
        let collection = table.trim_start_matches("planning.");
        example.expect_as_many(table, collection, |_| true).await;
    }
    junction(&example).await;
    exact_rows(&example).await;
    places(&example).await;
    unknown_code(&example).await;
    odd_values(&example).await;
    example.end(TABLES).await;
}

async fn junction(example: &Example) {
    let mut pairs = Vec::new();
    for goal in example.documents("goals").await {
        let accounts = goal.get_array("accounts").map(Vec::as_slice).unwrap_or_default();
        let number = |value: &Bson| value.as_i64().or_else(|| value.as_i32().map(i64::from)).expect("a whole number");
        pairs.extend(accounts.iter().map(|account| format!("{} {}", number(&goal["_id"]), number(account))));
    }
    pairs.sort();
    pairs.dedup();
    example.expect("SELECT concat_ws(' ', goal_id, account_id) FROM planning.goal_accounts", pairs).await;
}

async fn exact_rows(example: &Example) {
    let replace = async |collection: &str, document: Document| {
        let filter = doc! { "_id": document["_id"].clone() };
        example.migration.collection(collection).replace_one(filter, document).await.expect("replace a document");
    };
    replace(
        "households",
        doc! { "_id": own(0), "name": "H", "active": 0, "created": 1_700_000_000_i64, "updated": 0.5 },
    )
    .await;
    replace("people", doc! { "_id": own(0), "household": 1.0, "name": "P", "birth_date": "1984-02-29", "retirement_age": 1e6, "smoker": "unknown" }).await;
    let account = doc! {
        "_id": own(0), "household": 1, "name": "A", "currency": "JPY", "balance": 0.1 + 0.2, "closed": "1", "opened": "",
        "last_sync": 1_740_000_000_123_i64,
    };
    replace("accounts", account).await;
    let memo = format!("  {}\0", "é".repeat(90));
    let transaction = doc! { "_id": own(0), "account": 1_i64, "amount": -1.005, "date": "2025-12-31", "memo": memo, "import_time": "n/a" };
    replace("transactions", transaction).await;
    replace("settings", doc! { "_id": "setting.0", "value": false, "changed": 0 }).await;
    example.agree(&[]).await;
    for (query, expected) in [
        (
            "SELECT concat_ws('|', active, created_at AT TIME ZONE 'UTC', updated_at AT TIME ZONE 'UTC') FROM planning.households WHERE id = 1",
            "f|2023-11-14 22:13:20|1970-01-01 00:00:00.5",
        ),
        (
            "SELECT concat_ws('|', born_on, retires_at, coalesce(smoker::text, '-')) FROM planning.people WHERE id = 1",
            "1984-02-29|32767|-",
        ),
        (
            "SELECT concat_ws('|', currency_id, balance, closed, coalesce(opened_on::text, '-'), synced_at AT TIME ZONE 'UTC') FROM planning.accounts WHERE id = 1",
            "3|0.30|t|-|2025-02-19 21:20:00.123",
        ),
        (
            "SELECT concat_ws('|', amount, booked_on, length(memo), coalesce(imported_at::text, '-')) FROM planning.transactions WHERE id = 1",
            "-1.01|2025-12-31|80|-",
        ),
        (
            "SELECT concat_ws('|', value, changed_at AT TIME ZONE 'UTC') FROM planning.settings WHERE name = 'setting.0'",
            "false|1970-01-01 00:00:00",
        ),
    ] {
        example.expect(query, [expected]).await;
    }
}

/// Swaps an order that is unique below each parent, and a row keyed by three fields.
async fn places(example: &Example) {
    let before =
        example.migration.texts("SELECT position::text FROM planning.categories WHERE id IN (1, 2) ORDER BY id").await;
    example.swap("categories", [own(0), own(1)], &["sort"]).await;
    example.swap("budgets", [own(0), own(1)], &["household", "category", "month"]).await;
    example.agree(&[]).await;
    let mut after =
        example.migration.texts("SELECT position::text FROM planning.categories WHERE id IN (1, 2) ORDER BY id").await;
    after.reverse();
    assert_eq!(before, after);
}

/// A code that the table of currencies does not contain waits until it does.
async fn unknown_code(example: &Example) {
    let parked = "SELECT count(*) FROM driftless.dead_letter WHERE state = 'parked' AND reason = 'FK_MISSING'";
    example.update("accounts", own(1), doc! { "$set": { "currency": "NOK" } }).await;
    example.migration.wait_for_number(parked, DEADLINE, 1).await;
    let entry = "INSERT INTO planning.currencies VALUES (4, 'NOK', 2)";
    example.migration.target.execute(entry, &[]).await.expect("add the currency");
    example.agree(&[]).await;
    example.expect("SELECT currency_id::text FROM planning.accounts WHERE id = 2", ["4"]).await;
}

async fn odd_values(example: &Example) {
    example.update("transactions", own(1), doc! { "$set": { "date": "31.12.2025" } }).await;
    example.update("people", own(1), doc! { "$unset": { "household": "" } }).await;
    example.update("goals", own(1), doc! { "$set": { "accounts": 5 } }).await;
    example.agree(&["NOT_NULL", "TYPE_MISMATCH", "TYPE_MISMATCH"]).await;
    example.update("transactions", own(1), doc! { "$set": { "date": "2025-12-31" } }).await;
    example.update("people", own(1), doc! { "$set": { "household": 1 } }).await;
    example.update("goals", own(1), doc! { "$set": { "accounts": [5, 5] } }).await;
    example.agree(&[]).await;
}
