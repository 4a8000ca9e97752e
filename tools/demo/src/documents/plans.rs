//! Documents of `plans`, with their milestones, and of `sections`.

use bson::{Bson, Document, doc, oid::ObjectId};

use super::{draw::Draw, people, words};

/// Values that `app.plans.status` allows.
pub(crate) const PLAN_STATUSES: &[&str] = &["draft", "in_review", "approved", "archived"];
/// Values that `app.plans.stage` allows.
pub(crate) const PLAN_STAGES: &[&str] = &["idea", "seed", "growth", "mature"];
/// Values that `app.sections.kind` allows.
const SECTION_KINDS: &[&str] = &["text", "table", "canvas", "checklist"];
/// Values that the `currency` columns allow.
pub(super) const CURRENCIES: &[&str] = &["EUR", "USD", "GBP", "NOK"];

/// The documents that a plan refers to.
pub(crate) struct PlanLinks<'a> {
    pub(crate) owner: ObjectId,
    pub(crate) users: &'a [ObjectId],
    pub(crate) organisations: &'a [ObjectId],
    /// Plans that it may be a copy of.
    pub(crate) templates: &'a [ObjectId],
}

/// Generates a plan with up to five milestones.
pub(crate) fn plan(draw: &mut Draw, id: ObjectId, links: &PlanLinks<'_>) -> Document {
    let collaborators: Vec<ObjectId> = (0..draw.index(4)).filter_map(|_| draw.pick(links.users)).collect();
    let milestones: Vec<Document> = (0..draw.index(6)).map(|_| milestone(draw)).collect();
    let mut document = doc! {
        "_id": id,
        "title": format!("{} {} {}", draw.word(words::FIRMS), draw.word(words::TRADES), draw.int(2021, 2031)),
        "owner": links.owner,
        "organisation": draw.maybe(links.organisations),
        "collaborators": collaborators,
        "status": draw.word(PLAN_STATUSES),
        "stage": draw.word(PLAN_STAGES),
        "industry": draw.word(words::INDUSTRIES),
        "budget": { "amount": draw.money(1_000, 2_000_000), "currency": draw.word(CURRENCIES) },
        "progress": draw.ratio(0.0, 1.0),
        "viewCount": draw.below(0, 6_000_000_000),
        "startsOn": draw.day(0),
        "tags": draw.tags(),
        "settings": people::settings(draw),
        "milestones": milestones,
    };
    draw.sometimes(&mut document, 0.8, "summary", |draw| draw.text(2, 6).into());
    draw.sometimes(&mut document, 0.5, "public", |draw| draw.chance(0.3).into());
    // The field is absent in a plan started from scratch, and null in one whose template was removed.
    draw.sometimes(&mut document, 0.3, "basedOn", |draw| draw.maybe(links.templates));
    people::stamp(draw, &mut document);
    document
}

/// Generates a milestone; its own `_id` is the key of its row.
pub(crate) fn milestone(draw: &mut Draw) -> Document {
    let mut milestone = doc! {
        "_id": draw.id(),
        "name": draw.word(words::MILESTONES),
        "dueOn": draw.day(0),
        "done": draw.chance(0.4),
        "weight": draw.int(1, 100),
        "owners": draw.words(words::GIVEN, 0, 2),
    };
    draw.sometimes(&mut milestone, 0.6, "budget", |draw| draw.money(100, 90_000).into());
    draw.sometimes(&mut milestone, 0.3, "note", |draw| draw.text(1, 1).into());
    milestone
}

/// The position of a section and the documents it refers to.
pub(crate) struct SectionLinks<'a> {
    pub(crate) plan: ObjectId,
    /// The section's position, unique within the plan.
    pub(crate) order: i32,
    pub(crate) packs: &'a [ObjectId],
    pub(crate) users: &'a [ObjectId],
}

/// Generates a section of a plan.
pub(crate) fn section(draw: &mut Draw, id: ObjectId, links: &SectionLinks<'_>) -> Document {
    let words = draw.int(40, 900);
    let blocks: Vec<Document> = (0..draw.index(4))
        .map(|_| doc! { "type": draw.word(&["paragraph", "quote", "figure"]), "text": draw.text(1, 1) })
        .collect();
    let mut document = doc! {
        "_id": id,
        "plan": links.plan,
        "order": links.order,
        "title": draw.word(words::SECTION_TITLES),
        "kind": draw.word(SECTION_KINDS),
        "body": draw.text(2, 14),
        "blocks": blocks,
        // An old release counted with a division, so some counts are doubles without a fraction.
        "wordCount": if draw.chance(0.1) { Bson::Double(f64::from(words)) } else { Bson::Int32(words) },
        "aiGenerated": draw.chance(0.35),
        "keyPoints": draw.words(words::WORDS, 0, 4),
    };
    draw.sometimes(&mut document, 0.6, "researchPack", |draw| draw.maybe(links.packs));
    draw.sometimes(&mut document, 0.4, "review", |draw| review(draw, links.users).into());
    people::stamp(draw, &mut document);
    document
}

/// Generates a review; older ones name the reviewer by the hex digits of the id.
pub(crate) fn review(draw: &mut Draw, users: &[ObjectId]) -> Document {
    let reviewer = match draw.maybe(users) {
        Bson::ObjectId(id) if draw.chance(0.3) => Bson::String(id.to_hex()),
        other => other,
    };
    doc! { "score": draw.ratio(1.0, 5.0), "comment": draw.text(1, 1), "by": reviewer, "at": draw.moment() }
}
