//! Steps of several statements that commit together: several changes of one document, unique values that move between
//! documents, and deletes with all dependent documents.

use mongodb::bson::{Bson, Document, doc, oid::ObjectId};

use super::{
    inserts,
    registry::{Fact, Registry},
    step::{Operation, Step, Update, Write},
};
use crate::{
    Collection::{self, FinancialModels, Organisations, Plans, ResearchPacks, Sections, Users},
    documents::{self, Draw},
};

/// A collection with fewer documents loses none: the others need something to refer to.
const KEPT: usize = 4;

fn set(collection: Collection, id: ObjectId, fields: Document) -> (Collection, Write) {
    (collection, Update::one(doc! { "_id": id }, doc! { "$set": fields }).into())
}

pub(super) fn insert_update_update(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let (collection, id) = (draw.pick(&[Sections, Plans, ResearchPacks, Users])?, draw.id());
    let document = inserts::document(draw, registry, collection, id)?;
    let (first, second) = match collection {
        Sections => (doc! { "title": "Untitled" }, doc! { "title": draw.text(1, 1), "keyPoints": ["first"] }),
        Plans => (doc! { "status": "draft", "milestones": [] }, doc! { "milestones": [documents::milestone(draw)] }),
        ResearchPacks => {
            (doc! { "state": "collecting" }, doc! { "state": "ready", "confidence": draw.ratio(0.0, 1.0) })
        }
        _ => (doc! { "status": "invited" }, doc! { "status": "active", "settings": documents::settings(draw) }),
    };
    let writes = vec![(collection, Write::Insert(document)), set(collection, id, first), set(collection, id, second)];
    Some(Step::of(Operation::InsertUpdateUpdate, &[id], writes))
}

/// Updates, deletes and reinserts a document that nothing refers to: a target with cascades may see the delete alone.
pub(super) fn update_delete_reinsert(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let (collection, field) = draw.pick(&[(Sections, "title"), (FinancialModels, "name")])?;
    let id = registry.draw(collection, draw)?;
    let before = doc! { field: "about to go" };
    let document = match collection {
        Sections => {
            let section = registry.section(&id)?;
            inserts::section(draw, registry, id, section.plan, section.order)
        }
        _ => documents::financial_model(draw, id, registry.model_plan(&id)?),
    };
    let writes =
        vec![set(collection, id, before), (collection, Write::DeleteOne(id)), (collection, Write::Insert(document))];
    Some(Step::of(Operation::UpdateDeleteReinsert, &[id], writes))
}

/// Inserts and deletes a document that nobody outside the transaction ever sees; the stream has its events.
pub(super) fn insert_delete(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let id = draw.id();
    let document = inserts::document(draw, registry, Sections, id)?;
    registry.learn(Fact::Deleted(Sections, id));
    let writes = vec![(Sections, Write::Insert(document)), (Sections, Write::DeleteOne(id))];
    Some(Step::of(Operation::InsertDelete, &[id], writes))
}

/// Swaps the positions of two sections, via a negative one because plan and position are unique at each statement.
pub(super) fn swap_order(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let one = registry.draw(Sections, draw)?;
    let here = registry.section(&one)?;
    let other = draw.pick(&registry.plan(&here.plan)?.sections)?;
    if one == other {
        return None;
    }
    let there = registry.section(&other)?;
    let plan = here.plan;
    registry.learn(Fact::Section { id: one, plan, order: there.order });
    registry.learn(Fact::Section { id: other, plan, order: here.order });
    let writes = vec![
        set(Sections, one, doc! { "order": -1 - here.order }),
        set(Sections, other, doc! { "order": here.order }),
        set(Sections, one, doc! { "order": there.order }),
    ];
    Some(Step::of(Operation::SwapOrder, &[one, other], writes))
}

fn two_users(draw: &mut Draw, registry: &Registry) -> Option<(ObjectId, ObjectId)> {
    let (one, other) = (registry.draw(Users, draw)?, registry.draw(Users, draw)?);
    (one != other).then_some((one, other))
}

pub(super) fn swap_unique(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let (one, other) = two_users(draw, registry)?;
    let (mine, theirs) = (registry.email(&one)?.to_owned(), registry.email(&other)?.to_owned());
    registry.learn(Fact::User { id: one, email: theirs.clone() });
    registry.learn(Fact::User { id: other, email: mine.clone() });
    let writes = vec![
        set(Users, one, doc! { "email": documents::email(draw) }),
        set(Users, other, doc! { "email": mine }),
        set(Users, one, doc! { "email": theirs }),
    ];
    Some(Step::of(Operation::SwapUnique, &[one, other], writes))
}

pub(super) fn hand_over_unique(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let (giver, taker) = two_users(draw, registry)?;
    let (given, fresh) = (registry.email(&giver)?.to_owned(), documents::email(draw));
    registry.learn(Fact::User { id: giver, email: fresh.clone() });
    registry.learn(Fact::User { id: taker, email: given.clone() });
    let writes = vec![set(Users, giver, doc! { "email": fresh }), set(Users, taker, doc! { "email": given })];
    Some(Step::of(Operation::HandOverUnique, &[giver, taker], writes))
}

/// Deletes a section or a model: nothing refers to either.
pub(super) fn delete(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let collection = draw.pick(&[Sections, Sections, FinancialModels])?;
    let id = registry.draw(collection, draw)?;
    registry.learn(Fact::Deleted(collection, id));
    Some(Step::of(Operation::Delete, &[id], vec![(collection, Write::DeleteOne(id))]))
}

/// Deletes a document and does what the target does with `ON DELETE CASCADE` and `SET NULL`.
pub(super) fn delete_cascade(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let collection = draw.pick(&[Plans, Plans, Plans, ResearchPacks, ResearchPacks, Users, Organisations])?;
    if registry.pool(collection).len() < KEPT {
        return None;
    }
    let id = registry.draw(collection, draw)?;
    let mut writes = Vec::new();
    match collection {
        Plans => forget_plans(registry, &mut writes, &[id]),
        ResearchPacks => forget_packs(registry, &mut writes, &[id]),
        Users => {
            let (plans, packs) = (registry.plans_of(&id), registry.packs_of(&id));
            forget_plans(registry, &mut writes, &plans);
            forget_packs(registry, &mut writes, &packs);
            let named = doc! { "review.by": { "$in": [Bson::ObjectId(id), Bson::String(id.to_hex())] } };
            writes.push((Sections, Update::many(named, doc! { "$set": { "review.by": Bson::Null } }).into()));
            let change = doc! { "$pull": { "collaborators": id } };
            writes.push((Plans, Update::many(doc! { "collaborators": id }, change).into()));
            // This includes plans that the registry does not follow, see `poison`.
            writes.push((Plans, Write::DeleteMany(doc! { "owner": id })));
            writes.push((Users, Write::DeleteOne(id)));
            registry.learn(Fact::Deleted(Users, id));
        }
        _ => {
            clear(&mut writes, Users, "organisation", &[id]);
            clear(&mut writes, Plans, "organisation", &[id]);
            writes.push((Organisations, Write::DeleteOne(id)));
            registry.learn(Fact::Deleted(Organisations, id));
        }
    }
    Some(Step::alone(Operation::DeleteCascade, writes))
}

/// Sets references to deleted documents to null.
fn clear(writes: &mut Vec<(Collection, Write)>, collection: Collection, field: &str, gone: &[ObjectId]) {
    let filter = doc! { field: { "$in": gone.to_vec() } };
    writes.push((collection, Update::many(filter, doc! { "$set": { field: Bson::Null } }).into()));
}

fn forget_plans(registry: &mut Registry, writes: &mut Vec<(Collection, Write)>, plans: &[ObjectId]) {
    if plans.is_empty() {
        return;
    }
    let of_them = doc! { "plan": { "$in": plans.to_vec() } };
    writes.push((Sections, Write::DeleteMany(of_them.clone())));
    writes.push((FinancialModels, Write::DeleteMany(of_them)));
    clear(writes, ResearchPacks, "plan", plans);
    clear(writes, Plans, "basedOn", plans);
    for id in plans {
        writes.push((Plans, Write::DeleteOne(*id)));
        if let Some(plan) = registry.plan(id) {
            let (sections, models) = (plan.sections.clone(), plan.models.clone());
            sections.into_iter().for_each(|section| registry.learn(Fact::Deleted(Sections, section)));
            models.into_iter().for_each(|model| registry.learn(Fact::Deleted(FinancialModels, model)));
        }
        registry.learn(Fact::Deleted(Plans, *id));
    }
}

fn forget_packs(registry: &mut Registry, writes: &mut Vec<(Collection, Write)>, packs: &[ObjectId]) {
    if packs.is_empty() {
        return;
    }
    clear(writes, Sections, "researchPack", packs);
    for id in packs {
        writes.push((ResearchPacks, Write::DeleteOne(*id)));
        registry.learn(Fact::Deleted(ResearchPacks, *id));
    }
}
