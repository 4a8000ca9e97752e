//! Documents of `organisations` and `users`.

use bson::{Bson, Document, doc, oid::ObjectId};

use super::{draw::Draw, words};

/// Values that `app.organisations.kind` allows.
const ORGANISATION_KINDS: &[&str] = &["startup", "company", "charity", "public_body"];
/// Values that `app.users.status` allows.
const USER_STATUSES: &[&str] = &["active", "invited", "suspended"];
/// Values that `app.users.role` allows.
const USER_ROLES: &[&str] = &["founder", "member", "adviser", "investor"];

/// Generates an organisation; its slug is unique.
pub(crate) fn organisation(draw: &mut Draw, id: ObjectId) -> Document {
    let (firm, trade) = (draw.word(words::FIRMS), draw.word(words::TRADES));
    let slug = format!("{}-{}-{}", firm.to_lowercase(), trade.to_lowercase(), draw.tag());
    let mut document = doc! {
        "_id": id,
        "name": format!("{firm} {trade}"),
        "slug": &slug,
        "kind": draw.word(ORGANISATION_KINDS),
        "about": draw.text(1, 4),
        "employees": draw.int(1, 4_000),
        "seat": {
            "city": draw.word(words::CITIES),
            "country": draw.word(words::COUNTRIES),
            "position": { "lat": draw.ratio(-60.0, 70.0), "lon": draw.ratio(-180.0, 180.0) },
        },
        "credit": draw.money(0, 50_000),
        "domains": draw.words(words::TAGS, 0, 3).iter().map(|tag| format!("{tag}.example")).collect::<Vec<_>>(),
        "settings": settings(draw),
    };
    draw.sometimes(&mut document, 0.7, "foundedOn", |draw| draw.day(9_000).into());
    stamp(draw, &mut document);
    document
}

/// Generates a user; the email address is unique.
pub(crate) fn user(draw: &mut Draw, id: ObjectId, organisations: &[ObjectId]) -> Document {
    let mut profile = doc! {
        "address": {
            "street": format!("{} {}", draw.int(1, 200), draw.word(words::STREETS)),
            "city": draw.word(words::CITIES),
            "postcode": format!("{:05}", draw.int(0, 100_000)),
            "country": draw.word(words::COUNTRIES),
        },
        "bio": draw.text(1, 5),
        "languages": draw.words(words::LANGUAGES, 1, 3),
    };
    draw.sometimes(&mut profile, 0.4, "phone", |draw| format!("+00 555 {:07}", draw.int(0, 10_000_000)).into());
    draw.sometimes(&mut profile, 0.6, "bornOn", |draw| draw.day(18_000).into());
    let mut document = doc! {
        "_id": id,
        "email": email(draw),
        "name": format!("{} {}", draw.word(words::GIVEN), draw.word(words::FAMILY)),
        "role": draw.word(USER_ROLES),
        "organisation": draw.maybe(organisations),
        "profile": profile,
        "tags": draw.tags(),
        "settings": settings(draw),
        "loginCount": draw.below(0, 5_000),
        "emailVerified": draw.chance(0.8),
    };
    // Accounts older than the status field have none; the mapping fills in the default.
    draw.sometimes(&mut document, 0.85, "status", |draw| draw.word(USER_STATUSES).into());
    draw.sometimes(&mut document, 0.7, "rating", |draw| draw.ratio(0.0, 5.0).into());
    draw.sometimes(
        &mut document,
        0.8,
        "lastLoginAt",
        |draw| {
            if draw.chance(0.1) { Bson::Null } else { draw.moment().into() }
        },
    );
    stamp(draw, &mut document);
    document
}

/// Draws an email address that nobody else has.
pub(crate) fn email(draw: &mut Draw) -> String {
    format!("{}.{}@mail.example", draw.word(words::FIRMS).to_lowercase(), draw.tag())
}

/// Draws the city where somebody lives.
pub(crate) fn city(draw: &mut Draw) -> &'static str {
    draw.word(words::CITIES)
}

/// Draws a settings object whose shape differs from document to document.
pub(crate) fn settings(draw: &mut Draw) -> Document {
    let mut settings = doc! {
        "theme": draw.word(&["light", "dark", "system"]),
        "digest": { "every": draw.word(&["day", "week", "never"]), "hour": draw.int(0, 24) },
    };
    draw.sometimes(&mut settings, 0.5, "beta", |draw| draw.chance(0.5).into());
    draw.sometimes(&mut settings, 0.4, "columns", |draw| draw.words(words::TAGS, 1, 3).into());
    draw.sometimes(&mut settings, 0.3, "zoom", |draw| draw.ratio(0.5, 2.0).into());
    draw.sometimes(&mut settings, 0.2, "seenTour", |_| Bson::Null);
    settings
}

/// Sets the times at which the document was created and last changed.
pub(super) fn stamp(draw: &mut Draw, document: &mut Document) {
    let (one, other) = (draw.moment(), draw.moment());
    document.insert("createdAt", one.min(other));
    document.insert("updatedAt", one.max(other));
}
