//! Documents as applications write them, which a mapping must be able to express.

use bson::{oid::ObjectId, rawdoc};

use crate::world::{World, run};

/// Checks that both sides are equal for all changes of the collection so far.
async fn equal(world: &World, collection: &str) {
    world.migration.succeed(&["reconcile", "--full", "--collection", collection]).await;
}

#[test]
fn input_175_empty_under_the_first_name() {
    run(async |world| {
        let document = rawdoc! { "_id": "175 second", "createdBy": "", "created_by": "b", "country": " N/A " };
        let mut second = world.insert("apps", document).await;
        let mut first = world.insert("apps", rawdoc! { "_id": "175 first", "createdBy": "a", "created_by": "b" }).await;
        let mut none = world.insert("apps", rawdoc! { "_id": "175 none", "createdBy": "", "created_by": "" }).await;
        second.is("created_by || ' ' || country", "b unknown").await;
        first.is("created_by", "a").await;
        none.is_null("created_by").await;
        second.update(rawdoc! { "$set": { "createdBy": "c", "country": "-", "address": { "country": "CH" } } }).await;
        second.is("created_by || ' ' || country", "c CH").await;
        equal(world, "apps").await;
    });
}

#[test]
fn input_176_empty_elements() {
    run(async |world| {
        let lists =
            rawdoc! { "_id": "176", "tags": ["a", "", null], "codes": [1, "", null], "members": ["x", "", null, "x"] };
        let mut doc = world.insert("apps", lists).await;
        doc.is("tags", "{a}").await;
        doc.is("codes", "{1,NULL,NULL}").await;
        let members = "(SELECT string_agg(member, ' ' ORDER BY member) FROM app_members WHERE app = '176')";
        doc.is(members, "x").await;
        doc.update(rawdoc! { "$set": { "tags": ["", null], "members": ["", "y"] } }).await;
        doc.is("tags", "{}").await;
        doc.is(members, "y").await;
        let mut full = world.insert("typed", rawdoc! { "_id": "176 full", "ss_full": ["a", "b"] }).await;
        let mut empty = world.insert("typed", rawdoc! { "_id": "176 empty", "ss_full": ["a", ""] }).await;
        full.is("ss_full", "{a,b}").await;
        empty.is_dead("NOT_NULL").await;
        equal(world, "apps").await;
    });
}

#[test]
fn input_177_no_kind() {
    run(async |world| {
        let mut base = world.insert("kinds", rawdoc! { "_id": "177", "name": "base" }).await;
        let mut null = world.insert("kinds", rawdoc! { "_id": "177 null", "__t": null, "name": "null" }).await;
        let mut other = world.insert("kinds", rawdoc! { "_id": "177 other", "__t": "missing" }).await;
        base.is("name", "base").await;
        null.is("name", "null").await;
        other.is_dead("TYPE_MISMATCH").await;
        // The document becomes another kind, then one without a kind: its row moves each time.
        base.update(rawdoc! { "$set": { "__t": "Teacher" } }).await;
        let teachers = "(SELECT count(*) FROM kinds_teacher WHERE id = '177')";
        base.settle().await;
        null.is(&format!("{teachers} || ' ' || (SELECT count(*) FROM kinds WHERE id = '177')"), "1 0").await;
        base.update(rawdoc! { "$unset": { "__t": "" } }).await;
        base.is(teachers, "0").await;
    });
}

#[test]
fn input_178_reference_with_a_prefix() {
    run(async |world| {
        let cases = [
            ("s_prefix", "_User$abc".into(), Ok("abc")),
            ("s_prefix", "abc".into(), Err("TYPE_MISMATCH")),
            ("s_prefix", "_User$".into(), Err("TYPE_MISMATCH")),
            ("u_prefix", "Team$abc".into(), Err("TYPE_MISMATCH")),
            ("u_prefix", "abc".into(), Err("TYPE_MISMATCH")),
            ("u_prefix", 7.into(), Err("TYPE_MISMATCH")),
        ];
        world.typed("178", &cases).await;
        // The reference is the key of the row that it points to.
        let user = rawdoc! { "_id": "178 user", "label": "u" };
        let mut user = world.insert_as("any_ids", &uuid_of("178 user"), user).await;
        let mut app = world.insert("apps", rawdoc! { "_id": "178", "_p_owner": "_User$178 user" }).await;
        user.is("label", "u").await;
        app.is("(SELECT label FROM any_ids WHERE id = owner)", "u").await;
    });
}

#[test]
fn input_179_mixed_types() {
    run(async |world| {
        let id = ObjectId::from_bytes([9; 12]);
        let mut object_id = world.insert("apps", rawdoc! { "_id": "179 oid", "ref": id }).await;
        let mut text = world.insert("apps", rawdoc! { "_id": "179 text", "ref": "t" }).await;
        let mut number = world.insert("apps", rawdoc! { "_id": "179 number", "ref": 7 }).await;
        object_id.is("legacy || ' ' || coalesce(only_text, 'NULL')", &format!("{id} NULL")).await;
        text.is("legacy || ' ' || only_text", "t t").await;
        number.is("coalesce(legacy, only_text, 'NULL')", "NULL").await;
        world.typed("179", &[("s_typed", 7.into(), Err("TYPE_MISMATCH")), ("s_typed", "t".into(), Ok("t"))]).await;
    });
}

#[test]
fn input_180_names_of_a_map_that_are_ids() {
    run(async |world| {
        let id = ObjectId::from_bytes([8; 12]).to_hex();
        let mut votes = bson::RawDocumentBuf::new();
        votes.append(bson::raw::CString::try_from(id.as_str()).expect("no NUL"), 3);
        let mut doc = world.insert("apps", rawdoc! { "_id": "180", "votes": votes }).await;
        let votes = "(SELECT voter || ' ' || vote FROM app_votes WHERE app = '180')";
        doc.is(votes, &format!("{} 3", uuid_of(&id))).await;
        doc.update(rawdoc! { "$set": { "votes": {} } }).await;
        doc.is("(SELECT count(*) FROM app_votes WHERE app = '180')", "0").await;
        equal(world, "apps").await;
    });
}

/// Returns the key of a row of `any_ids`.
fn uuid_of(text: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, text.as_bytes()).to_string()
}

#[test]
fn input_181_error_of_a_type() {
    run(async |world| {
        let mut doc = world.insert("measures", rawdoc! { "_id": "181", "v": "no measure" }).await;
        let mut fine = world.insert("measures", rawdoc! { "_id": "181 fine", "v": "1.5" }).await;
        fine.is("v", "1.5").await;
        let detail = doc.is_dead("REFUSED").await;
        assert!(detail.starts_with("SQLSTATE 42601") && !detail.contains("measure"), "{detail}");
    });
}
