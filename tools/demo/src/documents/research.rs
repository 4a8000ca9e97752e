//! Documents of `research_packs` with their sources, and of `financial_models`.

use bson::{Bson, Document, doc, oid::ObjectId};

use super::{draw::Draw, people, plans::CURRENCIES, words};

/// Values that `app.research_packs.state` allows.
const PACK_STATES: &[&str] = &["collecting", "ready", "stale"];
/// Values that `app.financial_models.scenario` allows.
pub(crate) const SCENARIOS: &[&str] = &["base", "optimistic", "pessimistic"];

/// Generates a research pack with one to five sources; `plan` is optional.
pub(crate) fn research_pack(draw: &mut Draw, id: ObjectId, owner: ObjectId, plans: &[ObjectId]) -> Document {
    let sources: Vec<Document> = (0..=draw.index(5)).map(|_| source(draw)).collect();
    let findings: Vec<Document> = (0..draw.index(3))
        .map(|_| doc! { "claim": draw.text(1, 1), "weight": draw.ratio(0.0, 1.0), "samples": draw.below(1, 1 << 54) })
        .collect();
    let mut document = doc! {
        "_id": id,
        "owner": owner,
        "plan": draw.maybe(plans),
        "topic": format!("{} in {}", draw.word(words::INDUSTRIES), draw.word(words::REGIONS)),
        "state": draw.word(PACK_STATES),
        "scope": { "region": draw.word(words::REGIONS), "years": [draw.int(2015, 2020), draw.int(2020, 2026)] },
        "marketSize": draw.money(100_000, 900_000_000),
        "confidence": draw.ratio(0.0, 1.0),
        "keywords": draw.words(words::WORDS, 1, 6),
        "sources": sources,
    };
    draw.sometimes(&mut document, 0.7, "findings", |_| findings.into());
    draw.sometimes(&mut document, 0.5, "refreshedAt", |draw| draw.moment().into());
    people::stamp(draw, &mut document);
    document
}

/// Generates a source of a pack. It has no `_id`; `key` distinguishes it from the others.
pub(crate) fn source(draw: &mut Draw) -> Document {
    let tag = draw.tag();
    let mut source = doc! {
        "key": format!("src-{tag}"),
        "title": draw.word(words::PUBLICATIONS),
        "url": format!("https://library.example/{}/{tag}", draw.int(1990, 2026)),
        "credibility": draw.ratio(0.0, 1.0),
        "paid": draw.chance(0.2),
    };
    draw.sometimes(&mut source, 0.7, "publishedOn", |draw| draw.day(4_000).into());
    draw.sometimes(&mut source, 0.3, "price", |draw| draw.money(1, 900).into());
    source
}

/// Generates a financial model of a plan.
pub(crate) fn financial_model(draw: &mut Draw, id: ObjectId, plan: ObjectId) -> Document {
    let mut document = doc! {
        "_id": id,
        "plan": plan,
        "name": format!("{} case", draw.word(words::REGIONS)),
        "scenario": draw.word(SCENARIOS),
        "startsOn": draw.day(0),
        "cash": { "opening": draw.money(0, 500_000), "burn": draw.money(500, 60_000) },
        "revenue": {
            "year1": draw.money(0, 400_000),
            "year2": draw.money(0, 900_000),
            "year3": draw.money(0, 3_000_000),
        },
        "growthRate": draw.ratio(-0.2, 1.5),
        "headcount": draw.int(1, 120),
        "unitsSold": draw.below(0, 20_000_000_000),
        "assumptions": {
            "churn": draw.ratio(0.0, 0.3),
            "notes": draw.text(1, 2),
            "prices": [draw.money(1, 100), draw.money(100, 1_000)],
            "checkedAt": draw.moment(),
        },
        "locked": draw.chance(0.1),
    };
    draw.sometimes(&mut document, 0.7, "currency", |draw| draw.word(CURRENCIES).into());
    draw.sometimes(&mut document, 0.6, "horizonMonths", |draw| draw.int(12, 61).into());
    draw.sometimes(
        &mut document,
        0.7,
        "breakEvenOn",
        |draw| {
            if draw.chance(0.2) { Bson::Null } else { draw.day(0).into() }
        },
    );
    people::stamp(draw, &mut document);
    document
}
