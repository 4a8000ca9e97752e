//! Documents that violate constraints of the target. The shared daemon runs with constraints enforced.

use bson::rawdoc;
use mongodb::bson::doc;

use crate::world::{Doc, World, run};

#[test]
fn input_163_child_before_its_parent() {
    run(async |world| {
        let mut kid = world.insert("kids", rawdoc! { "_id": "163", "parent": "163 late" }).await;
        let mut orphan = world.insert("kids", rawdoc! { "_id": "163 orphan", "parent": "163 never" }).await;
        kid.settle().await;
        let mut parent = world.insert("parents", rawdoc! { "_id": "163 late" }).await;
        parent.is("id", "163 late").await;
        kid.comes_after_waiting("parent", "163 late").await;
        let detail = orphan.is_dead("FK_MISSING").await;
        assert!(detail.contains("kids_parent_fkey") && !detail.contains("never"), "{detail}");
    });
}

#[test]
fn input_164_unique_value_that_moves() {
    run(async |world| {
        let mut first = world.insert("uniques", rawdoc! { "_id": "164 a", "value": "164" }).await;
        let mut second = world.insert("uniques", rawdoc! { "_id": "164 b", "value": "164 other" }).await;
        first.is("value", "164").await;
        second.is("value", "164 other").await;
        // The document that takes the value comes before the one that frees it.
        second.update(rawdoc! { "$set": { "value": "164" } }).await;
        first.update(rawdoc! { "$set": { "value": "164 free" } }).await;
        first.is("value", "164 free").await;
        second.comes_after_waiting("value", "164").await;
    });
}

#[test]
fn input_165_two_that_swap() {
    run(async |world| {
        let mut first = world.insert("uniques", rawdoc! { "_id": "165 a", "value": "165 x" }).await;
        let mut second = world.insert("uniques", rawdoc! { "_id": "165 b", "value": "165 y" }).await;
        first.is("value", "165 x").await;
        second.is("value", "165 y").await;
        first.remember().await;
        second.remember().await;
        let uniques = world.migration.collection("uniques");
        let mut session = world.migration.mongo.start_session().await.expect("a session");
        session.start_transaction().await.expect("begin");
        for (id, value) in [("165 a", "165 y"), ("165 b", "165 x")] {
            let update = uniques.update_one(doc! { "_id": id }, doc! { "$set": { "value": value } });
            update.session(&mut session).await.expect("update");
        }
        session.commit_transaction().await.expect("commit");
        first.comes_after_waiting("value", "165 y").await;
        second.comes_after_waiting("value", "165 x").await;
    });
}

#[test]
fn input_166_true_duplicate() {
    run(async |world| {
        let mut first = world.insert("uniques", rawdoc! { "_id": "166 a", "value": "166" }).await;
        first.is("value", "166").await;
        let mut second = world.insert("uniques", rawdoc! { "_id": "166 b", "value": "166" }).await;
        let detail = second.is_dead("UNIQUE_CONFLICT").await;
        assert!(detail.contains("uniques_value_key"), "{detail}");
        first.is("value", "166").await;
    });
}

#[test]
fn input_167_not_null() {
    run(async |world| {
        let mut missing = world.insert("strict", rawdoc! { "_id": "167 a" }).await;
        let mut null = world.insert("strict", rawdoc! { "_id": "167 b", "must": bson::raw::RawBson::Null }).await;
        missing.is_dead("NOT_NULL").await;
        null.is_dead("NOT_NULL").await;
    });
}

#[test]
fn input_168_check() {
    run(async |world| {
        let mut doc = world.insert("strict", rawdoc! { "_id": "168", "must": "x", "checked": -1 }).await;
        let detail = doc.is_dead("CHECK").await;
        assert!(detail.contains("strict_checked_check"), "{detail}");
    });
}

#[test]
fn input_169_exclusion() {
    run(async |world| {
        let mut first = world.insert("bookings", rawdoc! { "_id": "169 a", "first_day": 10, "last_day": 20 }).await;
        first.is("last_day", "20").await;
        let mut second = world.insert("bookings", rawdoc! { "_id": "169 b", "first_day": 19, "last_day": 30 }).await;
        second.settle().await;
        let waits = second.letter_state().await;
        assert_eq!(waits.as_deref(), Some("parked"), "the other booking may still move");
        second.is_dead("UNIQUE_CONFLICT").await;
    });
}

#[test]
fn input_170_generated_and_identity() {
    run(async |world| {
        for column in ["counted", "doubled"] {
            let mapping = format!("[collections.generated]\nid = \"text\"\ncolumns.{column} = \"x\"\n");
            let faults = world.check(&mapping).await;
            assert!(faults.contains("is filled by PostgreSQL"), "{faults}");
        }
        let faults = world.check("[collections.generated_key]\nid = \"integer\"\n").await;
        assert!(faults.contains("is filled by PostgreSQL"), "{faults}");
    });
}

#[test]
fn input_171_trigger_that_raises() {
    run(async |world| {
        let mut doc = world.insert("guarded", rawdoc! { "_id": "171", "n": 13 }).await;
        let mut fine = world.insert("guarded", rawdoc! { "_id": "171 fine", "n": 12 }).await;
        fine.is("n", "12").await;
        doc.settle().await;
        assert_eq!(doc.letter_state().await.as_deref(), Some("parked"));
        let detail = doc.is_dead("REFUSED").await;
        assert!(detail.starts_with("SQLSTATE P0001") && !detail.contains("thirteen"), "{detail}");
    });
}

#[test]
fn input_172_longer_than_a_page() {
    run(async |world| {
        let mut doc = world.insert("wide", rawdoc! { "_id": "172", "s": "x".repeat(9_000) }).await;
        let mut fits = world.insert("wide", rawdoc! { "_id": "172 fits", "s": "x".repeat(8_000) }).await;
        let detail = doc.is_dead("TOO_BIG").await;
        assert!(detail.contains("SQLSTATE 54000"), "{detail}");
        fits.is("length(s)", "8000").await;
    });
}

/// Writes a document whose insert becomes a dead letter.
async fn dead<'w>(world: &'w World, id: &str) -> Doc<'w> {
    let mut doc = world.insert("strict", rawdoc! { "_id": id }).await;
    doc.is_dead("NOT_NULL").await;
    doc
}

#[test]
fn input_173_delete_of_a_dead_letter() {
    run(async |world| {
        let mut doc = dead(world, "173").await;
        doc.delete().await;
        doc.is_gone().await;
        assert_eq!(doc.letter_state().await.as_deref(), Some("superseded"));
    });
}

#[test]
fn input_174_good_version_after_a_dead_letter() {
    run(async |world| {
        let mut doc = dead(world, "174").await;
        doc.update(rawdoc! { "$set": { "must": "here" } }).await;
        doc.is("must", "here").await;
        assert_eq!(doc.letter_state().await.as_deref(), Some("superseded"));
    });
}
