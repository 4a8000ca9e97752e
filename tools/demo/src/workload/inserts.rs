//! Steps that create documents.

use mongodb::bson::{Document, doc, oid::ObjectId};

use super::{
    registry::{Fact, Registry},
    step::{Operation, Step, Update, Write},
};
use crate::{
    Collection,
    documents::{self, Draw, PlanLinks, SectionLinks},
};

/// Generates a document under this `_id` and adds it to the registry; returns none if a document it must refer to is missing.
pub(super) fn document(
    draw: &mut Draw,
    registry: &mut Registry,
    collection: Collection,
    id: ObjectId,
) -> Option<Document> {
    let (document, fact) = match collection {
        Collection::Organisations => (documents::organisation(draw, id), Fact::Organisation(id)),
        Collection::Users => {
            let user = documents::user(draw, id, registry.pool(Collection::Organisations));
            let email = user.get_str("email").ok()?.to_owned();
            (user, Fact::User { id, email })
        }
        Collection::Plans => {
            let owner = registry.draw(Collection::Users, draw)?;
            (plan(draw, registry, id, owner), Fact::Plan { id, owner })
        }
        Collection::ResearchPacks => {
            let owner = registry.draw(Collection::Users, draw)?;
            let pack = documents::research_pack(draw, id, owner, registry.pool(Collection::Plans));
            (pack, Fact::Pack { id, owner })
        }
        Collection::Sections => {
            let plan = registry.draw(Collection::Plans, draw)?;
            let order = registry.reserve_order(&plan)?;
            (section(draw, registry, id, plan, order), Fact::Section { id, plan, order })
        }
        Collection::FinancialModels => {
            let plan = registry.draw(Collection::Plans, draw)?;
            (documents::financial_model(draw, id, plan), Fact::Model { id, plan })
        }
    };
    registry.learn(fact);
    Some(document)
}

/// Generates a plan of this owner without adding it to the registry.
pub(super) fn plan(draw: &mut Draw, registry: &Registry, id: ObjectId, owner: ObjectId) -> Document {
    let links = PlanLinks {
        owner,
        users: registry.pool(Collection::Users),
        organisations: registry.pool(Collection::Organisations),
        templates: registry.pool(Collection::Plans),
    };
    documents::plan(draw, id, &links)
}

/// Generates a section at this position without adding it to the registry.
pub(super) fn section(draw: &mut Draw, registry: &Registry, id: ObjectId, plan: ObjectId, order: i32) -> Document {
    let links = SectionLinks {
        plan,
        order,
        packs: registry.pool(Collection::ResearchPacks),
        users: registry.pool(Collection::Users),
    };
    documents::section(draw, id, &links)
}

/// Draws the collection of a new document; the share of each collection follows its size.
fn collection(draw: &mut Draw) -> Collection {
    match draw.index(100) {
        0..3 => Collection::Organisations,
        3..17 => Collection::Users,
        17..31 => Collection::Plans,
        31..41 => Collection::ResearchPacks,
        41..52 => Collection::FinancialModels,
        _ => Collection::Sections,
    }
}

pub(super) fn insert(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let (collection, id) = (collection(draw), draw.id());
    let document = document(draw, registry, collection, id)?;
    Some(Step::of(Operation::Insert, &[id], vec![(collection, Write::Insert(document))]))
}

/// Builds a step that creates a plan with its first sections, as the application does from a wizard.
pub(super) fn insert_plan(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let id = draw.id();
    let mut writes = vec![(Collection::Plans, Write::Insert(document(draw, registry, Collection::Plans, id)?))];
    let mut touches = vec![id];
    for _ in 0..=draw.index(5) {
        let (section_id, order) = (draw.id(), registry.reserve_order(&id)?);
        writes.push((Collection::Sections, Write::Insert(section(draw, registry, section_id, id, order))));
        touches.push(section_id);
        registry.learn(Fact::Section { id: section_id, plan: id, order });
    }
    Some(Step::of(Operation::InsertPlan, &touches, writes))
}

pub(super) fn upsert(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let (collection, id) = (collection(draw), draw.id());
    let mut document = document(draw, registry, collection, id)?;
    document.remove("_id");
    document.remove("updatedAt");
    let change = doc! { "$setOnInsert": document, "$currentDate": { "updatedAt": true } };
    let update = Update { upsert: true, ..Update::one(doc! { "_id": id }, change) };
    Some(Step::of(Operation::Upsert, &[id], vec![(collection, update.into())]))
}

/// Builds a step that reuses the `_id` deleted longest ago; a plain insert when nothing was deleted.
pub(super) fn reinsert(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let Some((collection, id)) = registry.exhume() else {
        return insert(draw, registry);
    };
    let document = document(draw, registry, collection, id)?;
    Some(Step::of(Operation::Reinsert, &[id], vec![(collection, Write::Insert(document))]))
}
