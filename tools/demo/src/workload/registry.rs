//! The workload's knowledge of the live documents: enough to keep references and unique values valid without reading
//! before each write.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hasher,
};

use futures_util::TryStreamExt;
use mongodb::{
    Database,
    bson::{Bson, Document, doc, oid::ObjectId},
};
use xxhash_rust::xxh3::Xxh3;

use crate::{Collection, Error, documents::Draw};

/// How many deleted ids are remembered for reuse.
const GRAVES: usize = 256;

/// A change to the live documents.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Organisation(ObjectId),
    User { id: ObjectId, email: String },
    Plan { id: ObjectId, owner: ObjectId },
    Pack { id: ObjectId, owner: ObjectId },
    Section { id: ObjectId, plan: ObjectId, order: i32 },
    Model { id: ObjectId, plan: ObjectId },
    Deleted(Collection, ObjectId),
}

/// A set of ids to draw from: insert, remove and draw in constant time.
#[derive(Debug, Default)]
pub(super) struct Pool {
    ids: Vec<ObjectId>,
    positions: HashMap<ObjectId, usize>,
}

impl Pool {
    fn insert(&mut self, id: ObjectId) {
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.positions.entry(id) {
            vacant.insert(self.ids.len());
            self.ids.push(id);
        }
    }

    fn remove(&mut self, id: &ObjectId) {
        if let Some(position) = self.positions.remove(id) {
            self.ids.swap_remove(position);
            if let Some(moved) = self.ids.get(position) {
                self.positions.insert(*moved, position);
            }
        }
    }

    pub(super) fn ids(&self) -> &[ObjectId] {
        &self.ids
    }

    pub(super) fn draw(&self, draw: &mut Draw) -> Option<ObjectId> {
        draw.pick(&self.ids)
    }
}

/// The known facts about a plan.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) owner: ObjectId,
    pub(super) sections: Vec<ObjectId>,
    pub(super) models: Vec<ObjectId>,
    /// The next section position that was never taken.
    next_order: i32,
}

/// The known facts about a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) plan: ObjectId,
    pub(super) order: i32,
}

/// The live documents.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pools: HashMap<Collection, Pool>,
    emails: HashMap<ObjectId, String>,
    plans: HashMap<ObjectId, Plan>,
    pack_owners: HashMap<ObjectId, ObjectId>,
    sections: HashMap<ObjectId, Section>,
    model_plans: HashMap<ObjectId, ObjectId>,
    graves: VecDeque<(Collection, ObjectId)>,
}

impl Registry {
    /// Reads the live documents; returns them with a digest.
    ///
    /// # Errors
    /// [`Error::List`] with the class of the driver's error.
    pub(super) async fn read(database: &Database) -> Result<(Self, u64), Error> {
        let mut registry = Self::default();
        let mut digest = Xxh3::new();
        let fields = doc! { "email": 1, "owner": 1, "plan": 1, "order": 1, "poisoned": 1 };
        for collection in Collection::ALL {
            let failed = |source| Error::List { collection, source };
            let mut cursor = database
                .collection::<Document>(collection.name())
                .find(doc! {})
                .sort(doc! { "_id": 1 })
                .projection(fields.clone())
                .await
                .map_err(failed)?;
            while let Some(document) = cursor.try_next().await.map_err(failed)? {
                digest.write(document.to_string().as_bytes());
                if let Some(fact) = found(collection, &document) {
                    registry.learn(fact);
                }
            }
        }
        Ok((registry, digest.finish()))
    }

    pub(super) fn pool(&self, collection: Collection) -> &[ObjectId] {
        self.pools.get(&collection).map_or(&[], Pool::ids)
    }

    /// Returns the number of live documents.
    pub(super) fn documents(&self) -> usize {
        self.pools.values().map(|pool| pool.ids().len()).sum()
    }

    pub(super) fn draw(&self, collection: Collection, draw: &mut Draw) -> Option<ObjectId> {
        self.pools.get(&collection).and_then(|pool| pool.draw(draw))
    }

    pub(super) fn email(&self, user: &ObjectId) -> Option<&str> {
        self.emails.get(user).map(String::as_str)
    }

    pub(super) fn plan(&self, plan: &ObjectId) -> Option<&Plan> {
        self.plans.get(plan)
    }

    pub(super) fn section(&self, section: &ObjectId) -> Option<Section> {
        self.sections.get(section).copied()
    }

    pub(super) fn pack_owner(&self, pack: &ObjectId) -> Option<ObjectId> {
        self.pack_owners.get(pack).copied()
    }

    pub(super) fn model_plan(&self, model: &ObjectId) -> Option<ObjectId> {
        self.model_plans.get(model).copied()
    }

    pub(super) fn plans_of(&self, owner: &ObjectId) -> Vec<ObjectId> {
        let mut plans: Vec<_> = self.plans.iter().filter(|(_, plan)| plan.owner == *owner).map(|(id, _)| *id).collect();
        plans.sort_unstable();
        plans
    }

    pub(super) fn packs_of(&self, owner: &ObjectId) -> Vec<ObjectId> {
        let mut packs: Vec<_> = self.pack_owners.iter().filter(|(_, one)| *one == owner).map(|(id, _)| *id).collect();
        packs.sort_unstable();
        packs
    }

    /// Reserves a position in a plan that no section has or had.
    pub(super) fn reserve_order(&mut self, plan: &ObjectId) -> Option<i32> {
        let plan = self.plans.get_mut(plan)?;
        let order = plan.next_order;
        plan.next_order += 1;
        Some(order)
    }

    /// Removes the id that was deleted longest ago from the memory and returns it.
    pub(super) fn exhume(&mut self) -> Option<(Collection, ObjectId)> {
        self.graves.pop_front()
    }

    /// Records that a document was created, changed or deleted.
    pub(super) fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Organisation(id) => self.add(Collection::Organisations, id),
            Fact::User { id, email } => {
                self.add(Collection::Users, id);
                self.emails.insert(id, email);
            }
            Fact::Plan { id, owner } => {
                self.add(Collection::Plans, id);
                let plan = Plan { owner, sections: Vec::new(), models: Vec::new(), next_order: 0 };
                self.plans.entry(id).or_insert(plan).owner = owner;
            }
            Fact::Pack { id, owner } => {
                self.add(Collection::ResearchPacks, id);
                self.pack_owners.insert(id, owner);
            }
            Fact::Section { id, plan, order } => self.place(id, plan, order),
            Fact::Model { id, plan } => {
                self.add(Collection::FinancialModels, id);
                self.leave_model(&id);
                self.model_plans.insert(id, plan);
                if let Some(plan) = self.plans.get_mut(&plan) {
                    plan.models.push(id);
                }
            }
            Fact::Deleted(collection, id) => self.bury(collection, id),
        }
    }

    fn add(&mut self, collection: Collection, id: ObjectId) {
        self.pools.entry(collection).or_default().insert(id);
    }

    fn place(&mut self, id: ObjectId, plan: ObjectId, order: i32) {
        self.add(Collection::Sections, id);
        self.leave_section(&id);
        self.sections.insert(id, Section { plan, order });
        if let Some(plan) = self.plans.get_mut(&plan) {
            plan.sections.push(id);
            plan.next_order = plan.next_order.max(order.saturating_add(1));
        }
    }

    fn leave_section(&mut self, id: &ObjectId) {
        if let Some(plan) = self.sections.remove(id).and_then(|section| self.plans.get_mut(&section.plan)) {
            plan.sections.retain(|section| section != id);
        }
    }

    fn leave_model(&mut self, id: &ObjectId) {
        if let Some(plan) = self.model_plans.remove(id).and_then(|plan| self.plans.get_mut(&plan)) {
            plan.models.retain(|model| model != id);
        }
    }

    fn bury(&mut self, collection: Collection, id: ObjectId) {
        if let Some(pool) = self.pools.get_mut(&collection) {
            pool.remove(&id);
        }
        match collection {
            Collection::Organisations => {}
            Collection::Users => drop(self.emails.remove(&id)),
            Collection::Plans => drop(self.plans.remove(&id)),
            Collection::ResearchPacks => drop(self.pack_owners.remove(&id)),
            Collection::Sections => self.leave_section(&id),
            Collection::FinancialModels => self.leave_model(&id),
        }
        self.graves.push_back((collection, id));
        if self.graves.len() > GRAVES {
            self.graves.pop_front();
        }
    }
}

/// Returns a stored document as the registry sees it; skips one that nothing may refer to.
fn found(collection: Collection, document: &Document) -> Option<Fact> {
    if document.contains_key("poisoned") {
        return None;
    }
    let id = document.get_object_id("_id").ok()?;
    let reference = |field| document.get_object_id(field).ok();
    Some(match collection {
        Collection::Organisations => Fact::Organisation(id),
        Collection::Users => Fact::User { id, email: document.get_str("email").ok()?.to_owned() },
        Collection::Plans => Fact::Plan { id, owner: reference("owner")? },
        Collection::ResearchPacks => Fact::Pack { id, owner: reference("owner")? },
        Collection::Sections => {
            let order = match document.get("order")? {
                Bson::Int32(order) => *order,
                _ => return None,
            };
            Fact::Section { id, plan: reference("plan")?, order }
        }
        Collection::FinancialModels => Fact::Model { id, plan: reference("plan")? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ObjectId {
        ObjectId::from_parts(0, [0; 5], [0, 0, n])
    }

    #[test]
    fn a_pool_stays_whole_while_members_leave() {
        let mut pool = Pool::default();
        (0..10).for_each(|n| pool.insert(id(n)));
        pool.insert(id(3));
        for n in [0, 9, 4, 4, 5] {
            pool.remove(&id(n));
        }
        let mut left: Vec<_> = pool.ids().to_vec();
        left.sort_unstable();
        assert_eq!(left, [1, 2, 3, 6, 7, 8].map(id));
        assert!(pool.ids().iter().enumerate().all(|(position, id)| pool.positions[id] == position));
    }

    #[test]
    fn a_place_in_a_plan_is_given_once() {
        let mut registry = Registry::default();
        let (plan, other) = (id(1), id(2));
        registry.learn(Fact::Plan { id: plan, owner: id(0) });
        registry.learn(Fact::Plan { id: other, owner: id(0) });
        registry.learn(Fact::Section { id: id(3), plan, order: 6 });
        assert_eq!(registry.reserve_order(&plan), Some(7));
        registry.learn(Fact::Section { id: id(3), plan: other, order: 0 });
        assert_eq!(registry.reserve_order(&plan), Some(8));
        assert!(registry.plan(&plan).unwrap().sections.is_empty());
        assert_eq!(registry.plan(&other).unwrap().sections, [id(3)]);
        registry.learn(Fact::Deleted(Collection::Sections, id(3)));
        assert!(registry.plan(&other).unwrap().sections.is_empty());
        assert_eq!(registry.exhume(), Some((Collection::Sections, id(3))));
    }
}
