//! Each break of a proof alone: whether it trips the unit, when, and with which reason.

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::{
    config::ReadsConfig,
    control::{processes::RoleReport, proven::ForeignWrite, reads::Share},
    mapping::target::TableName,
    reconcile::{blockers::tests::ready, facts::CollectionFacts},
    status::Phase,
};

const PATIENCE: Duration = Duration::from_secs(5);
const ALMOST: Duration = Duration::from_millis(4_999);

fn config() -> Config {
    let units = json!({ "people": { "collections": ["users"] }, "work": { "collections": ["plans"] } });
    let reads: ReadsConfig = serde_json::from_value(json!({ "units": units })).expect("a section");
    Config { reads, ..serde_json::from_str("{}").expect("every key has a default") }
}

fn unit(name: &str) -> Unit {
    let units = config().reads.units(&["plans".to_owned(), "users".to_owned()]);
    units.into_iter().find(|unit| unit.name == name).expect("the unit")
}

fn facts() -> Facts {
    let mut facts = ready();
    facts.collections[0].proven.plan = Some("00".to_owned());
    let plans = CollectionFacts { name: "plans".to_owned(), ..facts.collections[0].clone() };
    facts.collections.push(plans);
    facts
}

fn row(unit: &Unit) -> UnitRow {
    let share = Share::of_hundredths(5_000);
    UnitRow { unit: unit.name.clone(), collections: unit.collections.clone(), share, ..UnitRow::default() }
}

type Change = fn(&mut Facts);

fn users(facts: &mut Facts) -> &mut CollectionFacts {
    &mut facts.collections[0]
}

fn report<'a>(facts: &'a mut Facts, role: &str) -> &'a mut RoleReport {
    facts.processes[0].roles.get_mut(role).expect("the role")
}

fn foreign_write(facts: &mut Facts) {
    let write = ForeignWrite {
        table: TableName::new("app", "users"),
        relation: "app.users".to_owned(),
        statements: 1,
        operation: "UPDATE".to_owned(),
        who: "ann".to_owned(),
        application: None,
        at_ms: 0,
    };
    users(facts).foreign_writes.push(write);
}

const MINUTE: Duration = Duration::from_secs(60);

#[rstest]
#[case::nothing(|_: &mut Facts| (), None, None)]
#[case::drift(
    |facts: &mut Facts| users(facts).findings.different = 1,
    Some("users: documents that drift: 1 (0 missing, 0 extra, 1 different)"), Some(0))]
#[case::dead_letter(|facts: &mut Facts| users(facts).dead_letters = 1, Some("users: dead letters open: 1"), Some(0))]
#[case::foreign_write(
    foreign_write,
    Some("users: app.users was written by somebody else: UPDATE by ann at 1970-01-01 00:00:00Z"),
    Some(0)
)]
#[case::v_too_old(
    |facts: &mut Facts| users(facts).proven.verified.as_mut().expect("V").age = MINUTE,
    Some("users: verified as of 60 s ago only, the bound is 30 s"), Some(5))]
#[case::undecided(
    |facts: &mut Facts| {
        users(facts).proven.undecided = 3;
        users(facts).proven.verified.as_mut().expect("V").age = MINUTE;
    },
    Some("users: verified as of 60 s ago only, the bound is 30 s: documents undecided: 3"), Some(5))]
#[case::stale(
    |facts: &mut Facts| users(facts).staleness = Some(jiff::SignedDuration::from_secs(11)),
    Some("users: the target is complete as of 11 s ago only: the source, the log or the sink is away or behind"), Some(5))]
#[case::halted(
    |facts: &mut Facts| *report(facts, "sink") = RoleReport { reason: Some("a right lacks".to_owned()), ..RoleReport::of(Phase::Halted) },
    Some("the sink has halted: a right lacks"), Some(5))]
#[case::snapshot(
    |facts: &mut Facts| users(facts).snapshot_complete = false,
    Some("users: the snapshot is not finished"), Some(5))]
#[case::parked(|facts: &mut Facts| users(facts).parked = 2, Some("users: documents parked: 2"), Some(5))]
#[case::no_such_collection(
    |facts: &mut Facts| users(facts).proven.no_such_collection = true,
    Some("users: the source has no such collection"), Some(5))]
#[case::mapping(
    |facts: &mut Facts| {
        users(facts).proven.baseline = None;
        users(facts).proven.under_another_plan = true;
    },
    Some("users: the mapping has changed since the baseline"), Some(5))]
#[case::baseline(
    |facts: &mut Facts| users(facts).proven.void_because = Some("history was lost".to_owned()),
    Some("users: the baseline no longer counts: history was lost"), Some(5))]
#[case::guard(
    |facts: &mut Facts| users(facts).guard.unbroken = None,
    Some("users: the guard of its tables is younger than the baseline"), Some(5))]
// A role that waits has no effect but on V and staleness.
#[case::stalled(|facts: &mut Facts| report(facts, "sink").phase = Phase::Stalled, None, None)]
#[case::no_process(|facts: &mut Facts| facts.processes.clear(), None, None)]
// Drift of a collection that the unit does not read.
#[case::elsewhere(|facts: &mut Facts| facts.collections[1].dead_letters = 1, None, None)]
fn follows_the_proof(#[case] change: Change, #[case] why: Option<&str>, #[case] after_s: Option<u64>) {
    let unit = unit("people");
    let mut facts = facts();
    change(&mut facts);
    let against = against(&facts, &config(), &unit, &row(&unit)).expect("it can be judged");
    let tripped_after = |lasted| trips(&against, lasted, PATIENCE);
    assert_eq!(tripped_after(PATIENCE).as_deref(), why);
    // Just before, only what is proven trips it.
    assert_eq!(tripped_after(ALMOST).as_deref(), why.filter(|_| after_s == Some(0)));
    assert_eq!(tripped_after(Duration::ZERO).as_deref(), why.filter(|_| after_s == Some(0)));
}

#[test]
fn names_the_worst_first_and_counts_the_rest() {
    let unit = unit("all");
    let mut facts = facts();
    for facts in &mut facts.collections {
        facts.snapshot_complete = false;
        facts.parked = 1;
        facts.dead_letters = 1;
    }
    let against = against(&facts, &config(), &unit, &row(&unit)).expect("it can be judged");
    let why = trips(&against, Duration::ZERO, PATIENCE).expect("it trips");
    let expected =
        "users: dead letters open: 1; plans: dead letters open: 1; users: the snapshot is not finished; and 3 more";
    assert_eq!(why, expected);
}

#[test]
fn what_was_accepted_does_not_trip_and_everything_else_does() {
    let unit = unit("people");
    let mut facts = facts();
    users(&mut facts).dead_letters = 1;
    let found = blockers_of(&facts, &Bounds::of_reads(&config(), &unit), |name| name == "users");
    let forced = UnitRow { accepted: accepted(&found), ..row(&unit) };
    assert_eq!(forced.accepted, ["users dead_letters"]);
    let judged = |facts: &Facts| against(facts, &config(), &unit, &forced).expect("it can be judged");
    assert_eq!(judged(&facts), []);
    users(&mut facts).findings.extra = 1;
    let why = trips(&judged(&facts), Duration::ZERO, PATIENCE);
    assert_eq!(why.as_deref(), Some("users: documents that drift: 1 (0 missing, 1 extra, 0 different)"));
}

#[rstest]
#[case::they_last(|_: &mut Facts| (), 0, &[])]
#[case::one_has_ended(|facts: &mut Facts| users(facts).dead_letters = 0, 0, &["users dead_letters"])]
#[case::both_have_ended(|facts: &mut Facts| *facts = self::facts(), 0, &["users dead_letters", "users verified"])]
#[case::the_facts_are_older_than_the_share(|facts: &mut Facts| *facts = self::facts(), 60, &[])]
#[case::another_has_come(|facts: &mut Facts| users(facts).parked = 1, 0, &[])]
fn what_was_accepted_trips_again_once_it_has_ended(
    #[case] change: Change,
    #[case] age_s: u64,
    #[case] expected: &[&str],
) {
    let unit = unit("people");
    let mut facts = facts();
    users(&mut facts).dead_letters = 1;
    // Too old for the gate alone.
    users(&mut facts).proven.verified.as_mut().expect("V").age = Duration::from_secs(20);
    let found = blockers_of(&facts, &Bounds::of_gate(&config(), &unit), |name| name == "users");
    let forced = UnitRow { accepted: accepted(&found), unchanged_for: MINUTE, ..row(&unit) };
    assert_eq!(forced.accepted, ["users dead_letters", "users verified"]);
    change(&mut facts);
    assert_eq!(ended(&facts, Duration::from_secs(age_s), &config(), &unit, &forced), expected);
    // Nobody has accepted anything else.
    let unforced = UnitRow { accepted: Vec::new(), ..forced };
    assert_eq!(ended(&facts, Duration::ZERO, &config(), &unit, &unforced), [""; 0]);
}

#[test]
fn a_unit_of_other_collections_than_its_share_was_given_for_is_not_proven() {
    let unit = unit("all");
    let before = UnitRow { collections: vec!["users".to_owned()], ..row(&unit) };
    let against = against(&facts(), &config(), &unit, &before).expect("it can be judged");
    assert_eq!(trips(&against, ALMOST, PATIENCE), None);
    let why = trips(&against, PATIENCE, PATIENCE);
    assert_eq!(why.as_deref(), Some("the collections of the unit have changed since it got its share"));
}

#[rstest]
#[case::postgresql_is_away(|facts: &mut Facts| facts.answered = false)]
#[case::the_plan_is_not_compiled_yet(|facts: &mut Facts| users(facts).proven.plan = None)]
#[case::a_collection_is_not_known(|facts: &mut Facts| { facts.collections.remove(0); })]
fn who_does_not_know_does_not_judge(#[case] change: Change) {
    let unit = unit("people");
    let mut facts = facts();
    change(&mut facts);
    assert_eq!(against(&facts, &config(), &unit, &row(&unit)), None);
}
