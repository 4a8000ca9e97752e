//! Each blocker alone, with its text and its next step.

use std::collections::BTreeMap;

use rstest::rstest;

use super::*;
use crate::{
    control::proven::{Complete, Guarded, ProofRow},
    mapping::target::TableName,
    model::ClusterTime,
    reconcile::facts::{Baseline, Guard, Progress},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn at(t: u32) -> ClusterTime {
    ClusterTime { t, i: 1 }
}

fn role(phase: Phase) -> RoleReport {
    RoleReport::of(phase)
}

/// Facts of a unit that is ready.
pub(crate) fn ready() -> Facts {
    let led = Led { server: "MongoDB 6.0.5".to_owned(), oldest: Some(at(0)), whole: false, position: Some(at(7_200)) };
    let source = RoleReport { facts: Some(led), ..role(Phase::Running) };
    let roles = [("source", source), ("sink", role(Phase::Running)), ("reconciler", role(Phase::Running))];
    let process = Process {
        instance: "one".to_owned(),
        version: "1".to_owned(),
        roles: roles.into_iter().map(|(name, role)| (name.to_owned(), role)).collect(),
    };
    let baseline = Baseline {
        pass: 1,
        began_at: Timestamp::UNIX_EPOCH,
        age: HOUR,
        ended_at: Timestamp::UNIX_EPOCH,
        oldest: Some(at(1)),
        documents: 10,
    };
    let verified = Verified { frontier: at(7_199), at: Timestamp::UNIX_EPOCH, age: Duration::from_secs(2) };
    let users = CollectionFacts {
        name: "users".to_owned(),
        snapshot_complete: true,
        staleness: Some(SignedDuration::from_secs(1)),
        proven: Proven { baseline: Some(baseline), verified: Some(verified), ..Proven::default() },
        guard: Guard { unbroken: Some(2 * HOUR), ..Guard::default() },
        ..CollectionFacts::default()
    };
    Facts { answered: true, collections: vec![users], processes: vec![process], shadow: Vec::new() }
}

fn bounds(gate: bool) -> Bounds {
    Bounds {
        fresh: MINUTE,
        baseline_max_age: 24 * HOUR,
        max_staleness: Duration::from_secs(10),
        gate: gate.then_some(GateBounds { oplog_margin: HOUR }),
    }
}

type Change = fn(&mut Facts);

fn users(facts: &mut Facts) -> &mut CollectionFacts {
    &mut facts.collections[0]
}

fn report<'a>(facts: &'a mut Facts, role: &str) -> &'a mut RoleReport {
    facts.processes[0].roles.get_mut(role).expect("the role")
}

fn led(facts: &mut Facts) -> &mut Led {
    report(facts, "source").facts.as_mut().expect("the leader")
}

fn waits(reason: &str, hint: Option<&str>) -> Option<Waits> {
    Some(Waits { reason: reason.to_owned(), hint: hint.map(str::to_owned) })
}

fn write(statements: u64) -> ForeignWrite {
    ForeignWrite {
        table: TableName::new("app", "users"),
        relation: "app.users".to_owned(),
        statements,
        operation: "UPDATE".to_owned(),
        who: "alice".to_owned(),
        application: Some("psql".to_owned()),
        at_ms: 0,
    }
}

fn reference(looked_ms: Option<i64>, orphans: u64) -> Reference {
    Reference {
        table: TableName::new("app", "users"),
        relation: "app.users".to_owned(),
        constraint: "users_team_fkey".to_owned(),
        parent_table: TableName::new("app", "teams"),
        parent: "app.teams".to_owned(),
        waits_for: None,
        looked_ms,
        orphans,
    }
}

#[test]
fn nothing_stands_against_what_is_proven() {
    assert_eq!(blockers(&ready(), &bounds(true)), []);
    assert_eq!(blockers(&ready(), &bounds(false)), []);
}

#[rstest]
#[case::away(
    |facts: &mut Facts| facts.answered = false,
    Kind::Unreachable,
    "PostgreSQL has not answered, or has refused; next: `driftless status` has the reason; bring it back, or correct `sink.url` and restart")]
#[case::unknown(
    |facts: &mut Facts| facts.collections.clear(),
    Kind::Unreachable, "no collection is known yet; next: wait until the target has been read")]
#[case::no_sink(
    |facts: &mut Facts| drop(facts.processes[0].roles.remove("sink")),
    Kind::Role, "no process runs the sink; next: start one: `driftless run --role sink`")]
#[case::standby(
    |facts: &mut Facts| report(facts, "source").phase = Phase::Standby,
    Kind::Role, "the source is on standby in every process; next: wait until it runs in one of them")]
#[case::starting(
    |facts: &mut Facts| report(facts, "sink").phase = Phase::Starting,
    Kind::Role, "the sink is starting; next: wait until it runs in one of them")]
#[case::stalled(
    |facts: &mut Facts| *report(facts, "sink") = RoleReport { reason: Some("a lock".to_owned()), ..role(Phase::Stalled) },
    Kind::Role, "the sink stalls: a lock; next: bring back what one waits for; it goes on by itself")]
#[case::halted(
    |facts: &mut Facts| *report(facts, "reconciler") = RoleReport { reason: Some("a fault".to_owned()), ..role(Phase::Halted) },
    Kind::Halted, "the reconciler has halted: a fault; next: follow the hint in the status of one, then restart it")]
#[case::snapshot(
    |facts: &mut Facts| users(facts).snapshot_complete = false,
    Kind::Snapshot, "users: the snapshot is not finished; next: wait; `driftless snapshot status` shows the progress")]
#[case::paused(
    |facts: &mut Facts| { users(facts).snapshot_complete = false; users(facts).snapshot_paused = true; },
    Kind::Snapshot, "users: the snapshot is paused; next: `driftless snapshot resume users`")]
#[case::stale(
    |facts: &mut Facts| users(facts).staleness = Some(SignedDuration::from_secs(11)),
    Kind::Staleness,
    "users: the target is complete as of 11 s ago only: the source, the log or the sink is away or behind; next: look for a role \
     that waits, and at `Where it waits` in the dashboard Internals")]
#[case::findings(
    |facts: &mut Facts| users(facts).findings = Findings { missing: 2, version: 1, ..Findings::default() },
    Kind::Drift,
    "users: documents that drift: 3 (2 missing, 0 extra, 0 different, 1 with a wrong version); next: `driftless repair \
     --collection users --dry-run` lists them and what a repair would do; find the cause first")]
#[case::letters(
    |facts: &mut Facts| users(facts).dead_letters = 4,
    Kind::DeadLetters, "users: dead letters open: 4; next: `driftless dlq list --collection users --group` shows the reasons")]
#[case::parked(
    |facts: &mut Facts| users(facts).parked = 5,
    Kind::Parked,
    "users: documents parked: 5; next: `driftless dlq list --collection users --state parked` shows what they wait for")]
#[case::more_findings_than_are_kept(
    |facts: &mut Facts| users(facts).findings = Findings { missing: 3, left_out: 4, ..Findings::default() },
    Kind::Drift,
    "users: documents that drift: 7 (3 missing, 0 extra, 0 different, 4 beyond those that are kept); next: `driftless repair \
     --collection users --dry-run` lists them and what a repair would do; find the cause first")]
#[case::what_was_kept_is_repaired(
    |facts: &mut Facts| users(facts).findings.left_out = 4,
    Kind::Drift,
    "users: differences beyond the findings that were kept: 4; next: wait for the next baseline, which begins by itself and \
     names them")]
#[case::misnamed(
    |facts: &mut Facts| users(facts).proven.no_such_collection = true,
    Kind::NoSuchCollection,
    "users: the source has no such collection; next: correct its name, or set `may_be_empty = true` in the mapping if that is \
     meant")]
#[case::no_baseline(
    |facts: &mut Facts| users(facts).proven = Proven::default(),
    Kind::Baseline,
    "users: not everything has been compared yet under the present mapping; next: wait for the baseline, which the reconciler \
     begins by itself")]
#[case::baseline_running(
    |facts: &mut Facts| users(facts).proven = Proven {
        baseline_running: Some(
            Progress { pass: 1, age: MINUTE, phase: None, documents: 7, estimate: Some(9), work: 7, expected: Some(30) }
        ),
        ..Proven::default()
    },
    Kind::Baseline,
    "users: not everything has been compared yet under the present mapping; next: wait: the baseline under way has compared 7 \
     documents of about 9")]
#[case::baseline_waits(
    |facts: &mut Facts| users(facts).proven = Proven { waits_for: waits("the sink is behind", None), ..Proven::default() },
    Kind::Baseline,
    "users: not everything has been compared yet under the present mapping: the sink is behind; next: wait for the baseline, \
     which the reconciler begins by itself")]
#[case::the_first_baseline_needs_somebody(
    |facts: &mut Facts| users(facts).proven = Proven { baseline_waits_for: waits("no right", Some("GRANT it")), ..Proven::default() },
    Kind::Baseline,
    "users: not everything has been compared yet under the present mapping: no right; next: GRANT it")]
#[case::the_next_baseline_needs_somebody(
    |facts: &mut Facts| users(facts).proven.baseline_waits_for = waits("no right", Some("GRANT it")),
    Kind::Baseline,
    "users: the next baseline does not go on: no right; next: GRANT it")]
#[case::another_plan(
    |facts: &mut Facts| users(facts).proven = Proven { under_another_plan: true, ..Proven::default() },
    Kind::Mapping,
    "users: the mapping has changed since the baseline; next: wait for the baseline, which the reconciler begins by itself")]
#[case::void(
    |facts: &mut Facts| users(facts).proven.void_because = Some("history was lost".to_owned()),
    Kind::Baseline,
    "users: the baseline no longer counts: history was lost; next: wait for the baseline, which the reconciler begins by itself")]
#[case::old_baseline(
    |facts: &mut Facts| {
        users(facts).proven.baseline.as_mut().expect("a baseline").age = 25 * HOUR;
        users(facts).guard.unbroken = Some(26 * HOUR);
    },
    Kind::Baseline,
    "users: the baseline is 25 h old, the bound is 24 h; next: lower `reconcile.baseline_every`, or raise `reconcile.rate`")]
#[case::nothing_verified(
    |facts: &mut Facts| users(facts).proven.verified = None,
    Kind::Verified, "users: no change has been judged yet; next: wait until the reconciler has read its change stream")]
#[case::verified_long_ago(
    |facts: &mut Facts| users(facts).proven.verified.as_mut().expect("V").age = Duration::from_secs(61),
    Kind::Verified,
    "users: verified as of 61 s ago only, the bound is 60 s; next: look for a reconciler that waits")]
#[case::changes_need_somebody(
    |facts: &mut Facts| {
        users(facts).proven.verified.as_mut().expect("V").age = Duration::from_secs(61);
        users(facts).proven.waits_for = waits("no right", Some("GRANT it"));
    },
    Kind::Verified,
    "users: verified as of 61 s ago only, the bound is 60 s: no right; next: GRANT it")]
#[case::undecided(
    |facts: &mut Facts| {
        users(facts).proven.verified.as_mut().expect("V").age = Duration::from_secs(61);
        users(facts).proven.undecided = 3;
    },
    Kind::Undecided,
    "users: verified as of 61 s ago only, the bound is 60 s: documents undecided: 3; next: wait: they are judged again and again \
     until they can be")]
#[case::foreign_write(
    |facts: &mut Facts| users(facts).foreign_writes = vec![write(3)],
    Kind::ForeignWrite,
    "users: app.users was written by somebody else: UPDATE by alice from psql at 1970-01-01 00:00:00Z, and 2 more; next: find out \
     who writes; the proof counts again once the rows it touched have been compared")]
#[case::unguarded(
    |facts: &mut Facts| users(facts).guard = Guard { unguarded: vec!["app.users".to_owned()], ..Guard::default() },
    Kind::Guard,
    "users: others may have written app.users unseen since the baseline; next: `driftless guard install`, then wait for the next \
     baseline")]
#[case::broken_guard(
    |facts: &mut Facts| users(facts).guard = Guard { broken: vec!["app.users: no trigger".to_owned()], ..Guard::default() },
    Kind::Guard,
    "users: the guard does not hold: app.users: no trigger; next: `driftless guard install`, then wait for the next baseline")]
#[case::young_guard(
    |facts: &mut Facts| users(facts).guard.unbroken = Some(MINUTE),
    Kind::Guard,
    "users: the guard of its tables is younger than the baseline; next: wait for the next baseline, which begins under the guard")]
fn keeps_from_in_sync_and_from_ready(#[case] change: Change, #[case] kind: Kind, #[case] text: &str) {
    let mut facts = ready();
    change(&mut facts);
    for gate in [false, true] {
        let found = blockers(&facts, &bounds(gate));
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
        assert_eq!(found[0].kind, kind);
        assert_eq!(kind.is_drift(), matches!(kind, Kind::Drift | Kind::DeadLetters));
    }
}

#[rstest]
#[case::orphans(
    |facts: &mut Facts| users(facts).references = vec![reference(Some(1), 2)],
    Kind::Orphans,
    "users: rows of app.users that lack their parent in app.teams (users_team_fkey): 2; next: `driftless integrity` names them; \
     correct the references in the source")]
#[case::not_looked(
    |facts: &mut Facts| users(facts).references = vec![reference(None, 0)],
    Kind::Orphans,
    "users: nobody has looked yet whether users_team_fkey of app.users holds; next: wait for the reconciler, or run `driftless \
     integrity`")]
#[case::oplog(
    |facts: &mut Facts| led(facts).position = Some(at(600)),
    Kind::Oplog,
    "the leader is 10 min from the end of the oplog, less than `cutover.oplog_margin` (60 min); next: make the oplog larger \
     (`replSetResizeOplog`), so that history is not lost when the leader is away")]
#[case::unread_oplog(
    |facts: &mut Facts| led(facts).oldest = None,
    Kind::Oplog,
    "it is not known how far the oplog reaches back; next: grant the user the role `read` on `local`, or set \
     `cutover.oplog_margin = \"0s\"`")]
fn keeps_from_ready_only(#[case] change: Change, #[case] kind: Kind, #[case] text: &str) {
    let mut facts = ready();
    change(&mut facts);
    assert_eq!(blockers(&facts, &bounds(false)), []);
    let found = blockers(&facts, &bounds(true));
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
    assert_eq!(found[0].kind, kind);
}

#[rstest]
#[case::looked_at(|facts: &mut Facts| users(facts).references = vec![reference(Some(1), 0)])]
#[case::nothing_removed(|facts: &mut Facts| *led(facts) = Led { position: Some(at(600)), whole: true, ..led(facts).clone() })]
#[case::another_sink_works(|facts: &mut Facts| {
    let standby = Process { instance: "two".to_owned(), ..facts.processes[0].clone() };
    facts.processes.push(standby);
    report(facts, "source").phase = Phase::Standby;
})]
#[case::as_fresh_as_the_verdict(|facts: &mut Facts| {
    users(facts).proven.baseline.as_mut().expect("a baseline").age = MINUTE;
    users(facts).guard = Guard { unguarded: vec!["app.users".to_owned()], ..Guard::default() };
})]
#[case::undecided_for_a_moment(|facts: &mut Facts| users(facts).proven.undecided = 3)]
#[case::at_the_bound(|facts: &mut Facts| users(facts).proven.verified.as_mut().expect("V").age = MINUTE)]
#[case::a_clock_that_is_ahead(|facts: &mut Facts| users(facts).staleness = Some(SignedDuration::from_secs(-10)))]
fn keeps_from_nothing(#[case] change: Change) {
    let mut facts = ready();
    change(&mut facts);
    assert_eq!(blockers(&facts, &bounds(true)), []);
}

#[test]
fn an_oplog_that_cannot_be_read_need_not_be() {
    let mut facts = ready();
    led(&mut facts).oldest = None;
    let bounds = Bounds { gate: Some(GateBounds { oplog_margin: Duration::ZERO }), ..bounds(true) };
    assert_eq!(blockers(&facts, &bounds), []);
}

#[test]
fn a_collection_is_guarded_from_when_its_last_table_is() {
    let tables = ["users", "addresses"].map(|name| TableName::new("app", name));
    let since = |unbroken| Guarded { unbroken, broken: None };
    let mut guarded = BTreeMap::from([(tables[0].clone(), since(HOUR))]);
    let unguarded = Guard { unguarded: vec!["app.addresses".to_owned()], ..Guard::default() };
    assert_eq!(Guard::of(&tables, &guarded), unguarded);
    guarded.insert(tables[1].clone(), since(MINUTE));
    assert_eq!(Guard::of(&tables, &guarded), Guard { unbroken: Some(MINUTE), ..Guard::default() });
    guarded.insert(tables[1].clone(), Guarded { broken: Some("no trigger".to_owned()), ..since(HOUR) });
    let broken = Guard { broken: vec!["app.addresses: no trigger".to_owned()], ..Guard::default() };
    assert_eq!(Guard::of(&tables, &guarded), broken);
}

#[test]
fn what_was_proven_under_another_plan_does_not_count() {
    let row = ProofRow {
        collection: "users".to_owned(),
        plan: vec![1; 16],
        pass: None,
        complete: Some(Complete { number: 1, began_ms: 0, age: HOUR, ended_ms: 1, oldest: Some(at(1)), documents: 3 }),
        void_because: None,
        verified: Some(at(9)),
        verified_at: Some((0, MINUTE)),
        undecided: 0,
        undecided_since: None,
        waits_for: None,
        baseline_waits_for: None,
        left_out: 0,
        no_such_collection: false,
    };
    let proven = Proven::of(Some(&row), Some(&[1; 16]));
    assert_eq!((proven.baseline.map(|one| one.documents), proven.under_another_plan), (Some(3), false));
    assert_eq!(proven.verified.map(|one| one.frontier), Some(at(9)));
    for plan in [None, Some(&[2; 16])] {
        let proven = Proven::of(Some(&row), plan);
        assert!(proven.baseline.is_none() && proven.verified.is_none() && proven.under_another_plan == plan.is_some());
    }
}

#[test]
fn the_end_of_a_pass_follows_from_all_its_phases() {
    let all =
        Progress { pass: 1, age: MINUTE, phase: None, documents: 9, estimate: Some(9), work: 15, expected: Some(45) };
    assert_eq!(all.seconds_left(), Some(120), "all documents are compared, and that is a third of the work");
    assert_eq!(Progress { work: 50, ..all.clone() }.seconds_left(), Some(0), "there were more than expected");
    assert_eq!(Progress { work: 0, ..all.clone() }.seconds_left(), None);
    assert_eq!(Progress { expected: None, ..all }.seconds_left(), None);
}
