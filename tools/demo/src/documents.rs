//! Documents of the application, generated from a seed: the same seed and index give the same document on every machine.
//!
//! Each document has its own stream of random numbers, so a batch in the middle can be generated without those before
//! it. Each id follows from seed, collection and index alone, so a reference can be generated before its target exists.

mod draw;
mod people;
mod plans;
mod research;
mod words;

use bson::{Document, oid::ObjectId};

pub(super) use self::{
    draw::{Draw, cents},
    people::{city, email, organisation, settings, user},
    plans::{PLAN_STAGES, PLAN_STATUSES, PlanLinks, SectionLinks, milestone, plan, review, section},
    research::{SCENARIOS, financial_model, research_pack, source},
};
use super::Collection;

/// The number of candidates from which one document draws its references to a collection.
const CANDIDATES: u64 = 4;

/// The number of documents in each collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes([u64; Collection::ALL.len()]);

impl Sizes {
    /// Splits a total in the proportions of a grown application: half are sections. A total below 20 counts as 20, so
    /// that no collection is empty.
    pub fn of(total: u64) -> Self {
        let total = total.max(20);
        let share = |percent: u64| (total * percent / 100).max(1);
        let mut sizes = Self([0; Collection::ALL.len()]);
        sizes.0[Collection::Organisations as usize] = share(3);
        sizes.0[Collection::Users as usize] = share(14);
        sizes.0[Collection::Plans as usize] = share(14);
        sizes.0[Collection::ResearchPacks as usize] = share(8);
        sizes.0[Collection::FinancialModels as usize] = share(9);
        sizes.0[Collection::Sections as usize] = total - sizes.total();
        sizes
    }

    /// Returns the number of documents in one collection.
    pub fn get(self, collection: Collection) -> u64 {
        self.0[collection as usize]
    }

    /// Returns the number of documents in all collections.
    pub fn total(self) -> u64 {
        self.0.iter().sum()
    }
}

/// Generates the documents of an initial load.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    seed: u64,
    sizes: Sizes,
}

impl Generator {
    /// Creates a generator of `total` documents over all collections, see [`Sizes::of`].
    pub fn new(seed: u64, total: u64) -> Self {
        Self { seed, sizes: Sizes::of(total) }
    }

    /// Returns the number of documents in each collection.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Generates the document with this index; an index of [`Sizes::get`] or above would break uniqueness or references.
    pub fn document(&self, collection: Collection, index: u64) -> Document {
        let mut draw = Draw::new(self.seed, stream(collection, index) | 1);
        let id = self.id(collection, index);
        match collection {
            Collection::Organisations => organisation(&mut draw, id),
            Collection::Users => {
                let organisations = self.candidates(&mut draw, Collection::Organisations, None);
                user(&mut draw, id, &organisations)
            }
            Collection::Plans => {
                let users = self.candidates(&mut draw, Collection::Users, None);
                let links = PlanLinks {
                    owner: users[0],
                    users: &users,
                    organisations: &self.candidates(&mut draw, Collection::Organisations, None),
                    // Only earlier plans are candidates: a template exists before its copy.
                    templates: &self.candidates(&mut draw, Collection::Plans, Some(index)),
                };
                plan(&mut draw, id, &links)
            }
            Collection::ResearchPacks => {
                let owner = self.candidates(&mut draw, Collection::Users, None)[0];
                let plans = self.candidates(&mut draw, Collection::Plans, None);
                research_pack(&mut draw, id, owner, &plans)
            }
            Collection::Sections => {
                // Sections are dealt to the plans in turn, so the order within a plan is 0, 1, 2 and so on.
                let plans = self.sizes.get(Collection::Plans);
                let links = SectionLinks {
                    plan: self.id(Collection::Plans, index % plans),
                    order: i32::try_from(index / plans).unwrap_or(i32::MAX),
                    packs: &self.candidates(&mut draw, Collection::ResearchPacks, None),
                    users: &self.candidates(&mut draw, Collection::Users, None),
                };
                section(&mut draw, id, &links)
            }
            Collection::FinancialModels => {
                let plan = self.candidates(&mut draw, Collection::Plans, None)[0];
                financial_model(&mut draw, id, plan)
            }
        }
    }

    /// Returns the `_id` of the document with this index, without generating the document.
    fn id(&self, collection: Collection, index: u64) -> ObjectId {
        Draw::new(self.seed, stream(collection, index)).id()
    }

    /// Draws a few ids from a collection, or from its first `before` documents; returns none only if `before` is zero.
    fn candidates(&self, draw: &mut Draw, collection: Collection, before: Option<u64>) -> Vec<ObjectId> {
        let size = before.unwrap_or(self.sizes.get(collection));
        if size == 0 {
            return Vec::new();
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        (0..CANDIDATES).map(|_| self.id(collection, draw.below(0, size).unsigned_abs())).collect()
    }
}

/// Returns the number of the stream for a document's id, which is even; the odd one after it is for the rest.
fn stream(collection: Collection, index: u64) -> u64 {
    (collection as u64 + 1) << 56 | index << 1
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use bson::Bson;

    use super::*;

    fn all(generator: &Generator, collection: Collection) -> Vec<Document> {
        (0..generator.sizes().get(collection)).map(|index| generator.document(collection, index)).collect()
    }

    #[test]
    fn sizes_add_up_and_none_is_zero() {
        for (asked, total) in [(0, 20), (20, 20), (21, 21), (999, 999), (20_000, 20_000), (1_000_003, 1_000_003)] {
            let sizes = Sizes::of(asked);
            assert_eq!(sizes.total(), total, "asked for {asked}");
            assert!(Collection::ALL.iter().all(|collection| sizes.get(*collection) > 0), "asked for {asked}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_documents_in_any_order() {
        let (one, same, other) = (Generator::new(7, 500), Generator::new(7, 500), Generator::new(8, 500));
        for collection in Collection::ALL {
            let forwards: Vec<_> = (0..5).map(|index| one.document(collection, index)).collect();
            let mut backwards: Vec<_> = (0..5).rev().map(|index| same.document(collection, index)).collect();
            backwards.reverse();
            assert_eq!(forwards, backwards, "{collection}");
            assert_ne!(forwards[0], other.document(collection, 0), "{collection}");
            assert_ne!(forwards[0], forwards[1], "{collection}");
        }
    }

    #[test]
    fn documents_have_a_realistic_size() {
        let generator = Generator::new(3, 20_000);
        for collection in Collection::ALL {
            for index in 0..generator.sizes().get(collection).min(1_500) {
                let size = bson::serialize_to_vec(&generator.document(collection, index)).unwrap().len();
                assert!((300..=3_072).contains(&size), "{collection} {index} has {size} bytes");
            }
        }
    }

    #[test]
    fn references_resolve_and_unique_values_are_unique() {
        let generator = Generator::new(11, 2_000);
        let documents: HashMap<Collection, Vec<Document>> =
            Collection::ALL.into_iter().map(|collection| (collection, all(&generator, collection))).collect();
        let ids: HashMap<Collection, HashSet<ObjectId>> = documents
            .iter()
            .map(|(collection, all)| (*collection, all.iter().map(|one| one.get_object_id("_id").unwrap()).collect()))
            .collect();
        for (collection, ids) in &ids {
            assert_eq!(ids.len() as u64, generator.sizes().get(*collection), "{collection}");
        }
        let resolves = |value: Option<&Bson>, target: Collection| match value {
            None | Some(Bson::Null) => true,
            Some(Bson::ObjectId(id)) => ids[&target].contains(id),
            Some(Bson::String(hex)) => ids[&target].contains(&hex.parse().unwrap()),
            _ => false,
        };
        for (collection, field, target) in [
            (Collection::Users, "organisation", Collection::Organisations),
            (Collection::Plans, "owner", Collection::Users),
            (Collection::Plans, "organisation", Collection::Organisations),
            (Collection::Plans, "basedOn", Collection::Plans),
            (Collection::ResearchPacks, "owner", Collection::Users),
            (Collection::ResearchPacks, "plan", Collection::Plans),
            (Collection::Sections, "plan", Collection::Plans),
            (Collection::Sections, "researchPack", Collection::ResearchPacks),
            (Collection::FinancialModels, "plan", Collection::Plans),
        ] {
            for document in &documents[&collection] {
                assert!(resolves(document.get(field), target), "{collection}.{field}");
            }
        }
        for section in &documents[&Collection::Sections] {
            let by = section.get_document("review").ok().and_then(|review| review.get("by"));
            assert!(resolves(by, Collection::Users), "review.by");
        }
        let unique = |collection: Collection, value: &dyn Fn(&Document) -> String| {
            documents[&collection].iter().map(value).collect::<HashSet<_>>().len() == documents[&collection].len()
        };
        assert!(unique(Collection::Users, &|user| user.get_str("email").unwrap().to_owned()));
        assert!(unique(Collection::Organisations, &|one| one.get_str("slug").unwrap().to_owned()));
        assert!(unique(Collection::Sections, &|one| format!("{:?} {:?}", one.get("plan"), one.get("order"))));
    }
}
