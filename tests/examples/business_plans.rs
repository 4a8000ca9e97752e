//! `config/examples/business_plans`: ids that stay readable, lists of allowed values, an order that is unique in its plan.

use driftless_testing::DEADLINE;
use mongodb::bson::{Bson, Decimal128, Document, doc};
use uuid::Uuid;

use crate::{
    draw::{Draw, oid},
    harness::{Example, Kind},
};

const USERS: u64 = 30;
const PLANS: u64 = 40;
const TABLES: &[&str] =
    &["app.users", "app.plans", "app.sections", "app.research_packs", "app.financial_models", "app.financial_years"];

pub(crate) static KINDS: &[Kind] = &[
    Kind {
        name: "users",
        documents: USERS,
        make: user,
        optional: &["tier", "profile.phone", "preferences"],
        joint: &[],
    },
    Kind {
        name: "plans",
        documents: PLANS,
        make: plan,
        optional: &["basedOn", "tags", "goals", "funding"],
        joint: &[],
    },
    Kind {
        name: "sections",
        documents: 120,
        make: section,
        optional: &["content", "keyPoints", "review", "ai.tokens"],
        joint: &["planId", "order", "orderIndex"],
    },
    Kind {
        name: "research_packs",
        documents: 30,
        make: pack,
        optional: &["planId", "keywords", "findings"],
        joint: &[],
    },
    Kind { name: "financial_models", documents: 30, make: model, optional: &["cash", "locked", "years"], joint: &[] },
];

fn user_id(index: u64) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, index.to_string().as_bytes()).to_string()
}

/// Returns the id of a plan as the mapping makes it: eight zeros before the 24 digits.
fn padded(index: u64, collection: &str) -> String {
    format!("00000000{}", oid(collection, index).to_hex()).parse::<Uuid>().expect("a UUID").to_string()
}

fn user(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let mut profile = doc! { "country": draw.pick(&["NO", "FR", "US"]) };
    let company = draw.text(2);
    draw.odd(&mut profile, "company", company);
    let phone = draw.pick(&["", "  ", "+47 123", " +33 99 "]);
    draw.odd(&mut profile, "phone", phone);
    let mut user = doc! {
        "_id": user_id(index),
        "email": format!(" u{index}-{revision}@example.org"),
        "profile": profile,
        "createdAt": draw.moment(),
        "updatedAt": draw.moment(),
    };
    let (name, tier) = (draw.text(2), draw.pick(&["Free", "pro", "Pro", "Team", "Legacy"]));
    draw.named(&mut user, &["name", "fullName"], name);
    draw.odd(&mut user, "tier", tier);
    draw.odd(&mut user, "preferences", doc! { "theme": "dark", "n": 1.5 });
    let last = draw.moment();
    draw.odd(&mut user, "lastLogin", last);
    user
}

fn plan(draw: &mut Draw, index: u64, _: u64) -> Document {
    let long = if draw.chance(0.1) { 40 } else { 3 };
    let mut plan = doc! {
        "_id": oid("plans", index),
        "userId": user_id(draw.below(USERS)),
        "title": format!(" {} ", draw.text(long)),
        "status": draw.pick(&["Draft", "draft", "In Review", "approved", "archived"]),
        "createdAt": draw.moment(),
        "updatedAt": draw.moment(),
        "viewedBy": draw.references("users", USERS, 2),
        "version": draw.int(1, 9),
    };
    let based = draw.reference("plans", PLANS);
    draw.odd(&mut plan, "basedOn", based);
    let (industry, summary, tags, goals) = (draw.text(1), draw.text(12), draw.words(3), draw.words(3));
    draw.odd(&mut plan, "industry", industry);
    draw.odd(&mut plan, "summary", summary);
    draw.odd(&mut plan, "tags", tags);
    draw.odd(&mut plan, "goals", goals);
    let funding = doc! { "target": draw.ratio(1e3, 1e6), "currency": draw.pick(&["EUR", "USD"]), "round": "seed" };
    draw.odd(&mut plan, "funding", funding);
    let canvas = doc! { "blocks": draw.words(3), "nothing": null };
    draw.odd(&mut plan, "canvas", canvas);
    let public = draw.chance(0.5);
    draw.odd(&mut plan, "isPublic", public);
    plan
}

/// Sections are dealt to the plans in turn. Each has four places of its own, one per revision, so that no two collide.
fn section(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let plan = oid("plans", index % PLANS);
    let plan: Bson = if draw.chance(0.2) { plan.to_hex().into() } else { plan.into() };
    let place = i64::try_from(index / PLANS * 4 + revision % 4).expect("a small number");
    let mut section = doc! {
        "_id": oid("sections", index),
        "planId": plan,
        "title": draw.text(4),
        "kind": draw.pick(&["text", "table", "canvas"]),
        "createdAt": draw.moment(),
        "updatedAt": draw.moment(),
    };
    draw.named(&mut section, &["orderIndex", "order"], place);
    if section.contains_key("order") {
        section.insert("orderIndex", Bson::Null);
    }
    let (content, points) = (draw.text(30), draw.words(4));
    draw.odd(&mut section, "content", content);
    draw.odd(&mut section, "keyPoints", points);
    let ai = doc! { "model": draw.text(1), "tokens": draw.int(1, 4_000) };
    draw.odd(&mut section, "ai", ai);
    let review = doc! { "by": user_id(draw.below(USERS)), "at": draw.moment() };
    draw.odd(&mut section, "review", review);
    section
}

fn pack(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut pack = doc! {
        "_id": oid("research_packs", index),
        "userId": user_id(draw.below(USERS)),
        "topic": draw.text(3),
        "createdAt": draw.moment(),
        "updatedAt": draw.moment(),
    };
    let (plan, keywords, confidence) = (draw.reference("plans", PLANS), draw.words(4), draw.ratio(0.0, 1.0));
    draw.odd(&mut pack, "planId", plan);
    draw.odd(&mut pack, "state", "ready");
    draw.odd(&mut pack, "keywords", keywords);
    draw.odd(&mut pack, "years", vec![2024, 2025]);
    let findings = vec![doc! { "claim": draw.text(5), "sources": draw.words(2) }];
    draw.odd(&mut pack, "findings", findings);
    draw.odd(&mut pack, "confidence", confidence);
    let size: Bson = if draw.chance(0.5) { "1250000.50".into() } else { draw.cents().into() };
    draw.odd(&mut pack, "marketSize", size);
    pack
}

fn model(draw: &mut Draw, index: u64, _: u64) -> Document {
    let years: Vec<Document> = (0..draw.int(0, 5))
        .map(|year| {
            let mut row = doc! { "year": 2025 + year, "revenue": draw.ratio(0.0, 1e6) };
            let (costs, heads) = (draw.ratio(0.0, 1e6), draw.int(1, 90));
            draw.odd(&mut row, "costs", costs);
            draw.odd(&mut row, "headcount", heads);
            row
        })
        .collect();
    let mut model = doc! {
        "_id": oid("financial_models", index),
        "planId": draw.reference("plans", PLANS),
        "name": draw.text(2),
        "scenario": draw.pick(&["base", "optimistic", "pessimistic"]),
        "years": years,
        "createdAt": draw.moment(),
        "updatedAt": draw.moment(),
    };
    let cash = doc! { "opening": draw.ratio(0.0, 1e5) };
    draw.odd(&mut model, "cash", cash);
    draw.odd(&mut model, "assumptions", doc! { "growth": 0.1, "churn": Bson::Null });
    let locked: Bson = draw.pick(&[true.into(), false.into(), "yes".into(), "no".into()]);
    draw.odd(&mut model, "locked", locked);
    model
}

#[tokio::test(flavor = "multi_thread")]
async fn business_plans() {
    let example = Example::start("business_plans", "business_plans", KINDS, 150).await;
    for (table, collection) in [
        ("app.users", "users"),
        ("app.plans", "plans"),
        ("app.sections", "sections"),
        ("app.research_packs", "research_packs"),
        ("app.financial_models", "financial_models"),
    ] {
        example.expect_as_many(table, collection, |_| true).await;
    }
    years(&example).await;
    exact_rows(&example).await;
    places(&example).await;
    odd_values(&example).await;
    example.end(TABLES).await;
}

/// Checks the years of every model, found by model and year.
async fn years(example: &Example) {
    let models = example.documents("financial_models").await;
    let expected = models.iter().flat_map(|model| {
        let id = model.get_object_id("_id").expect("an ObjectId").to_hex();
        let years = model.get_array("years").map(Vec::as_slice).unwrap_or_default();
        years.iter().map(move |year| {
            let year = year.as_document().expect("a document");
            format!(
                "00000000{id} {} {:.2}",
                year.get_i32("year").expect("a year"),
                year.get_f64("revenue").expect("revenue")
            )
        })
    });
    let query = "SELECT replace(model_id::text, '-', '') || ' ' || year || ' ' || revenue FROM app.financial_years";
    example.expect(query, expected).await;
}

async fn exact_rows(example: &Example) {
    let now = mongodb::bson::DateTime::from_millis(1_740_000_000_000);
    let users = example.migration.collection("users");
    let user = doc! {
        "_id": user_id(0), "email": " a@example.org ", "fullName": "Å", "tier": "Legacy", "name": null,
        "profile": { "company": "", "country": "NO", "phone": "  " }, "createdAt": now, "updatedAt": now,
    };
    users.replace_one(doc! { "_id": user_id(0) }, user).await.expect("replace the user");
    let plan = doc! {
        "_id": oid("plans", 0), "userId": user_id(0), "title": format!(" {} ", "x".repeat(130)), "status": "In Review",
        "funding": { "target": 2.675, "round": "seed" }, "createdAt": now, "updatedAt": now, "unknown": { "a": [1] },
    };
    example
        .migration
        .collection("plans")
        .replace_one(doc! { "_id": oid("plans", 0) }, plan)
        .await
        .expect("replace the plan");
    example.agree(&[]).await;
    let id = user_id(0);
    let query = format!(
        "SELECT concat_ws('|', email, full_name, tier, coalesce(company, '-'), coalesce(phone, '-'), preferences, updated_at AT TIME ZONE 'UTC')
         FROM app.users WHERE id = '{id}'"
    );
    example.expect(&query, ["a@example.org|Å|free|-|-|{}|2025-02-19 21:20:00"]).await;
    let query = format!(
        "SELECT concat_ws('|', user_id, length(title), status, target_raise, currency, tags, is_public, extra)
         FROM app.plans WHERE id = '{}'",
        padded(0, "plans")
    );
    // The digits of the double are 2.675: rounded half away from zero, it is 2.68. `funding.round` has no column of its own.
    let expected = format!(
        "{id}|120|in_review|2.68|EUR|{{}}|f|{{\"funding\": {{\"round\": \"seed\"}}, \"unknown\": {{\"a\": [1]}}}}"
    );
    example.expect(&query, [expected]).await;
}

/// Swaps the places of two sections, while `UNIQUE (plan_id, order_index)` is checked at each statement.
async fn places(example: &Example) {
    let ids = [0, 1].map(|index| oid("sections", index));
    let places = async || {
        let query = format!(
            "SELECT order_index::text FROM app.sections WHERE id IN ('{}', '{}') ORDER BY id",
            padded(0, "sections"),
            padded(1, "sections")
        );
        example.migration.texts(&query).await
    };
    for id in ids {
        let place = if id == ids[0] { 900 } else { 901 };
        let update = doc! { "$set": { "planId": oid("plans", 0), "orderIndex": place } };
        example.update("sections", id, update).await;
    }
    example.agree(&[]).await;
    let before = places().await;
    example.swap("sections", ids.map(Bson::ObjectId), &["orderIndex"]).await;
    example.agree(&[]).await;
    let mut after = places().await;
    after.reverse();
    assert_eq!(before, after);
}

/// Writes values that no policy allows: each is a dead letter until the document is fixed.
async fn odd_values(example: &Example) {
    let big: Decimal128 = "99999999999999".parse().expect("a decimal");
    example.update("users", user_id(1), doc! { "$unset": { "name": "", "fullName": "" } }).await;
    example.update("plans", oid("plans", 1), doc! { "$set": { "funding.target": big } }).await;
    example.update("plans", oid("plans", 2), doc! { "$set": { "status": "Lost" } }).await;
    example.update("sections", oid("sections", 2), doc! { "$set": { "planId": 7 } }).await;
    example.agree(&["CHECK", "NOT_NULL", "RANGE_NUM", "TYPE_MISMATCH"]).await;
    example.update("users", user_id(1), doc! { "$set": { "name": "Back" } }).await;
    example.update("plans", oid("plans", 1), doc! { "$set": { "funding.target": 1 } }).await;
    example.update("plans", oid("plans", 2), doc! { "$set": { "status": "approved" } }).await;
    example
        .update("sections", oid("sections", 2), doc! { "$set": { "planId": oid("plans", 0), "orderIndex": 905 } })
        .await;
    example.agree(&[]).await;
    let query = "SELECT count(*) FROM app.users WHERE full_name = 'Back'";
    example.migration.wait_for_number(query, DEADLINE, 1).await;
}
