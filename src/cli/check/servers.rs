//! Checks the three servers: their facts, their faults, and whose state they hold.

use std::collections::BTreeMap;

use super::{Report, names::Names};
use crate::{
    cli::{finding::Finding, print, setup::Setup},
    control::mapping::{self, Recorded},
    log::Topics,
    mapping::{
        Plan,
        target::{Catalog, quote_text},
    },
    model::Namespace,
    pipeline::{self, identity},
    postgres::{self, ConstraintMode, Purpose, Session, Trigger, faults_of_target, read_catalog},
    retry,
    sink::key_rule,
    source::{PRIMARY, Source},
};

/// An oplog shorter than this loses history over a weekend.
const OPLOG_SECONDS: u32 = 48 * 3600;

/// Checks the source: server, user, oplog, collections.
pub(in crate::cli) async fn source(setup: &Setup, report: &mut Report) -> Option<(Source, Names)> {
    const PLACE: &str = "source";
    let collections = setup.collections();
    let names = || collections.keys().map(String::as_str);
    let outcome = async {
        let source = Source::connect(&setup.config.source).await?;
        let (facts, faults) = (source.facts(names()).await?, source.faults(names()).await?);
        let found = Names::of(&source, &facts).await?;
        Ok::<_, crate::source::Error>((source, facts, faults, found))
    };
    match outcome.await {
        Ok((source, facts, faults, found)) => {
            let [major, minor, patch] = facts.server.version;
            report.notes.push(format!("source: MongoDB {major}.{minor}.{patch}"));
            if let Some(oplog) = facts.oplog {
                let seconds = oplog.window_seconds();
                report.notes.push(format!("source: the oplog spans {:.1} h", f64::from(seconds) / 3600.0));
                if seconds < OPLOG_SECONDS {
                    report.warnings.push(Finding {
                        place: PLACE.to_owned(),
                        what: format!("the oplog spans only {:.1} h", f64::from(seconds) / 3600.0),
                        hint:
                            "a daemon that is down for longer needs a new snapshot; enlarge the oplog to 48 h or more"
                                .to_owned(),
                    });
                }
            }
            faults.into_iter().for_each(|fault| report.fault(PLACE, fault.what, fault.hint));
            report.warnings.extend(facts.server.read_preference.map(|ignored| Finding {
                place: PLACE.to_owned(),
                what: format!("readPreference={ignored} in the connection string is ignored"),
                hint: format!("remove it: {PRIMARY}"),
            }));
            report.warnings.extend(found.missing(setup));
            Some((source, found))
        }
        Err(error) => {
            let hint = error.hint().unwrap_or("is the server up, and is the connection string right?").to_owned();
            report.fault(PLACE, retry::chain(&error), hint);
            None
        }
    }
}

/// Checks the log: brokers and topics.
pub(super) async fn log(setup: &Setup, report: &mut Report) {
    const PLACE: &str = "log";
    let database = &setup.config.source.database;
    let namespaces: Vec<Namespace> = setup.collections().keys().map(|name| Namespace::new(database, name)).collect();
    match Topics::check(&setup.config.log, &namespaces).await {
        Ok(faults) => {
            report.notes.push(format!("log: Kafka at {}", setup.config.log.brokers));
            faults.into_iter().for_each(|fault| report.fault(PLACE, fault.what, fault.hint));
        }
        Err(error) => {
            let hint = error.hint().unwrap_or("are the brokers up, and is log.brokers right?").to_owned();
            report.fault(PLACE, retry::chain(&error), hint);
        }
    }
}

/// The target, and the part of the mapping that fits it.
pub(in crate::cli) struct Target {
    pub(in crate::cli) plan: Plan,
    pub(in crate::cli) catalog: Catalog,
    /// Whether foreign keys are enforced when rows are written.
    pub(in crate::cli) enforced: bool,
}

impl Target {
    /// Opens a connection that only reads.
    ///
    /// # Errors
    /// As [`Postgres::open`](postgres::Postgres::open).
    pub(in crate::cli) async fn reading(&self, setup: &Setup) -> Result<Session, postgres::Error> {
        postgres::Postgres::new(&setup.config.sink, &setup.config.log.prefix)?.open(Purpose::Read).await
    }
}

/// Checks the target: tables, rights, triggers, and whether the mapping fits. The plan has the collections without faults.
pub(in crate::cli) async fn sink(setup: &Setup, report: &mut Report) -> Option<Target> {
    const PLACE: &str = "sink";
    let outcome = async {
        // A connection for applying shows its rights, session_replication_role among them.
        let target = postgres::Postgres::new(&setup.config.sink, &setup.config.log.prefix)?;
        let session = target.open(Purpose::Apply).await?;
        postgres::suited::writable(&session).await?;
        // Names of types depend on the search path, which a session that enforces constraints does not change.
        let catalog = read_catalog(&target.open(Purpose::Read).await?).await?;
        let (plan, unfit) = Plan::compile_partly(&setup.mapping, &catalog);
        let (faults, triggers) = (faults_of_target(&session, &plan).await?, postgres::triggers(&session, &plan).await?);
        // A role without rights on the schema `driftless` cannot read whose state it holds.
        if faults.iter().all(|fault| !fault.stops) {
            report.faults.extend(foreign(&session, &plan).await);
        }
        report.faults.extend(unfit.into_iter().map(Finding::from));
        Ok::<_, postgres::Error>((session.constraint_mode(), catalog, plan, faults, triggers))
    };
    let (mode, catalog, plan, faults, triggers) = match outcome.await {
        Ok(outcome) => outcome,
        Err(error) => {
            let hint = error.hint().unwrap_or("is the server up, and is the connection string right?").to_owned();
            report.fault(PLACE, retry::chain(&error), hint);
            return None;
        }
    };
    report.notes.push(format!("sink: constraints and triggers in {mode:?} mode"));
    faults.into_iter().for_each(|fault| report.fault(PLACE, fault.what, fault.hint));
    tell_triggers(&triggers, mode, report);
    let tables: usize = plan.collections().iter().map(|plan| plan.tables.len()).sum();
    report.notes.push(format!(
        "mapping: {} to {}",
        print::count(plan.collections().len(), "collection"),
        print::count(tables, "table")
    ));
    report.warnings.extend(plan.warnings().iter().cloned().map(Finding::from));
    Some(Target { plan, catalog, enforced: mode == ConstraintMode::Enforce })
}

/// Checks that the state of this prefix belongs to this source and this target, and whether the file is the mapping that is recorded
/// there. Servers that do not answer have their own faults.
pub(super) async fn state(setup: &Setup, source: Option<&Source>, report: &mut Report) {
    const PLACE: &str = "state";
    let names = setup.collections();
    let source = match source {
        Some(source) => source.identity(names.keys().map(String::as_str)).await.ok(),
        None => Some(identity::configured(&setup.config)),
    };
    let mut mismatches = Vec::new();
    let sink = async {
        let session =
            postgres::Postgres::new(&setup.config.sink, &setup.config.log.prefix)?.open(Purpose::Read).await?;
        if let Some(source) = &source {
            postgres::identity::compare(&session, source).await?;
        }
        Ok((postgres::identity::target(&session).await?, mapping::recorded(&session).await?))
    };
    let target = match sink.await {
        Ok((target, recorded)) => {
            report.warnings.extend(recorded.filter(|recorded| !recorded.is(&setup.mapping)).map(other_mapping));
            Some(target)
        }
        Err(postgres::Error::Mismatch(mismatch)) => {
            mismatches.push(mismatch);
            None
        }
        Err(_) => None,
    };
    if let Err(pipeline::Error::Mismatch(mismatch)) =
        identity::compare(&setup.config, source.as_ref(), target.as_ref()).await
        && !mismatches.contains(&mismatch)
    {
        mismatches.push(mismatch);
    }
    for mismatch in mismatches {
        report.fault(PLACE, mismatch.to_string(), mismatch.hint());
    }
}

/// The warning that the running migration goes on with another mapping than the file.
fn other_mapping(recorded: Recorded) -> Finding {
    let Recorded { who, at, .. } = recorded;
    Finding {
        place: "mapping".to_owned(),
        what: format!("the file is not the mapping of the migration, which {who} recorded at {}", print::time(at)),
        hint: "`driftless mapping diff` shows what is other and what it means for the rows; `driftless mapping apply` lets the migration go \
               on with the file. Until then a sink or reconciler with this file rests"
            .to_owned(),
    }
}

/// Returns what keeps this plan from being applied: tables of another migration, or keys of another id rule.
async fn foreign(session: &Session, plan: &Plan) -> Vec<Finding> {
    let finding = |what: String, hint: String| Finding { place: "sink".to_owned(), what, hint };
    let failed = |error: postgres::Error| finding(retry::chain(&error), error.hint().unwrap_or_default().to_owned());
    let mut findings = Vec::new();
    match postgres::identity::tables_taken(session, plan).await {
        Ok(taken) => {
            let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
            taken.into_iter().for_each(|taken| tables.entry(taken.prefix).or_default().push(taken.table));
            findings.extend(tables.into_iter().map(|(prefix, tables)| {
                let what = format!(
                    "the migration with `log.prefix = \"{prefix}\"` also writes {}: {}",
                    print::count(tables.len(), "table"),
                    tables.join(", ")
                );
                let hint = format!(
                    "let one of the two write other tables. Only when that migration is over: \
                     `DELETE FROM driftless.identity WHERE prefix = {}` deletes its state and keeps its rows",
                    quote_text(&prefix)
                );
                finding(what, hint)
            }));
        }
        Err(error) => findings.push(failed(error)),
    }
    findings.extend(key_rule::compare(session, plan).await.err().map(failed));
    findings
}

fn tell_triggers(triggers: &[Trigger], mode: ConstraintMode, report: &mut Report) {
    for trigger in triggers.iter().filter(|trigger| trigger.fires) {
        let Trigger { table, name, does, .. } = trigger;
        report.warnings.push(Finding {
            place: "sink".to_owned(),
            what: format!("trigger {name} of {} fires for replicated rows: {does}", table.label()),
            hint: match mode {
                ConstraintMode::Replica => "it is set to fire always; check that it should fire for replicated rows",
                ConstraintMode::Enforce => {
                    "what it changes counts as drift; GRANT SET ON PARAMETER session_replication_role to the sink's role keeps \
                     triggers quiet"
                }
            }
            .to_owned(),
        });
    }
    match triggers.iter().filter(|trigger| !trigger.fires).count() {
        0 => {}
        1 => report.notes.push("sink: 1 trigger of the target does not fire for replicated rows".to_owned()),
        quiet => report.notes.push(format!("sink: {quiet} triggers of the target do not fire for replicated rows")),
    }
}
