//! A good file passes; whatever is changed in it is found, even by somebody who computes the digest anew where it contradicts
//! itself then.

use rstest::rstest;
use serde_json::json;

use super::*;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn chunk(place: i64, phase: &str, after: Option<&str>, until: Option<&str>, documents: u64) -> Chunk {
    Chunk {
        place,
        phase: phase.to_owned(),
        after: after.map(str::to_owned),
        until: until.map(str::to_owned),
        as_of: ClusterTime { t: 100 + u32::try_from(place).expect("small"), i: 1 },
        documents,
        findings: 0,
        at: time(100 + place),
    }
}

fn good() -> Evidence {
    let oldest = ClusterTime { t: 100, i: 1 };
    let verified = ClusterTime { t: 190, i: 1 };
    let chunks = vec![
        chunk(0, "documents", None, Some("aa"), 3),
        chunk(1, "documents", Some("aa"), None, 2),
        chunk(2, "ledger", None, None, 5),
        chunk(3, "rows", None, None, 9),
    ];
    let baseline = BaselineEvidence {
        pass: 4,
        began_at: time(99),
        ended_at: time(110),
        oldest: Some(oldest),
        documents: 5,
        chunks,
    };
    let findings = Findings::default().by_kind().into_iter().map(|(kind, count)| (kind.to_owned(), count));
    let users = CollectionEvidence {
        name: "users".to_owned(),
        plan: Some("00".to_owned()),
        snapshot_complete: true,
        verified: Some(verified),
        verified_at: Some(time(195)),
        findings: findings.collect(),
        orphans: BTreeMap::from([("app.users (users_team_fkey)".to_owned(), 0)]),
        baseline: Some(baseline),
        ..CollectionEvidence::default()
    };
    Evidence {
        format: FORMAT,
        driftless: "0.1.0".to_owned(),
        made_at: time(200),
        servers: Servers {
            source: Some("MongoDB 6.0.5".to_owned()),
            target: "PostgreSQL 17.2".to_owned(),
            source_database: "shop".to_owned(),
            target_database: "shop".to_owned(),
        },
        settings: json!({ "source": { "uri": "***" }, "rate": 1.5 }),
        bounds: BoundsRecord { fresh_ms: 15_000, baseline_max_age_ms: 1, max_staleness_ms: 1, oplog_margin_ms: 1 },
        unit: "all".to_owned(),
        ready: true,
        blockers: Vec::new(),
        verified: Some(verified),
        collections: vec![users],
    }
}

fn faults(evidence: &Evidence) -> Vec<String> {
    let (text, _) = evidence.to_file().expect("a file");
    verify(&text, None).expect("it can be read").1
}

#[test]
fn a_good_file_passes_in_any_layout_and_only_with_its_own_digest() {
    let (text, digest) = good().to_file().expect("a file");
    let (evidence, faults) = verify(&text, Some(&digest)).expect("it can be read");
    assert_eq!((evidence, faults), (good(), Vec::new()));
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(verify(&ordered(&value).to_string(), Some(&digest)).expect("it can be read").1, [""; 0]);
    let (_, faults) = verify(&text, Some("00")).expect("it can be read");
    assert_eq!(faults, [format!("this is not the file whose digest was noted: its own is {digest}")]);
}

/// Every value of the file, one after the other, is changed by hand, and every field is removed.
#[test]
fn any_change_by_hand_is_found() {
    let (text, digest) = good().to_file().expect("a file");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    let mut places = Vec::new();
    leaves(&file, String::new(), &mut places);
    assert!(places.len() > 60, "{places:?}");
    for place in &places {
        let mut changed = file.clone();
        let value = changed.pointer_mut(place).expect("a place");
        *value = match &*value {
            Value::Bool(flag) => (!*flag).into(),
            Value::Number(number) => (number.as_f64().expect("a number") + 1.0).into(),
            Value::String(text) => format!("{text}0").into(),
            Value::Null => "x".into(),
            other => panic!("{place} is no leaf: {other}"),
        };
        is_found(&changed, place);
        let mut cut = file.clone();
        let (parent, name) = place.rsplit_once('/').expect("a parent");
        match cut.pointer_mut(parent).expect("a parent") {
            Value::Object(fields) => drop(fields.remove(name)),
            Value::Array(values) => drop(values.remove(name.parse().expect("a number"))),
            other => panic!("{place} has no parent: {other}"),
        }
        is_found(&cut, place);
    }
    assert_eq!(file["digest"], digest);
}

fn is_found(changed: &Value, place: &str) {
    if let Ok((_, faults)) = verify(&changed.to_string(), None) {
        assert!(!faults.is_empty(), "{place}");
    }
}

fn leaves(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| leaves(value, format!("{place}/{name}"), places));
        }
        Value::Array(values) if !values.is_empty() => {
            values.iter().enumerate().for_each(|(at, value)| leaves(value, format!("{place}/{at}"), places));
        }
        Value::Object(_) | Value::Array(_) => {}
        _ => places.push(place),
    }
}

fn users(evidence: &mut Evidence) -> &mut CollectionEvidence {
    &mut evidence.collections[0]
}

fn baseline(evidence: &mut Evidence) -> &mut BaselineEvidence {
    users(evidence).baseline.as_mut().expect("a baseline")
}

fn chunks(evidence: &mut Evidence) -> &mut Vec<Chunk> {
    &mut baseline(evidence).chunks
}

type Change = fn(&mut Evidence);

#[rstest]
#[case::blocked(|e: &mut Evidence| e.blockers.push("users: drift".to_owned()),
    "it says ready although something stands in the way, or the other way round")]
#[case::unit(|e: &mut Evidence| e.verified = None, "V of the unit is not the lowest of its collections")]
#[case::format(|e: &mut Evidence| e.format = 2, "the format is 2, this version reads 1")]
#[case::future(|e: &mut Evidence| users(e).verified_at = Some(time(201)), "users: V is later than the file")]
#[case::timeless(|e: &mut Evidence| users(e).verified_at = None, "users: V and its time are not both there")]
#[case::kinds(|e: &mut Evidence| users(e).findings.retain(|kind, _| kind != "extra"),
    "users: the findings are not those of the kinds missing, extra, different, version, left_out")]
#[case::drift(|e: &mut Evidence| *users(e).findings.get_mut("extra").expect("a kind") = 1,
    "users: it is said to be ready, but findings are open")]
#[case::letters(|e: &mut Evidence| users(e).dead_letters = 1, "users: it is said to be ready, but dead letters are open")]
#[case::orphans(|e: &mut Evidence| users(e).orphans.values_mut().for_each(|orphans| *orphans = 1),
    "users: it is said to be ready, but rows lack their parents")]
#[case::order(|e: &mut Evidence| baseline(e).ended_at = time(201), "users: the times of the baseline are not in order")]
#[case::count(|e: &mut Evidence| baseline(e).documents = 6, "users: the chunks have 5 documents, the baseline says 6")]
#[case::chunk_count(|e: &mut Evidence| chunks(e)[1].documents = 3,
    "users: the chunks have 6 documents, the baseline says 5")]
#[case::oldest(|e: &mut Evidence| chunks(e)[0].as_of.t = 99,
    "users: the oldest read of the baseline is not that of a chunk")]
#[case::hole(|e: &mut Evidence| chunks(e)[1].after = Some("ab".to_owned()),
    "users: chunk 1 does not begin where chunk 0 ended")]
#[case::ends_early(|e: &mut Evidence| chunks(e)[0].until = None, "users: chunk 1 does not begin where chunk 0 ended")]
#[case::begins_late(|e: &mut Evidence| chunks(e)[2].after = Some("01".to_owned()),
    "users: nothing of the ledger up to 01 was looked at")]
#[case::unfinished(|e: &mut Evidence| chunks(e)[3].until = Some("ff".to_owned()),
    "users: nothing of the rows behind ff was looked at")]
#[case::clock(|e: &mut Evidence| chunks(e)[2].at = time(100), "users: chunk 2 was judged before chunk 1")]
#[case::outside(|e: &mut Evidence| chunks(e)[3].at = time(111), "users: chunk 3 was not judged during the baseline")]
#[case::place(|e: &mut Evidence| chunks(e)[3].place = 7, "users: chunk 7 follows chunk 2")]
#[case::no_rows(|e: &mut Evidence| drop(chunks(e).pop()), "users: there is no chunk of the rows")]
fn a_contradiction_is_found_under_a_digest_of_its_own(#[case] change: Change, #[case] fault: &str) {
    let mut evidence = good();
    change(&mut evidence);
    assert_eq!(faults(&evidence), [fault]);
}

#[test]
fn what_is_no_evidence_is_refused_by_name() {
    let refused = |text: &str| verify(text, None).expect_err("it cannot be read");
    assert!(refused("{").starts_with("this is not JSON: "));
    assert_eq!(refused("[]"), "this is no file of evidence: it is not an object");
    assert_eq!(refused("{}"), "there is no digest");
    let (text, _) = good().to_file().expect("a file");
    let more = text.replacen("\"unit\"", "\"more\": 1, \"unit\"", 1);
    assert!(refused(&more).contains("the content was changed") && refused(&more).contains("unknown field `more`"));
}
