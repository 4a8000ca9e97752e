//! Chooses the next step from a seed and the live documents. Pure: the same draws on the same registry give the same step.

use super::{
    inserts,
    registry::Registry,
    step::{Operation, Step},
    transactions, updates,
};
use crate::documents::Draw;

/// Draws per step: a kind may be impossible at the moment, such as a swap in a plan with one section; then another is drawn.
const ATTEMPTS: usize = 200;

/// Returns how often a kind comes, relative to the sum.
fn weight(operation: Operation) -> usize {
    match operation {
        Operation::Insert => 150,
        Operation::InsertPlan => 25,
        Operation::Upsert => 10,
        Operation::Reinsert => 30,
        Operation::SetNested => 160,
        Operation::Unset => 30,
        Operation::Inc => 80,
        Operation::Mul | Operation::Min | Operation::Max => 25,
        Operation::Push => 60,
        Operation::Pull | Operation::AddToSet | Operation::Pop => 25,
        Operation::CurrentDate | Operation::ArrayFilters | Operation::Positional => 25,
        Operation::Pipeline => 30,
        Operation::UpdateMany => 8,
        Operation::Replace => 40,
        Operation::EmptyArray | Operation::RefillArray => 15,
        Operation::ChangeReference => 35,
        Operation::ChangeUnique => 15,
        Operation::HandOverUnique | Operation::SwapUnique => 6,
        Operation::SwapOrder => 20,
        Operation::MoveSection => 15,
        Operation::InsertUpdateUpdate => 15,
        Operation::UpdateDeleteReinsert => 12,
        Operation::InsertDelete => 5,
        Operation::Delete => 55,
        Operation::DeleteCascade => 15,
    }
}

/// Chooses the next step and updates the registry as if it were written; returns none when nothing is possible.
pub(super) fn next(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    (0..ATTEMPTS).find_map(|_| {
        let operation = operation(draw);
        step(operation, draw, registry)
    })
}

/// Chooses a step that deletes a document with all that hang on it; returns none when nearly nothing is left.
pub(super) fn deletion(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    (0..ATTEMPTS).find_map(|_| step(Operation::DeleteCascade, draw, registry))
}

fn operation(draw: &mut Draw) -> Operation {
    let mut left = draw.index(Operation::ALL.iter().map(|operation| weight(*operation)).sum());
    for operation in Operation::ALL {
        match left.checked_sub(weight(*operation)) {
            Some(rest) => left = rest,
            None => return *operation,
        }
    }
    Operation::Insert
}

/// Builds one step of this kind.
pub(super) fn step(operation: Operation, draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    match operation {
        Operation::Insert => inserts::insert(draw, registry),
        Operation::InsertPlan => inserts::insert_plan(draw, registry),
        Operation::Upsert => inserts::upsert(draw, registry),
        Operation::Reinsert => inserts::reinsert(draw, registry),
        Operation::SetNested => updates::set_nested(draw, registry),
        Operation::Unset => updates::unset(draw, registry),
        Operation::Inc => updates::inc(draw, registry),
        Operation::Mul => updates::mul(draw, registry),
        Operation::Min => updates::min(draw, registry),
        Operation::Max => updates::max(draw, registry),
        Operation::Push => updates::push(draw, registry),
        Operation::Pull => updates::pull(draw, registry),
        Operation::AddToSet => updates::add_to_set(draw, registry),
        Operation::Pop => updates::pop(draw, registry),
        Operation::CurrentDate => updates::current_date(draw, registry),
        Operation::ArrayFilters => updates::array_filters(draw, registry),
        Operation::Positional => updates::positional(draw, registry),
        Operation::Pipeline => updates::pipeline(draw, registry),
        Operation::UpdateMany => updates::update_many(draw, registry),
        Operation::Replace => updates::replace(draw, registry),
        Operation::EmptyArray => updates::empty_array(draw, registry),
        Operation::RefillArray => updates::refill_array(draw, registry),
        Operation::ChangeReference => updates::change_reference(draw, registry),
        Operation::ChangeUnique => updates::change_unique(draw, registry),
        Operation::HandOverUnique => transactions::hand_over_unique(draw, registry),
        Operation::SwapUnique => transactions::swap_unique(draw, registry),
        Operation::SwapOrder => transactions::swap_order(draw, registry),
        Operation::MoveSection => updates::move_section(draw, registry),
        Operation::InsertUpdateUpdate => transactions::insert_update_update(draw, registry),
        Operation::UpdateDeleteReinsert => transactions::update_delete_reinsert(draw, registry),
        Operation::InsertDelete => transactions::insert_delete(draw, registry),
        Operation::Delete => transactions::delete(draw, registry),
        Operation::DeleteCascade => transactions::delete_cascade(draw, registry),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::Collection;

    /// Returns the first steps of a seed, on an application that begins with five users.
    fn steps(seed: u64, amount: usize) -> Vec<Step> {
        let (mut draw, mut registry) = (Draw::new(seed, 0), Registry::default());
        for _ in 0..5 {
            let id = draw.id();
            inserts::document(&mut draw, &mut registry, Collection::Users, id).unwrap();
        }
        (0..amount).map(|_| next(&mut draw, &mut registry).unwrap()).collect()
    }

    fn shape(steps: &[Step]) -> Vec<(Operation, Vec<mongodb::bson::oid::ObjectId>)> {
        steps
            .iter()
            .map(|step| {
                let mut ids = Vec::new();
                step.visit_ids(&mut |id| ids.push(id));
                (step.operation, ids)
            })
            .collect()
    }

    #[test]
    fn every_kind_comes_and_the_application_grows() {
        let mut amounts: HashMap<Operation, usize> = HashMap::new();
        for step in steps(5, 20_000) {
            assert!(!step.writes.is_empty());
            assert!(step.alone || !step.touches.is_empty());
            *amounts.entry(step.operation).or_default() += 1;
        }
        let rare: Vec<_> =
            Operation::ALL.iter().filter(|one| amounts.get(one).copied().unwrap_or_default() < 20).collect();
        assert!(rare.is_empty(), "too rare: {rare:?}");
    }

    #[test]
    fn deletions_end_where_little_is_left() {
        let (mut draw, mut registry) = (Draw::new(6, 0), Registry::default());
        for _ in 0..5 {
            let id = draw.id();
            inserts::document(&mut draw, &mut registry, Collection::Users, id).unwrap();
        }
        for _ in 0..2_000 {
            next(&mut draw, &mut registry).unwrap();
        }
        let before = registry.documents();
        while deletion(&mut draw, &mut registry).is_some() {}
        assert!(before > 100 && (1..20).contains(&registry.documents()), "{before}, then {}", registry.documents());
    }

    #[test]
    fn the_same_seed_gives_the_same_steps() {
        assert_eq!(shape(&steps(9, 2_000)), shape(&steps(9, 2_000)));
        assert_ne!(shape(&steps(9, 50)), shape(&steps(10, 50)));
    }
}
