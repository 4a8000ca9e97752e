//! `config/examples/learning`: rows keyed by two references, which follow their documents when either of them changes.

use mongodb::bson::{Bson, DateTime, Document, doc};
use uuid::Uuid;

use crate::{
    draw::{Draw, oid, pair},
    harness::{Example, Kind, hex},
};

/// Returns the id of a document's row: UUID version 5 of the id's hex digits, in the namespace of the mapping file.
fn root_id(hex: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, hex.as_bytes()).to_string()
}

const LEARNERS: u64 = 40;
const KCS: u64 = 30;
const ITEMS: u64 = 40;
const TABLES: &[&str] = &[
    "learning.learners",
    "learning.knowledge_components",
    "learning.items",
    "learning.item_kcs",
    "learning.learner_kc_states",
    "learning.attempts",
    "learning.sessions",
    "learning.study_plans",
    "learning.badge_awards",
];

pub(crate) static KINDS: &[Kind] = &[
    Kind {
        name: "users",
        documents: LEARNERS,
        make: user,
        optional: &["profile", "gamification", "consent"],
        joint: &[],
    },
    Kind {
        name: "knowledge_components",
        documents: KCS,
        make: component,
        optional: &["parent", "retired"],
        joint: &[],
    },
    Kind { name: "items", documents: ITEMS, make: item, optional: &["choices", "timeLimit", "releasedOn"], joint: &[] },
    Kind { name: "item_kc_map", documents: 80, make: item_kc, optional: &["weight"], joint: &["item", "kc"] },
    Kind {
        name: "learner_kc_state",
        documents: 100,
        make: state,
        optional: &["mastery", "lastSeen", "history"],
        joint: &["learner", "kc"],
    },
    Kind { name: "attempts", documents: 60, make: attempt, optional: &["score", "response", "hintsUsed"], joint: &[] },
    Kind { name: "sessions", documents: 40, make: session, optional: &["endedAt", "client", "items"], joint: &[] },
    Kind {
        name: "study_plans",
        documents: LEARNERS,
        make: study_plan,
        optional: &["goals", "dueOn"],
        joint: &["learner"],
    },
    Kind {
        name: "badge_awards",
        documents: 40,
        make: award,
        optional: &["reason", "revoked"],
        joint: &["learner", "badge"],
    },
];

fn user(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let mut user = doc! {
        "_id": oid("users", index), "email": format!("l{index}-{revision}@example.org"), "createdAt": draw.moment(),
    };
    let born: Bson = if draw.chance(0.5) { draw.day_text().into() } else { draw.day().into() };
    let mut profile = doc! { "firstName": draw.text(1), "lastName": draw.text(1) };
    draw.odd(&mut profile, "bornOn", born);
    let interests = draw.words(3);
    draw.odd(&mut profile, "interests", interests);
    draw.odd(&mut profile, "country", "NL");
    draw.odd(&mut user, "profile", profile);
    let mut game = doc! { "xp": draw.int(0, 9_000) };
    let streak = doc! { "current": draw.int(0, 9), "longest": draw.int(9, 99), "lastActive": draw.moment() };
    draw.odd(&mut game, "streak", streak);
    let badges = vec![doc! { "name": draw.text(1), "at": draw.moment() }];
    draw.odd(&mut game, "badges", badges);
    let level = draw.int(1, 20);
    draw.odd(&mut game, "level", level);
    draw.odd(&mut user, "gamification", game);
    draw.odd(&mut user, "consent", true);
    user
}

fn component(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let mut component = doc! {
        "_id": oid("knowledge_components", index), "slug": format!("kc-{index}-{revision}"), "name": draw.text(3),
        "difficulty": draw.ratio(0.0, 1.0),
    };
    let parent = draw.reference("knowledge_components", KCS);
    draw.odd(&mut component, "parent", parent);
    let examples = draw.words(3);
    draw.odd(&mut component, "examples", examples);
    draw.odd(&mut component, "retired", true);
    component
}

fn item(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let mut item = doc! {
        "_id": oid("items", index), "code": format!("item-{index}-{revision}"), "stem": draw.text(9),
        "kind": draw.pick(&["mcq", "multi", "open", "single_choice"]),
    };
    let choices: Vec<Document> = draw.words(4).into_iter().map(|text| doc! { "text": text }).collect();
    draw.odd(&mut item, "choices", choices);
    let answer: Bson = draw.pick(&[1.into(), "b".into(), vec![1, 2].into()]);
    draw.odd(&mut item, "answer", answer);
    let seconds: Bson = draw.pick(&[30.into(), "45".into(), 60.0.into()]);
    draw.odd(&mut item, "timeLimit", doc! { "seconds": seconds });
    let day = draw.day_text();
    draw.odd(&mut item, "releasedOn", day);
    item
}

fn item_kc(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let (item, kc) = pair(index, revision, KCS);
    let mut link = doc! {
        "_id": oid("item_kc_map", index), "item": oid("items", item), "kc": oid("knowledge_components", kc).to_hex(),
    };
    let weight = draw.ratio(0.0, 1.0);
    draw.odd(&mut link, "weight", weight);
    link
}

fn state(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let (learner, kc) = pair(index, revision, KCS);
    let mut state = doc! {
        "_id": oid("learner_kc_state", index), "learner": oid("users", learner), "kc": oid("knowledge_components", kc),
        "attempts": draw.pick(&[1, 7, 1_000_000]),
    };
    let (mastery, seen, next) = (draw.ratio(0.0, 1.0), draw.moment(), draw.day());
    draw.odd(&mut state, "mastery", mastery);
    draw.odd(&mut state, "lastSeen", seen);
    draw.odd(&mut state, "nextReview", next);
    let history = vec![doc! { "at": draw.moment(), "p": draw.ratio(0.0, 1.0) }];
    draw.odd(&mut state, "history", history);
    state
}

fn attempt(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut attempt = doc! {
        "_id": oid("attempts", index), "learner": draw.reference("users", LEARNERS),
        "item": draw.reference("items", ITEMS), "correct": draw.pick::<Bson>(&[true.into(), 0.into(), "yes".into()]),
    };
    let at = draw.moment();
    draw.named(&mut attempt, &["answeredAt", "timestamp"], at);
    let score = draw.ratio(0.0, 1.0);
    draw.odd(&mut attempt, "score", score);
    draw.odd(&mut attempt, "response", doc! { "chosen": 2, "ms": 1200_i64 });
    draw.odd(&mut attempt, "hintsUsed", 1);
    attempt
}

fn session(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut session = doc! {
        "_id": oid("sessions", index), "learner": draw.reference("users", LEARNERS), "startedAt": draw.moment(),
        "items": draw.references("items", ITEMS, 4),
    };
    let end = draw.moment();
    draw.odd(&mut session, "endedAt", end);
    draw.odd(&mut session, "client", doc! { "device": "tablet" });
    session
}

fn study_plan(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut plan = doc! { "_id": oid("study_plans", index), "learner": oid("users", index) };
    let goals = draw.words(3);
    draw.odd(&mut plan, "goals", goals);
    let due: Bson = draw.pick(&["2026-05-01".into(), "soon".into(), DateTime::from_millis(0).into()]);
    draw.odd(&mut plan, "dueOn", due);
    plan
}

fn award(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let (learner, badge) = pair(index, revision, 8);
    let mut award = doc! {
        "_id": oid("badge_awards", index), "learner": oid("users", learner), "badge": format!("badge {badge}"),
        "awardedAt": draw.moment(), "revoked": draw.chance(0.2),
    };
    let reason = draw.text(4);
    draw.odd(&mut award, "reason", reason);
    award
}

#[tokio::test(flavor = "multi_thread")]
async fn learning() {
    let example = Example::start("learning", "learning", KINDS, 150).await;
    for (table, collection) in [
        ("learning.learners", "users"),
        ("learning.knowledge_components", "knowledge_components"),
        ("learning.items", "items"),
        ("learning.item_kcs", "item_kc_map"),
        ("learning.learner_kc_states", "learner_kc_state"),
        ("learning.attempts", "attempts"),
        ("learning.sessions", "sessions"),
        ("learning.study_plans", "study_plans"),
    ] {
        example.expect_as_many(table, collection, |_| true).await;
    }
    let kept = |award: &Document| !award.get_bool("revoked").unwrap_or(false);
    example.expect_as_many("learning.badge_awards", "badge_awards", kept).await;
    pairs(&example, "item_kc_map", ["item", "kc"], "SELECT item_id || ' ' || kc_id FROM learning.item_kcs").await;
    let query = "SELECT learner_id || ' ' || kc_id FROM learning.learner_kc_states";
    pairs(&example, "learner_kc_state", ["learner", "kc"], query).await;
    tree(&example).await;
    exact_rows(&example).await;
    keys_that_move(&example).await;
    odd_values(&example).await;
    example.end(TABLES).await;
}

async fn pairs(example: &Example, collection: &str, fields: [&str; 2], query: &str) {
    let expected: Vec<_> = example
        .documents(collection)
        .await
        .iter()
        .map(|document| fields.map(|field| root_id(&hex(document.get(field)).expect("a reference"))).join(" "))
        .collect();
    example.expect(query, expected).await;
}

/// Checks that every component is below the parent that its document names.
async fn tree(example: &Example) {
    let components = example.documents("knowledge_components").await;
    let expected = components.iter().map(|component| {
        let parent = hex(component.get("parent")).map_or("-".to_owned(), |parent| root_id(&parent));
        format!("{} {parent}", root_id(&hex(component.get("_id")).expect("an id")))
    });
    let query = "SELECT id || ' ' || coalesce(parent_kc_id::text, '-') FROM learning.knowledge_components";
    example.expect(query, expected).await;
}

async fn exact_rows(example: &Example) {
    // Computed elsewhere: uuid5(NAMESPACE_DNS, "507f1f77bcf86cd799439011").
    let known: mongodb::bson::oid::ObjectId = "507f1f77bcf86cd799439011".parse().expect("an ObjectId");
    let last = DateTime::from_millis(1_735_689_599_999);
    let learner = doc! {
        "_id": known, "email": "known@example.org", "createdAt": last,
        "profile": { "firstName": "Ada", "bornOn": "2011-04-30", "interests": ["a", 1] },
        "gamification": { "xp": 5, "streak": { "current": 2, "lastActive": last }, "badges": [] },
    };
    example.migration.collection("users").insert_one(learner).await.expect("insert the learner");
    let (first, second) = (oid("items", 0), oid("items", 1));
    let session = doc! {
        "_id": known, "learner": known.to_hex().to_uppercase(), "startedAt": last, "items": [first, second.to_hex()],
    };
    example.migration.collection("sessions").insert_one(session).await.expect("insert the session");
    example.agree(&[]).await;
    let query = "SELECT concat_ws('|', id, first_name, coalesce(last_name, '-'), born_on, interests, xp, level,
        streak_current, streak_longest, last_active_on, badges, consent) FROM learning.learners WHERE email = 'known@example.org'";
    let id = root_id("507f1f77bcf86cd799439011");
    let row = format!("{id}|Ada|-|2011-04-30|[\"a\",1]|5|1|2|0|2024-12-31|[]|f");
    example.expect(query, [row]).await;
    let query = format!(
        "SELECT concat_ws('|', held_on, first_item, item_ids) FROM learning.sessions WHERE learner_id = '{id}'"
    );
    let (first, second) = (root_id(&first.to_hex()), root_id(&second.to_hex()));
    example.expect(&query, [format!("2024-12-31|{first}|{{{first},{second}}}")]).await;
}

/// Changes a key of two references, swaps one between two documents, and takes one over from a deleted document.
async fn keys_that_move(example: &Example) {
    let id = |index| oid("learner_kc_state", index);
    let far =
        |index: u64| Uuid::new_v5(&Uuid::NAMESPACE_X500, &index.to_be_bytes()).simple().to_string()[..24].to_owned();
    let states = example.migration.collection("learner_kc_state");
    let rows = async || {
        let query = format!(
            "SELECT learner_id || ' ' || attempts FROM learning.learner_kc_states WHERE kc_id = '{}'",
            root_id(&far(9))
        );
        let mut rows: Vec<_> = example.migration.texts(&query).await.into_iter().flatten().collect();
        rows.sort();
        rows
    };
    let expected = |rows: [(u64, i32); 2]| {
        let mut rows = rows.map(|(learner, attempts)| format!("{} {attempts}", root_id(&far(learner))));
        rows.sort();
        rows
    };
    for (index, learner) in [(0, 1), (1, 2)] {
        let attempts = if index == 0 { 10 } else { 20 };
        let update = doc! { "$set": { "learner": far(learner), "kc": far(9), "attempts": attempts } };
        example.update("learner_kc_state", id(index), update).await;
    }
    example.agree(&[]).await;
    assert_eq!(rows().await, expected([(1, 10), (2, 20)]));
    example.swap("learner_kc_state", [id(0).into(), id(1).into()], &["learner"]).await;
    example.agree(&[]).await;
    assert_eq!(rows().await, expected([(2, 10), (1, 20)]));
    // The first document is deleted; the second takes its key, and another document takes the second's.
    states.delete_one(doc! { "_id": id(0) }).await.expect("delete a state");
    example.update("learner_kc_state", id(1), doc! { "$set": { "learner": far(2) } }).await;
    let update = doc! { "$set": { "learner": far(1), "kc": far(9), "attempts": 30 } };
    example.update("learner_kc_state", id(2), update).await;
    example.agree(&[]).await;
    assert_eq!(rows().await, expected([(2, 20), (1, 30)]));
    example.update("badge_awards", oid("badge_awards", 0), doc! { "$set": { "revoked": true } }).await;
    example.agree(&[]).await;
    let query = "SELECT count(*) FROM learning.badge_awards WHERE badge = 'badge 77'";
    example
        .update("badge_awards", oid("badge_awards", 0), doc! { "$set": { "revoked": false, "badge": "badge 77" } })
        .await;
    example.agree(&[]).await;
    assert_eq!(example.migration.number(query).await, 1);
}

async fn odd_values(example: &Example) {
    example.update("users", oid("users", 0), doc! { "$set": { "profile.bornOn": "2011-02-30" } }).await;
    example.update("items", oid("items", 0), doc! { "$set": { "kind": "riddle" } }).await;
    example.update("item_kc_map", oid("item_kc_map", 0), doc! { "$unset": { "kc": "" } }).await;
    example.update("attempts", oid("attempts", 0), doc! { "$set": { "correct": "maybe" } }).await;
    example.agree(&["CHECK", "NOT_NULL", "TYPE_MISMATCH", "TYPE_MISMATCH"]).await;
    example.update("users", oid("users", 0), doc! { "$set": { "profile.bornOn": "2012-02-29" } }).await;
    example.update("items", oid("items", 0), doc! { "$set": { "kind": "open" } }).await;
    let kc = oid("knowledge_components", 999);
    example.update("item_kc_map", oid("item_kc_map", 0), doc! { "$set": { "kc": kc } }).await;
    example.update("attempts", oid("attempts", 0), doc! { "$set": { "correct": "no" } }).await;
    example.agree(&[]).await;
}
