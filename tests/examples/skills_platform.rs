//! `config/examples/skills_platform`: one collection to several tables, several collections to one table, arrays nested three
//! deep.

use mongodb::bson::{Binary, Bson, DateTime, Document, doc, spec::BinarySubtype};
use uuid::Uuid;

use crate::{
    draw::{Draw, oid, pair},
    harness::{Example, Kind, hex, kind},
};

/// The namespace of the mapping file.
const NAMESPACE: Uuid = Uuid::from_u128(0x4b0d_3f6e_9c52_4a7b_8e0f_2d1c_5a6b_7e90);
const USERS: u64 = 30;
const TASKS: u64 = 30;
const TABLES: &[&str] = &[
    "identity.users",
    "identity.user_links",
    "identity.connections",
    "identity.push_subscriptions",
    "identity.push_keys",
    "skills.skill_trees",
    "skills.skills",
    "skills.skill_prerequisites",
    "work.tasks",
    "work.task_recurrences",
    "work.checklists",
    "work.checklist_entries",
    "work.task_dependencies",
    "work.task_versions",
    "engagement.momentum",
    "engagement.momentum_days",
    "engagement.streaks",
    "engagement.boosts",
    "engagement.seasons",
    "engagement.objectives",
    "engagement.key_results",
    "engagement.odysseys",
    "engagement.odyssey_stages",
    "engagement.odyssey_milestones",
    "engagement.rewards",
    "engagement.challenges",
    "engagement.challenge_participants",
    "engagement.notifications",
    "integrations.webhooks",
    "integrations.webhook_logs",
    "analytics.page_views",
    "analytics.task_events",
    "analytics.purchases",
    "analytics.purchase_lines",
    "analytics.measurements",
];

pub(crate) static KINDS: &[Kind] = &[
    kind("users", USERS, user, &["roles", "links", "xp", "settings"], &[]),
    kind("connections", 50, connection, &["status", "strength"], &["from", "to"]),
    kind("push_subscriptions", 20, push, &["keys", "expirationTime"], &[]),
    kind("skill_trees", 20, tree, &["owner", "skills", "theme"], &["skills"]),
    kind("tasks", TASKS, task, &["recurrence", "checklists", "dependencies", "due"], &[]),
    kind("task_versions", 30, version, &["editor", "fields"], &["task", "version"]),
    kind("momentum", USERS, momentum, &["daily", "score"], &["user"]),
    kind("streaks", 30, streak, &["count", "last"], &["user", "kind"]),
    kind("boosts", 20, boost, &["factor"], &[]),
    kind("seasons", 8, season, &["endsOn"], &[]),
    kind("objectives", 20, objective, &["season", "keyResults"], &[]),
    kind("odysseys", 15, odyssey, &["stages"], &[]),
    kind("rewards", 20, reward, &["target"], &[]),
    kind("challenges", 15, challenge, &["participants", "rules"], &[]),
    kind("notifications", 30, notification, &["type", "user", "payload"], &[]),
    kind("announcements", 6, announcement, &["links"], &[]),
    kind("webhooks", 10, webhook, &["secret", "headers", "events"], &[]),
    kind("webhook_logs", 40, log, &["response", "durationMs"], &[]),
    kind("analytics_events", 80, event, &["props.referrer"], &["type", "props", "user"]),
    kind("measurements", 60, measurement, &[], &["meta", "timestamp"]),
];

fn uuid5(text: &str) -> String {
    Uuid::new_v5(&NAMESPACE, text.as_bytes()).to_string()
}

fn id(document: &Document) -> String {
    uuid5(&hex(document.get("_id")).expect("an ObjectId"))
}

fn user(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let mut user = doc! {
        "_id": oid("users", index), "username": format!("user{index}.{revision}"),
        "email": format!("u{index}.{revision}@example.org "), "createdAt": draw.moment(), "updatedAt": draw.moment(),
    };
    let links: Document = draw.words(3).into_iter().map(|word| (word, "https://example.org".into())).collect();
    draw.odd(&mut user, "links", links);
    draw.odd(&mut user, "roles", vec!["member", "admin"]);
    draw.odd(&mut user, "xp", 5_000_000_000_i64);
    draw.odd(&mut user, "settings", doc! { "dark": true });
    user
}

fn connection(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let (from, to) = pair(index, revision, USERS);
    let mut connection = doc! {
        // Two separate circles of people, so that nobody is their own friend.
        "_id": oid("connections", index), "from": oid("users", from), "to": oid("users", USERS + to).to_hex(),
    };
    let (status, strength) = (draw.pick(&["pending", "friends", "blocked"]), draw.ratio(0.0, 1.0));
    draw.odd(&mut connection, "status", status);
    draw.odd(&mut connection, "strength", strength);
    let since = draw.moment();
    draw.odd(&mut connection, "since", since);
    connection
}

fn push(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let mut push = doc! {
        "_id": oid("push_subscriptions", index), "user": draw.reference("users", USERS),
        "endpoint": format!("https://push.example.org/{index}/{revision}"),
    };
    let time: Bson = draw.pick(&[1_750_000_000_123_i64.into(), 1_750_000_000_000.0.into()]);
    draw.odd(&mut push, "expirationTime", time);
    let keys = doc! { "p256dh": draw.text(2), "auth": draw.text(1) };
    draw.odd(&mut push, "keys", keys);
    draw.odd(&mut push, "enabled", false);
    push
}

/// The skills of a tree reference each other by `_id`, some of them twice.
fn tree(draw: &mut Draw, index: u64, _: u64) -> Document {
    let amount = draw.below(6);
    let skill = |number: u64| oid("skills", index * 10 + number);
    let skills: Vec<Document> = (0..amount)
        .map(|number| {
            let mut document = doc! { "_id": skill(number), "name": draw.text(2), "color": draw.text(1) };
            let mut before: Vec<_> = (0..number).filter(|_| draw.chance(0.5)).map(skill).collect();
            if draw.chance(0.5) {
                before.extend(before.first().copied());
            }
            draw.odd(&mut document, "prerequisites", before);
            let level = draw.int(0, 100);
            draw.odd(&mut document, "level", level);
            draw.odd(&mut document, "unlocked", true);
            document
        })
        .collect();
    let mut tree = doc! { "_id": oid("skill_trees", index), "name": draw.text(2), "updatedAt": draw.moment() };
    let owner = draw.reference("users", USERS);
    draw.odd(&mut tree, "owner", owner);
    draw.odd(&mut tree, "theme", "forest");
    draw.odd(&mut tree, "skills", skills);
    tree
}

fn task(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut task = doc! {
        "_id": oid("tasks", index), "owner": draw.reference("users", USERS), "title": draw.text(4),
        "createdAt": draw.moment(), "updatedAt": draw.moment(),
    };
    let status = draw.pick(&["todo", "in_progress", "completed", "cancelled", "open"]);
    draw.odd(&mut task, "status", status);
    let priority: Bson = draw.pick(&["low".into(), "normal".into(), "high".into(), 7.into()]);
    draw.odd(&mut task, "priority", priority);
    let recurrence = doc! { "every": draw.int(1, 5), "unit": draw.pick(&["day", "week"]), "until": draw.day() };
    draw.odd(&mut task, "recurrence", recurrence);
    let lists: Vec<Document> = (0..draw.int(0, 3))
        .map(|_| {
            let entries: Vec<_> =
                draw.words(3).into_iter().map(|label| doc! { "label": label, "done": draw.chance(0.5) }).collect();
            let mut list = doc! { "title": draw.text(2) };
            draw.odd(&mut list, "entries", entries);
            list
        })
        .collect();
    draw.odd(&mut task, "checklists", lists);
    let dependencies: Vec<Document> = draw
        .references("tasks", TASKS, 3)
        .into_iter()
        .map(|other| {
            if draw.chance(0.8) {
                doc! { "task": other, "kind": "blocks" }
            } else {
                doc! { "task": null }
            }
        })
        .collect();
    draw.odd(&mut task, "dependencies", dependencies);
    let (due, labels) = (draw.moment(), draw.words(3));
    draw.odd(&mut task, "due", due);
    draw.odd(&mut task, "labels", labels);
    task
}

fn version(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let (task, number) = pair(index, revision, 12);
    let mut version = doc! {
        "_id": oid("task_versions", index), "task": oid("tasks", task), "version": i64::try_from(number).expect("small"),
        "at": draw.moment(),
    };
    let editor = draw.reference("users", USERS);
    draw.odd(&mut version, "editor", editor);
    let fields = doc! { "title": [draw.text(1), draw.text(1)] };
    draw.odd(&mut version, "fields", fields);
    version
}

fn momentum(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut momentum = doc! { "_id": oid("momentum", index), "user": oid("users", index), "updatedAt": draw.moment() };
    let days: Document = (0..draw.int(0, 6))
        .map(|day| {
            (format!("2025-03-{:02}", day + 1), doc! { "points": draw.int(0, 90), "tasks": draw.int(0, 9) }.into())
        })
        .collect();
    draw.odd(&mut momentum, "daily", days);
    let score = draw.ratio(0.0, 10.0);
    draw.odd(&mut momentum, "score", score);
    draw.odd(&mut momentum, "trend", "up");
    momentum
}

fn streak(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let (user, kind) = pair(index, revision, 5);
    let mut streak = doc! { "_id": oid("streaks", index), "user": oid("users", user), "kind": format!("kind {kind}") };
    let (count, best, last) = (draw.int(0, 9), draw.int(9, 99), draw.moment());
    draw.odd(&mut streak, "count", count);
    draw.odd(&mut streak, "best", best);
    draw.odd(&mut streak, "last", last);
    streak
}

fn boost(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut boost = doc! {
        "_id": oid("boosts", index), "user": draw.reference("users", USERS), "kind": draw.text(1),
        "window": { "from": draw.moment(), "to": draw.moment() },
    };
    let factor: Bson = draw.pick(&[1.5.into(), 1.234_567.into(), 1e9.into(), "much".into()]);
    draw.odd(&mut boost, "factor", factor);
    boost
}

fn season(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let number = i64::try_from(index * 1_000 + revision).expect("small");
    let mut season =
        doc! { "_id": oid("seasons", index), "number": number, "title": draw.text(2), "startsOn": draw.day() };
    let end = draw.day();
    draw.odd(&mut season, "endsOn", end);
    season
}

fn objective(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut results: Vec<Document> = (0..draw.int(0, 4))
        .map(|number| doc! { "code": format!("KR{number}"), "target": draw.ratio(1.0, 9.0), "reached": draw.int(0, 9) })
        .collect();
    if draw.chance(0.5) {
        results.reverse();
    }
    let mut objective =
        doc! { "_id": oid("objectives", index), "user": draw.reference("users", USERS), "title": draw.text(3) };
    let season = draw.reference("seasons", 8);
    draw.odd(&mut objective, "season", season);
    draw.odd(&mut objective, "keyResults", results);
    draw.odd(&mut objective, "state", "done");
    objective
}

/// Newer stages have an `_id`, older ones do not.
fn odyssey(draw: &mut Draw, index: u64, _: u64) -> Document {
    let stages: Vec<Document> = (0..draw.below(4))
        .map(|number| {
            let milestones: Vec<_> = draw.words(3).into_iter().map(|name| doc! { "name": name, "reward": 5 }).collect();
            let mut stage = doc! { "title": draw.text(2) };
            if draw.chance(0.5) {
                stage.insert("_id", oid("stages", index * 10 + number));
            }
            draw.odd(&mut stage, "milestones", milestones);
            stage
        })
        .collect();
    let mut odyssey =
        doc! { "_id": oid("odysseys", index), "user": draw.reference("users", USERS), "title": draw.text(2) };
    draw.odd(&mut odyssey, "stages", stages);
    odyssey
}

fn reward(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut reward = doc! {
        "_id": oid("rewards", index), "user": draw.reference("users", USERS), "amount": draw.int(1, 500),
        "for": draw.pick(&["odyssey", "season", "luck"]), "grantedAt": draw.moment(),
    };
    let target = draw.reference("odysseys", 15);
    draw.odd(&mut reward, "target", target);
    reward
}

fn challenge(draw: &mut Draw, index: u64, _: u64) -> Document {
    let from = draw.below(USERS);
    let participants: Vec<Document> = (0..draw.below(5))
        .map(|place| {
            let mut one = doc! { "user": oid("users", (from + place) % USERS) };
            let score = draw.int(0, 99);
            draw.odd(&mut one, "score", score);
            let joined = draw.moment();
            draw.odd(&mut one, "joinedAt", joined);
            one
        })
        .collect();
    let mut challenge = doc! { "_id": oid("challenges", index), "title": draw.text(3) };
    let (creator, closes) = (draw.reference("users", USERS), draw.moment());
    draw.odd(&mut challenge, "creator", creator);
    draw.odd(&mut challenge, "closesAt", closes);
    draw.odd(&mut challenge, "rules", doc! { "max": 3, "odd": f64::NAN });
    draw.odd(&mut challenge, "participants", participants);
    challenge
}

fn notification(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut notification = doc! { "_id": oid("notifications", index), "sentAt": draw.moment() };
    let text = draw.text(6);
    draw.named(&mut notification, &["text", "message"], text);
    let user = draw.reference("users", USERS);
    draw.odd(&mut notification, "user", user);
    let kind = draw.pick(&["mention", "reminder", "poke", "Reminder"]);
    draw.odd(&mut notification, "type", kind);
    draw.odd(&mut notification, "payload", doc! { "n": 1 });
    notification
}

fn announcement(draw: &mut Draw, index: u64, _: u64) -> Document {
    doc! { "_id": oid("announcements", index), "text": draw.text(9), "publishedAt": draw.moment(), "links": draw.words(2) }
}

fn webhook(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut webhook = doc! {
        "_id": oid("webhooks", index), "owner": draw.reference("users", USERS), "url": "https://example.org/hook",
    };
    let secret = Binary { subtype: BinarySubtype::Generic, bytes: draw.text(3).into_bytes() };
    draw.odd(&mut webhook, "secret", secret);
    let events = draw.words(3);
    draw.odd(&mut webhook, "events", events);
    draw.odd(&mut webhook, "headers", doc! { "X-A": "b" });
    let active: Bson = draw.pick(&[true.into(), 0.into(), "on".into()]);
    draw.odd(&mut webhook, "active", active);
    webhook
}

fn log(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut log =
        doc! { "_id": oid("webhook_logs", index), "webhook": draw.reference("webhooks", 10), "at": draw.moment() };
    let status = draw.pick(&[200, 404, 500, 99_999]);
    draw.odd(&mut log, "status", status);
    let millis = draw.ratio(1.0, 900.0);
    draw.odd(&mut log, "durationMs", millis);
    let response = draw.pick(&["ok".to_owned(), "ö".repeat(300), "a\0b".to_owned()]);
    draw.odd(&mut log, "response", response);
    log
}

/// A document may become another kind of event, and so move to another table or to none.
fn event(draw: &mut Draw, index: u64, _: u64) -> Document {
    let mut event =
        doc! { "_id": oid("analytics_events", index), "at": draw.moment(), "user": draw.reference("users", USERS) };
    let kind = draw.pick(&["page_view", "task_created", "task_completed", "purchase", "heartbeat"]);
    let lines: Vec<_> = draw.words(3).into_iter().map(|sku| doc! { "sku": sku, "quantity": 2 }).collect();
    let props = match kind {
        "page_view" => doc! { "path": draw.text(1), "referrer": null },
        "purchase" => doc! { "total": draw.ratio(0.0, 99.0), "lines": lines },
        "heartbeat" => doc! { "path": 1 },
        _ => doc! { "task": draw.reference("tasks", TASKS) },
    };
    event.insert("type", kind);
    event.insert("props", props);
    event
}

fn measurement(draw: &mut Draw, index: u64, revision: u64) -> Document {
    let at = DateTime::from_millis(i64::try_from(1_740_000_000_000 + index * 1_000 + revision % 4).expect("a time"));
    doc! {
        "_id": oid("measurements", index), "meta": { "user": oid("users", index % USERS), "metric": "focus" },
        "timestamp": at, "value": draw.ratio(0.0, 9.0),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skills_platform() {
    let example = Example::start("skills_platform", "skills_platform", KINDS, 200).await;
    for (table, collection) in [
        ("identity.users", "users"),
        ("identity.connections", "connections"),
        ("skills.skill_trees", "skill_trees"),
        ("work.tasks", "tasks"),
        ("work.task_versions", "task_versions"),
        ("engagement.momentum", "momentum"),
        ("engagement.streaks", "streaks"),
        ("analytics.measurements", "measurements"),
        ("integrations.webhook_logs", "webhook_logs"),
    ] {
        example.expect_as_many(table, collection, |_| true).await;
    }
    for (table, kind) in
        [("analytics.page_views", "page_view"), ("analytics.task_events", "task_"), ("analytics.purchases", "purchase")]
    {
        let holds = |event: &Document| event.get_str("type").is_ok_and(|found| found.starts_with(kind));
        example.expect_as_many(table, "analytics_events", holds).await;
    }
    let rows = example.migration.number("SELECT count(*) FROM engagement.notifications").await;
    let told = example.documents("notifications").await.len() + example.documents("announcements").await.len();
    assert_eq!(usize::try_from(rows), Ok(told), "two collections write one table");
    trees(&example).await;
    days(&example).await;
    exact_rows(&example).await;
    kinds_that_change(&example).await;
    keys_that_move(&example).await;
    odd_values(&example).await;
    example.expect("SELECT table_name FROM audit.changes", [""; 0]).await;
    example.end(TABLES).await;
}

/// Checks every skill of every tree, and each of its prerequisites once.
async fn trees(example: &Example) {
    let (mut skills, mut before) = (Vec::new(), Vec::new());
    for tree in example.documents("skill_trees").await {
        let list = tree.get_array("skills").map(Vec::as_slice).unwrap_or_default();
        for (position, skill) in list.iter().enumerate() {
            let skill = skill.as_document().expect("a document");
            let name = skill.get_str("name").expect("a name");
            skills.push(format!("{} {} {position} {name}", id(skill), id(&tree)));
            let needs = skill.get_array("prerequisites").map(Vec::as_slice).unwrap_or_default();
            before.extend(needs.iter().map(|one| format!("{} {}", id(skill), uuid5(&hex(Some(one)).expect("an id")))));
        }
    }
    before.sort();
    before.dedup();
    example.expect("SELECT concat_ws(' ', id, tree_id, position, name) FROM skills.skills", skills).await;
    example.expect("SELECT concat_ws(' ', skill_id, prerequisite_id) FROM skills.skill_prerequisites", before).await;
}

/// Checks the time series inside the documents and the links between people: one row per key.
async fn days(example: &Example) {
    let mut days = Vec::new();
    for momentum in example.documents("momentum").await {
        let user = uuid5(&hex(momentum.get("user")).expect("a user"));
        for (day, points) in momentum.get_document("daily").into_iter().flatten() {
            let points = points.as_document().expect("a document").get_i32("points").expect("points");
            days.push(format!("{user} {day} {points}"));
        }
    }
    example.expect("SELECT concat_ws(' ', user_id, day, points) FROM engagement.momentum_days", days).await;
    let mut links = Vec::new();
    for user in example.documents("users").await {
        links.extend(
            user.get_document("links").into_iter().flatten().map(|(network, _)| format!("{} {network}", id(&user))),
        );
    }
    example.expect("SELECT concat_ws(' ', user_id, network) FROM identity.user_links", links).await;
}

async fn exact_rows(example: &Example) {
    let odyssey = doc! {
        "_id": oid("odysseys", 0), "user": oid("users", 0), "title": "West",
        "stages": [
            { "_id": oid("stages", 0), "title": "One", "milestones": [{ "name": "a", "reward": 1 }, { "name": "b" }] },
            { "title": "Two", "milestones": [{ "name": "c" }] },
        ],
    };
    let odysseys = example.migration.collection("odysseys");
    odysseys.replace_one(doc! { "_id": oid("odysseys", 0) }, odyssey).await.expect("replace the odyssey");
    let reward = |why: &str| doc! { "$set": { "for": why, "target": oid("odysseys", 0) } };
    example.update("rewards", oid("rewards", 0), reward("odyssey")).await;
    example.update("rewards", oid("rewards", 1), reward("season")).await;
    example.update("boosts", oid("boosts", 0), doc! { "$set": { "factor": 1.235 } }).await;
    example.update("boosts", oid("boosts", 1), doc! { "$set": { "factor": "much" } }).await;
    let log = doc! { "$set": { "status": 99_999, "durationMs": 1.5, "response": "ö".repeat(300) } };
    example.update("webhook_logs", oid("webhook_logs", 0), log).await;
    let log = doc! { "$set": { "status": 200, "durationMs": -2.5, "response": "a\0b" } };
    example.update("webhook_logs", oid("webhook_logs", 1), log).await;
    example
        .update(
            "push_subscriptions",
            oid("push_subscriptions", 0),
            doc! { "$set": { "expirationTime": 1_750_000_000_123_i64 } },
        )
        .await;
    example.update("notifications", oid("notifications", 0), doc! { "$set": { "type": "poke" } }).await;
    example.agree(&[]).await;

    let root = uuid5(&oid("odysseys", 0).to_hex());
    let below =
        |key: &str| Uuid::new_v5(&root.parse().expect("a UUID"), format!("stages/{key}").as_bytes()).to_string();
    let (one, two) = (below(&format!("oid:{}", oid("stages", 0).to_hex())), below("index:1"));
    let query = format!(
        "SELECT concat_ws(' ', id, position, title) FROM engagement.odyssey_stages WHERE odyssey_id = '{root}'"
    );
    example.expect(&query, [format!("{one} 0 One"), format!("{two} 1 Two")]).await;
    let query = format!(
        "SELECT concat_ws(' ', stage_id, position, odyssey_title, stage_title, name, coalesce(reward, 0))
         FROM engagement.odyssey_milestones WHERE stage_id IN ('{one}', '{two}')"
    );
    let rows = [format!("{one} 0 West One a 1"), format!("{one} 1 West One b 0"), format!("{two} 0 West Two c 0")];
    example.expect(&query, rows).await;

    let row = async |query: &str, collection: &str, index: u64, expected: &str| {
        let id = uuid5(&oid(collection, index).to_hex());
        example.expect(&format!("{query} WHERE id = '{id}'"), [expected]).await;
    };
    row("SELECT odyssey_id || ' ' || currency FROM engagement.rewards", "rewards", 0, &format!("{root} points")).await;
    row("SELECT coalesce(odyssey_id::text, 'none') FROM engagement.rewards", "rewards", 1, "none").await;
    row("SELECT factor::text FROM engagement.boosts", "boosts", 0, "1.24").await;
    row("SELECT factor::text FROM engagement.boosts", "boosts", 1, "1.00").await;
    let query = "SELECT (expires_at AT TIME ZONE 'UTC')::text FROM identity.push_subscriptions";
    row(query, "push_subscriptions", 0, "2025-06-15 15:06:40.123").await;
    row("SELECT kind::text FROM engagement.notifications", "notifications", 0, "other").await;
    for (index, expected) in [(0, "32767 2 200".to_owned()), (1, "200 -3 3".to_owned())] {
        let query = format!(
            "SELECT concat_ws(' ', status, millis, length(response)) FROM integrations.webhook_logs WHERE id = '\\x{}'",
            oid("webhook_logs", index).to_hex()
        );
        example.expect(&query, [expected]).await;
    }
}

/// Checks that an event that becomes another kind leaves its old table with all its lines.
async fn kinds_that_change(example: &Example) {
    let event = oid("analytics_events", 0);
    let id = uuid5(&event.to_hex());
    let places = async || {
        let mut places = Vec::new();
        for (table, column) in
            [("page_views", "id"), ("task_events", "id"), ("purchases", "id"), ("purchase_lines", "purchase_id")]
        {
            let query = format!("SELECT count(*) FROM analytics.{table} WHERE {column} = '{id}'");
            places.push(example.migration.number(&query).await);
        }
        places
    };
    let purchase = doc! { "total": 1, "lines": [{ "sku": "a" }, { "sku": "b" }] };
    for (kind, props, expected) in [
        ("purchase", purchase.clone(), [0, 0, 1, 2]),
        ("page_view", doc! { "path": "/" }, [1, 0, 0, 0]),
        ("task_created", doc! { "task": oid("tasks", 0) }, [0, 1, 0, 0]),
        ("purchase", purchase, [0, 0, 1, 2]),
        ("heartbeat", doc! {}, [0, 0, 0, 0]),
    ] {
        example.update("analytics_events", event, doc! { "$set": { "type": kind, "props": props } }).await;
        example.settle().await;
        assert_eq!(places().await, expected, "{kind}");
    }
    example.agree(&[]).await;
}

/// Swaps friends, moves a unique name to another person, and moves a skill to another tree.
async fn keys_that_move(example: &Example) {
    let connections = [0, 1].map(|index| Bson::ObjectId(oid("connections", index)));
    example.swap("connections", connections, &["from", "to"]).await;
    let users = [0, 1].map(|index| Bson::ObjectId(oid("users", index)));
    example.swap("users", users, &["username", "email"]).await;
    let skill = doc! { "_id": oid("skills", 777), "name": "Walks", "prerequisites": [oid("skills", 1)] };
    let set = |skills: Vec<Document>| doc! { "$set": { "skills": skills } };
    example.update("skill_trees", oid("skill_trees", 0), set(vec![skill.clone()])).await;
    example.update("skill_trees", oid("skill_trees", 1), set(vec![])).await;
    example.agree(&[]).await;
    let mut session = example.migration.mongo.start_session().await.expect("start a session");
    session.start_transaction().await.expect("start a transaction");
    let trees = example.migration.collection("skill_trees");
    for (index, skills) in [(0, vec![]), (1, vec![skill])] {
        let filter = doc! { "_id": oid("skill_trees", index) };
        trees.update_one(filter, set(skills)).session(&mut session).await.expect("move the skill");
    }
    session.commit_transaction().await.expect("commit the transaction");
    example.agree(&[]).await;
    let query = format!("SELECT tree_id::text FROM skills.skills WHERE id = '{}'", uuid5(&oid("skills", 777).to_hex()));
    example.expect(&query, [uuid5(&oid("skill_trees", 1).to_hex())]).await;
}

async fn odd_values(example: &Example) {
    let user = oid("users", 2);
    let twice = vec![doc! { "user": user }, doc! { "user": user.to_hex() }];
    example.update("challenges", oid("challenges", 0), doc! { "$set": { "participants": twice } }).await;
    example.update("tasks", oid("tasks", 0), doc! { "$set": { "dependencies": "none" } }).await;
    example.update("users", user, doc! { "$set": { "username": "x".repeat(41) } }).await;
    example.agree(&["TOO_LONG", "TYPE_MISMATCH", "UNIQUE_CONFLICT"]).await;
    example.update("challenges", oid("challenges", 0), doc! { "$pop": { "participants": 1 } }).await;
    example.update("tasks", oid("tasks", 0), doc! { "$unset": { "dependencies": "" } }).await;
    example.update("users", user, doc! { "$set": { "username": "short" } }).await;
    example.agree(&[]).await;
}
