//! Obstacles of a unit that its shadow reads show. Pure.

use super::{
    blockers::{Blocker, Kind, span},
    facts::Facts,
};
use crate::{config::ShadowDemand, control::shadow::ShadowRun};

/// How many queries a reason names.
const MAX_NAMED: usize = 3;

/// Finds every reason why the answers of a unit's queries are not known to be equal.
pub(super) fn blockers(facts: &Facts, demands: &[ShadowDemand]) -> Vec<Blocker> {
    let against = demands.iter().filter(|_| facts.answered).filter_map(|demand| {
        let run = facts.shadow.iter().find(|run| run.file == demand.file);
        let (what, next) = against(facts, demand, run)?;
        Some(Blocker { collection: None, kind: Kind::Shadow, what: format!("{}: {what}", demand.file), next })
    });
    against.collect()
}

fn against(facts: &Facts, demand: &ShadowDemand, run: Option<&ShadowRun>) -> Option<(String, String)> {
    let again = format!("`driftless shadow run {}`", demand.file);
    let Some(run) = run else { return Some(("its queries have not been compared yet".to_owned(), again)) };
    // Under another plan the same query may have another answer.
    let changed = run.plans.iter().find(|(name, digest)| {
        let plan =
            facts.collections.iter().find(|facts| facts.name == **name).and_then(|facts| facts.proven.plan.as_ref());
        plan != Some(digest)
    });
    if let Some((name, _)) = changed {
        return Some((format!("the mapping of {name} has changed since its queries were compared"), again));
    }
    if run.age > demand.max_age {
        let (age, bound) = (span(run.age), span(demand.max_age));
        return Some((format!("its queries were compared {age} ago, the bound is {bound}"), again));
    }
    if !run.different.is_empty() {
        let what = format!("queries with different answers: {}", named(&run.different));
        return Some((what, format!("correct them, then {again}; it shows how they differ")));
    }
    if !run.undecided.is_empty() {
        let what = format!("queries whose answers could not be judged: {}", named(&run.undecided));
        return Some((what, format!("{again} when less is written, or with a longer `--wait`")));
    }
    None
}

fn named(queries: &[String]) -> String {
    let more = queries.len().saturating_sub(MAX_NAMED);
    let named = queries[..queries.len() - more].join(", ");
    if more > 0 { format!("{named}, and {more} more") } else { named }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;
    use crate::reconcile::blockers::tests::ready;

    const PLAN: &str = "00";

    fn run() -> ShadowRun {
        ShadowRun {
            file: "shadow.toml".to_owned(),
            different: Vec::new(),
            undecided: Vec::new(),
            queries: Vec::new(),
            plans: [("users".to_owned(), PLAN.to_owned())].into(),
            age: Duration::from_secs(60),
        }
    }

    type Change = fn(&mut ShadowRun);

    #[rstest]
    #[case::equal(|_: &mut ShadowRun| (), None)]
    #[case::never(
        |run: &mut ShadowRun| run.file = "other.toml".to_owned(),
        Some("shadow.toml: its queries have not been compared yet; next: `driftless shadow run shadow.toml`")
    )]
    #[case::another_plan(
        |run: &mut ShadowRun| run.plans.values_mut().for_each(|plan| plan.push('0')),
        Some("shadow.toml: the mapping of users has changed since its queries were compared; next: `driftless shadow run shadow.toml`")
    )]
    #[case::too_old(
        |run: &mut ShadowRun| run.age = Duration::from_secs(7_200),
        Some("shadow.toml: its queries were compared 2 h ago, the bound is 60 min; next: `driftless shadow run shadow.toml`")
    )]
    #[case::different(
        |run: &mut ShadowRun| run.different = ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
        Some("shadow.toml: queries with different answers: a, b, c, and 1 more; next: correct them, then \
              `driftless shadow run shadow.toml`; it shows how they differ")
    )]
    #[case::undecided(
        |run: &mut ShadowRun| run.undecided = vec!["a".to_owned()],
        Some("shadow.toml: queries whose answers could not be judged: a; next: `driftless shadow run shadow.toml` when less \
              is written, or with a longer `--wait`")
    )]
    fn a_unit_waits_for_its_queries(#[case] change: Change, #[case] expected: Option<&str>) {
        let (mut facts, mut run) = (ready(), run());
        facts.collections[0].proven.plan = Some(PLAN.to_owned());
        change(&mut run);
        facts.shadow = vec![run];
        let demand = ShadowDemand { file: "shadow.toml".to_owned(), max_age: Duration::from_secs(3_600) };
        let found: Vec<String> = blockers(&facts, &[demand]).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(blockers(&facts, &[]), [], "nothing is demanded");
    }
}
