//! Steps that change one document with one statement, or several documents without a transaction: every update operator
//! that an application may use.

use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};

use super::{
    inserts,
    registry::{Fact, Registry},
    step::{Operation, Step, Update, Write},
};
use crate::{
    Collection::{self, FinancialModels, Organisations, Plans, ResearchPacks, Sections, Users},
    documents::{self, Draw, PLAN_STAGES, PLAN_STATUSES, SCENARIOS, cents},
};

/// Builds a step of one update statement with this change to the document.
fn update(operation: Operation, collection: Collection, id: ObjectId, change: Document) -> Step {
    Step::of(operation, &[id], vec![(collection, Update::one(doc! { "_id": id }, change).into())])
}

/// Draws a document of one of these collections; returns its collection and its id.
fn any<const N: usize>(draw: &mut Draw, registry: &Registry, from: [Collection; N]) -> Option<(Collection, ObjectId)> {
    let collection = draw.pick(&from)?;
    Some((collection, registry.draw(collection, draw)?))
}

/// Returns the time of the change by the application's clock.
fn now() -> DateTime {
    DateTime::now()
}

pub(super) fn set_nested(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Users, Plans, Sections, FinancialModels])?;
    let set = match collection {
        Users => doc! {
            "profile.address.city": documents::city(draw),
            "profile.address.postcode": format!("{:05}", draw.int(0, 100_000)),
            "settings.digest.hour": draw.int(0, 24),
        },
        Plans => doc! {
            "budget.amount": draw.money(1_000, 2_000_000),
            "settings.theme": "dark",
            "status": draw.word(PLAN_STATUSES),
            "updatedAt": now(),
        },
        Sections => doc! { "title": draw.text(1, 1), "body": draw.text(1, 8), "updatedAt": now() },
        _ => doc! { "revenue.year3": draw.money(0, 3_000_000), "assumptions.churn": draw.ratio(0.0, 0.3) },
    };
    Some(update(Operation::SetNested, collection, id, doc! { "$set": set }))
}

pub(super) fn unset(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let collection = draw.pick(&Collection::ALL)?;
    let fields: &[&'static str] = match collection {
        Organisations => &["foundedOn", "domains", "seat.position"],
        Users => &["status", "rating", "lastLoginAt", "profile.phone", "profile.bornOn", "tags", "organisation"],
        Plans => &["summary", "public", "basedOn", "settings.zoom", "tags", "organisation", "milestones"],
        ResearchPacks => &["findings", "refreshedAt", "plan", "sources"],
        Sections => &["review", "keyPoints", "researchPack", "blocks"],
        FinancialModels => &["breakEvenOn", "currency", "horizonMonths", "assumptions"],
    };
    let id = registry.draw(collection, draw)?;
    Some(update(Operation::Unset, collection, id, doc! { "$unset": { draw.word(fields): "" } }))
}

pub(super) fn inc(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Users, Plans, Organisations, FinancialModels])?;
    let inc = match collection {
        Users => doc! { "loginCount": 1_i64 },
        Plans => doc! { "viewCount": draw.below(1, 9), "budget.amount": cents(draw.below(-50, 5_000)) },
        Organisations => doc! { "credit": cents(draw.below(-100, 2_000)) },
        _ => doc! { "unitsSold": draw.below(1, 1_000), "cash.opening": cents(draw.below(1, 100_000)) },
    };
    Some(update(Operation::Inc, collection, id, doc! { "$inc": inc }))
}

pub(super) fn mul(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Users, Plans, FinancialModels, ResearchPacks])?;
    let field = match collection {
        Users => "rating",
        Plans => "progress",
        FinancialModels => "growthRate",
        _ => "confidence",
    };
    Some(update(Operation::Mul, collection, id, doc! { "$mul": { field: draw.ratio(0.8, 1.2) } }))
}

pub(super) fn min(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Plans, Organisations, FinancialModels])?;
    let min = match collection {
        Plans => doc! { "startsOn": draw.day(0), "progress": draw.ratio(0.0, 1.0) },
        Organisations => doc! { "employees": draw.int(1, 4_000) },
        _ => doc! { "headcount": draw.int(1, 120), "cash.burn": draw.money(500, 60_000) },
    };
    Some(update(Operation::Min, collection, id, doc! { "$min": min }))
}

pub(super) fn max(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Users, Plans, FinancialModels])?;
    let max = match collection {
        Users => doc! { "lastLoginAt": now(), "loginCount": draw.below(0, 6_000) },
        Plans => doc! { "viewCount": draw.below(0, 6_000_000_000) },
        _ => doc! { "headcount": draw.int(1, 200), "breakEvenOn": draw.day(0) },
    };
    Some(update(Operation::Max, collection, id, doc! { "$max": max }))
}

/// Pushes to an array, sliced so that documents keep their size. An element with a key is pushed only if it is not
/// there yet, because the application may have to retry without knowing whether the first attempt succeeded.
pub(super) fn push(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Plans, Plans, ResearchPacks, Users, Sections])?;
    let (filter, push) = match collection {
        Plans => {
            let milestone = documents::milestone(draw);
            let key = milestone.get("_id")?.clone();
            let sort = if draw.chance(0.5) {
                doc! { "dueOn": 1 }
            } else {
                doc! { "weight": -1 }
            };
            (
                doc! { "_id": id, "milestones._id": { "$ne": key } },
                doc! { "milestones": { "$each": [milestone], "$sort": sort, "$slice": 6 } },
            )
        }
        ResearchPacks => {
            let sources = [documents::source(draw), documents::source(draw)];
            let keys: Vec<Bson> = sources.iter().filter_map(|source| source.get("key").cloned()).collect();
            (
                doc! { "_id": id, "sources.key": { "$nin": keys } },
                doc! { "sources": { "$each": sources.to_vec(), "$position": 0, "$slice": 7 } },
            )
        }
        Users => (doc! { "_id": id }, doc! { "tags": { "$each": draw.tags(), "$slice": -6 } }),
        _ => (doc! { "_id": id }, doc! { "keyPoints": { "$each": [draw.text(1, 1)], "$slice": -4 } }),
    };
    let writes = vec![(collection, Update::one(filter, doc! { "$push": push }).into())];
    Some(Step::of(Operation::Push, &[id], writes))
}

pub(super) fn pull(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Plans, ResearchPacks, Users])?;
    let pull = match collection {
        Plans if draw.chance(0.5) => doc! { "milestones": { "done": true, "weight": { "$lt": draw.int(1, 100) } } },
        Plans => doc! { "tags": { "$in": draw.tags() } },
        ResearchPacks => doc! { "sources": { "credibility": { "$lt": draw.ratio(0.0, 0.5) } } },
        _ => doc! { "profile.languages": { "$in": ["en", "de"] } },
    };
    Some(update(Operation::Pull, collection, id, doc! { "$pull": pull }))
}

pub(super) fn add_to_set(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Plans, Users])?;
    let add = match collection {
        Plans if draw.chance(0.5) => doc! { "collaborators": registry.draw(Users, draw)? },
        _ => doc! { "tags": { "$each": draw.tags() } },
    };
    Some(update(Operation::AddToSet, collection, id, doc! { "$addToSet": add }))
}

pub(super) fn pop(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Plans, ResearchPacks, Sections])?;
    let field = match collection {
        Plans => draw.word(&["milestones", "collaborators", "tags"]),
        ResearchPacks => draw.word(&["sources", "keywords"]),
        _ => draw.word(&["blocks", "keyPoints"]),
    };
    let end = if draw.chance(0.5) { 1 } else { -1 };
    Some(update(Operation::Pop, collection, id, doc! { "$pop": { field: end } }))
}

pub(super) fn current_date(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Users, Plans, ResearchPacks])?;
    let fields = match collection {
        Users => doc! { "lastLoginAt": true, "updatedAt": { "$type": "date" } },
        Plans => doc! { "updatedAt": true },
        _ => doc! { "refreshedAt": true, "updatedAt": true },
    };
    Some(update(Operation::CurrentDate, collection, id, doc! { "$currentDate": fields }))
}

pub(super) fn array_filters(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Plans, ResearchPacks])?;
    // `$[]` requires the array to exist.
    let (array, change, filters) = match collection {
        Plans if draw.chance(0.3) => ("milestones", doc! { "$set": { "milestones.$[].done": draw.chance(0.5) } }, None),
        Plans => (
            "milestones",
            doc! { "$set": { "milestones.$[late].dueOn": draw.day(0) }, "$min": { "milestones.$[late].weight": 60 } },
            Some(vec![doc! { "late.done": false, "late.weight": { "$gte": draw.int(1, 80) } }]),
        ),
        _ => (
            "sources",
            doc! { "$set": { "sources.$[paid].price": draw.money(1, 900) } },
            Some(vec![doc! { "paid.paid": true }]),
        ),
    };
    let filter = doc! { "_id": id, array: { "$type": "array" } };
    let update = Update { array_filters: filters, ..Update::one(filter, change) };
    Some(Step::of(Operation::ArrayFilters, &[id], vec![(collection, update.into())]))
}

pub(super) fn positional(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Plans, ResearchPacks])?;
    let (filter, set) = match collection {
        Plans => (
            doc! { "_id": id, "milestones.weight": { "$gt": 30 } },
            doc! { "milestones.$.done": true, "milestones.$.note": draw.text(1, 1) },
        ),
        _ => (
            doc! { "_id": id, "sources": { "$elemMatch": { "paid": false } } },
            doc! { "sources.$.credibility": draw.ratio(0.0, 1.0) },
        ),
    };
    let writes = vec![(collection, Update::one(filter, doc! { "$set": set }).into())];
    Some(Step::of(Operation::Positional, &[id], writes))
}

pub(super) fn pipeline(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Plans, Sections, FinancialModels])?;
    let stages = match collection {
        Plans => vec![
            doc! { "$set": { "progress": { "$avg": ["$progress", draw.ratio(0.0, 1.0)] }, "updatedAt": "$$NOW" } },
            doc! { "$set": { "stage": { "$cond": [{ "$gt": ["$progress", 0.5] }, "growth", draw.word(PLAN_STAGES)] } } },
        ],
        Sections => vec![
            doc! { "$set": { "wordCount": { "$size": { "$split": ["$body", " "] } } } },
            doc! { "$unset": ["review.comment"] },
        ],
        // The old scenario stays readable in the untyped part.
        _ => vec![doc! { "$set": { "assumptions.was": "$scenario", "scenario": draw.word(SCENARIOS) } }],
    };
    let writes = vec![(collection, Update::one(doc! { "_id": id }, stages).into())];
    Some(Step::of(Operation::Pipeline, &[id], writes))
}

/// Updates all sections of a plan with one statement, which causes many events.
pub(super) fn update_many(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let plan = registry.draw(Plans, draw)?;
    let mut touches = registry.plan(&plan)?.sections.clone();
    touches.push(plan);
    let change = doc! { "$set": { "aiGenerated": draw.chance(0.5) }, "$currentDate": { "updatedAt": true } };
    let writes = vec![(Sections, Update::many(doc! { "plan": plan }, change).into())];
    Some(Step::of(Operation::UpdateMany, &touches, writes))
}

/// Replaces a document under the same `_id`; references that others rely on stay as they are.
pub(super) fn replace(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Users, Plans, ResearchPacks, Sections, FinancialModels])?;
    let mut document = match collection {
        Users => {
            let mut user = documents::user(draw, id, registry.pool(Organisations));
            user.insert("email", registry.email(&id)?);
            user
        }
        Plans => {
            let owner = registry.plan(&id)?.owner;
            inserts::plan(draw, registry, id, owner)
        }
        ResearchPacks => documents::research_pack(draw, id, registry.pack_owner(&id)?, registry.pool(Plans)),
        Sections => {
            let section = registry.section(&id)?;
            inserts::section(draw, registry, id, section.plan, section.order)
        }
        _ => documents::financial_model(draw, id, registry.model_plan(&id)?),
    };
    document.remove("_id");
    Some(Step::of(Operation::Replace, &[id], vec![(collection, Write::Replace(id, document))]))
}

pub(super) fn empty_array(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Plans, ResearchPacks, Users])?;
    let field = match collection {
        Plans => "milestones",
        ResearchPacks => "sources",
        _ => "tags",
    };
    let none: [Bson; 0] = [];
    Some(update(Operation::EmptyArray, collection, id, doc! { "$set": { field: none } }))
}

pub(super) fn refill_array(draw: &mut Draw, registry: &Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Plans, ResearchPacks, Users])?;
    let set = match collection {
        Plans => doc! { "milestones": (0..=draw.index(4)).map(|_| documents::milestone(draw)).collect::<Vec<_>>() },
        ResearchPacks => doc! { "sources": (0..=draw.index(4)).map(|_| documents::source(draw)).collect::<Vec<_>>() },
        _ => doc! { "tags": draw.tags() },
    };
    Some(update(Operation::RefillArray, collection, id, doc! { "$set": set }))
}

pub(super) fn change_reference(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let (collection, id) = any(draw, registry, [Users, Plans, Plans, ResearchPacks, Sections])?;
    let set = match collection {
        Users => doc! { "organisation": draw.maybe(registry.pool(Organisations)) },
        Plans if draw.chance(0.5) => {
            let owner = registry.draw(Users, draw)?;
            registry.learn(Fact::Plan { id, owner });
            doc! { "owner": owner }
        }
        Plans => doc! { "organisation": draw.maybe(registry.pool(Organisations)) },
        ResearchPacks => doc! { "plan": draw.maybe(registry.pool(Plans)) },
        _ => doc! {
            "researchPack": draw.maybe(registry.pool(ResearchPacks)),
            "review": documents::review(draw, registry.pool(Users)),
        },
    };
    Some(update(Operation::ChangeReference, collection, id, doc! { "$set": set }))
}

pub(super) fn change_unique(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let id = registry.draw(Users, draw)?;
    let email = documents::email(draw);
    registry.learn(Fact::User { id, email: email.clone() });
    Some(update(Operation::ChangeUnique, Users, id, doc! { "$set": { "email": email } }))
}

/// Moves a section to the end of another plan.
pub(super) fn move_section(draw: &mut Draw, registry: &mut Registry) -> Option<Step> {
    let (id, plan) = (registry.draw(Sections, draw)?, registry.draw(Plans, draw)?);
    let order = registry.reserve_order(&plan)?;
    registry.learn(Fact::Section { id, plan, order });
    Some(update(Operation::MoveSection, Sections, id, doc! { "$set": { "plan": plan, "order": order } }))
}
