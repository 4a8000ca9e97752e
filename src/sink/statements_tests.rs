//! The texts themselves: a change of any of them is a decision, so each is seen in review.

use insta::assert_snapshot;

use super::*;
use crate::mapping::{
    Lookup, MappingFile, Plan,
    target::{Column, ColumnType, ForeignKey, Table, TableName},
};

fn column(name: &str, kind: ColumnType, sql_type: &str) -> Column {
    Column { sql_type: sql_type.to_owned(), ..Column::new(name, kind) }
}

fn table(name: &str, columns: Vec<Column>, uniques: &[&[&str]], foreign_keys: Vec<ForeignKey>) -> Table {
    let names = |names: &&[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let uniques = uniques.iter().map(names).collect();
    Table { uniques, foreign_keys, ..Table::new(TableName::new("app", name), &["id"], columns) }
}

fn references(column: &str, parent: &str) -> ForeignKey {
    ForeignKey {
        name: format!("{column}_fkey"),
        columns: vec![column.to_owned()],
        parent: TableName::new("app", parent),
        parent_columns: vec!["id".to_owned()],
    }
}

fn statements() -> Vec<TableStatements> {
    changed(|_| ())
}

/// The statements of a plan that was changed by hand.
fn changed(change: impl FnOnce(&mut CollectionPlan)) -> Vec<TableStatements> {
    let uuid = |name| column(name, ColumnType::Uuid, "uuid");
    let plans = vec![
        uuid("id"),
        uuid("owner_id"),
        column("Title", ColumnType::Citext, "public.citext"),
        column("budget", ColumnType::Numeric { precision: Some(10), scale: 2 }, "numeric(10,2)"),
        column("raw", ColumnType::Json, "json"),
        column("search", ColumnType::Unsupported("tsvector".to_owned()), "tsvector"),
    ];
    let milestones = vec![uuid("id"), uuid("plan_id"), column("place", ColumnType::Int4, "integer")];
    let catalog = Catalog {
        tables: vec![
            table("users", vec![uuid("id")], &[], Vec::new()),
            table("plans", plans, &[&["Title"], &[]], vec![references("owner_id", "users")]),
            table("milestones", milestones, &[&["plan_id", "place"]], vec![references("plan_id", "plans")]),
        ],
    };
    let mapping = r#"
        namespace = "dns"
        [collections.users]
        table = "app.users"
        id = "uuid5"
        [collections.plans]
        table = "app.plans"
        id = "uuid5"
        ignore = ["search"]
        [collections.plans.columns]
        Title = "title"
        owner_id = { path = "owner", reference = "users" }
        [collections.plans.children.milestones]
        table = "app.milestones"
        parent = "plan_id"
        order = "place"
        id = { column = "id", from = "_id" }
    "#;
    let file = MappingFile::parse(mapping, "test").expect("a file");
    let plan = Plan::compile(&file, &catalog).expect("a plan");
    let mut plan = plan.collection("plans").expect("planned").clone();
    change(&mut plan);
    CollectionStatements::new(&plan, &catalog, &std::collections::HashMap::new()).expect("statements").tables
}

#[test]
fn upsert_touches_only_rows_that_differ() {
    assert_snapshot!(statements()[0].upsert, @r#"
    INSERT INTO "app"."plans" AS t ("id", "owner_id", "Title", "budget", "raw")
    SELECT e.c0::uuid, e.c1::uuid, e.c2::public.citext, e.c3::numeric(10,2), e.c4::json
      FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::numeric[], $5::json[]) AS e(c0, c1, c2, c3, c4)
    ON CONFLICT ("id") DO UPDATE SET "owner_id" = excluded."owner_id", "Title" = excluded."Title", "budget" = excluded."budget", "raw" = excluded."raw"
     WHERE t."owner_id" IS DISTINCT FROM excluded."owner_id"
        OR t."Title"::text COLLATE "C" IS DISTINCT FROM excluded."Title"::text COLLATE "C"
        OR t."budget"::text COLLATE "C" IS DISTINCT FROM excluded."budget"::text COLLATE "C"
        OR t."raw"::text COLLATE "C" IS DISTINCT FROM excluded."raw"::text COLLATE "C"
    "#);
}

#[test]
fn swap_keeps_what_is_not_ours() {
    assert_snapshot!(statements()[0].swap, @r#"
    WITH gone AS (
      DELETE FROM "app"."plans" AS t USING unnest($1::uuid[], $2::uuid[], $3::text[], $4::numeric[], $5::json[]) AS e(c0, c1, c2, c3, c4) WHERE t."id" = e.c0::uuid
      RETURNING t."id", t."search")
    INSERT INTO "app"."plans" ("id", "owner_id", "Title", "budget", "raw", "search") OVERRIDING SYSTEM VALUE
    SELECT e.c0::uuid, e.c1::uuid, e.c2::public.citext, e.c3::numeric(10,2), e.c4::json, g."search"
      FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::numeric[], $5::json[]) AS e(c0, c1, c2, c3, c4)
      JOIN gone AS g ON g."id" = e.c0::uuid
     WHERE (SELECT count(*) FROM gone) > 0
    "#);
}

#[test]
fn contested_asks_for_holders_outside_and_for_rivals_inside() {
    assert_eq!(statements()[0].contested.len(), 1, "an index over expressions cannot be asked about");
    assert_snapshot!(statements()[1].contested[0].sql, @r#"
    SELECT e.n FROM unnest($1::uuid[], $2::uuid[], $3::int4[]) WITH ORDINALITY AS e(c0, c1, c2, n)
     WHERE EXISTS (SELECT FROM "app"."milestones" AS t WHERE t."plan_id" = e.c1::uuid AND t."place" = e.c2::integer
       AND NOT EXISTS (SELECT FROM unnest($1::uuid[], $2::uuid[], $3::int4[]) AS o(c0, c1, c2) WHERE t."id" = o.c0::uuid))
    UNION
    SELECT d.n FROM (SELECT e.n, row_number() OVER (PARTITION BY e.c1::uuid, e.c2::integer ORDER BY e.n) AS place
      FROM unnest($1::uuid[], $2::uuid[], $3::int4[]) WITH ORDINALITY AS e(c0, c1, c2, n) WHERE e.c1::uuid IS NOT NULL AND e.c2::integer IS NOT NULL) AS d WHERE d.place > 1
    "#);
}

#[test]
fn orphans_wait_for_other_documents_only() {
    assert_snapshot!(statements()[0].orphaned_children[0].sql, @r#"
    SELECT e.n FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::numeric[], $5::json[]) WITH ORDINALITY AS e(c0, c1, c2, c3, c4, n)
     WHERE e.c1::uuid IS NOT NULL
       AND NOT EXISTS (SELECT FROM "app"."users" AS p WHERE p."id" = e.c1::uuid)
    "#);
    assert!(statements()[1].orphaned_children.is_empty(), "a child row comes with its root row");
}

#[test]
fn rows_go() {
    let [root, child] = statements().try_into().expect("two tables");
    assert_snapshot!(root.erase.expect("by id"), @r#"DELETE FROM "app"."plans" AS t USING unnest($1::uuid[]) AS p(p) WHERE t."id" = p.p::uuid"#);
    assert_snapshot!(child.erase.expect("of a child"), @r#"DELETE FROM "app"."milestones" AS t USING unnest($1::uuid[]) AS p(p) WHERE t."plan_id" = p.p::uuid"#);
    assert_snapshot!(child.prune.expect("of a child"), @r#"
    DELETE FROM "app"."milestones" AS t USING unnest($1::uuid[]) AS p(p) WHERE t."plan_id" = p.p::uuid
       AND NOT EXISTS (SELECT FROM unnest($2::uuid[]) AS e(c0) WHERE t."id" = e.c0::uuid)
    "#);
}

#[test]
fn rows_are_compared() {
    let [root, child] = statements().try_into().expect("two tables");
    assert_snapshot!(root.compare, @r#"
    SELECT * FROM (
      SELECT e.n, t."id" IS NULL AS missing,
             array_remove(ARRAY[NULL::text,
               CASE WHEN t."owner_id" IS DISTINCT FROM e.c1::uuid THEN 'owner_id' END,
               CASE WHEN t."Title"::text COLLATE "C" IS DISTINCT FROM e.c2::public.citext::text COLLATE "C" THEN 'Title' END,
               CASE WHEN t."budget" IS DISTINCT FROM e.c3::numeric(10,2) THEN 'budget' END,
               CASE WHEN t."raw"::jsonb IS DISTINCT FROM e.c4::json::jsonb THEN 'raw' END], NULL) AS columns
        FROM unnest($1::int4[], $2::uuid[], $3::uuid[], $4::text[], $5::numeric[], $6::json[]) AS e(n, c0, c1, c2, c3, c4)
        LEFT JOIN "app"."plans" AS t ON t."id" = e.c0::uuid) AS found
     WHERE missing OR cardinality(columns) > 0
    "#);
    assert_eq!(root.read, None, "a number has many forms");
    assert_snapshot!(child.read.expect("of plain values"), @r#"SELECT t."id", t."plan_id", t."place" FROM "app"."milestones" AS t WHERE t."id" = ANY ($2::uuid[]) AND 0 <= $1::int8"#);
    assert_snapshot!(root.present.expect("by id"), @r#"SELECT p.n FROM unnest($1::int4[], $2::uuid[]) AS p(n, p) JOIN "app"."plans" AS t ON t."id" = p.p::uuid"#);
    assert_snapshot!(child.extra.expect("of a child"), @r#"
    SELECT p.n, count(*) FROM unnest($1::int4[], $2::uuid[]) AS p(n, p)
      JOIN "app"."milestones" AS t ON t."plan_id" = p.p::uuid
     WHERE NOT EXISTS (SELECT FROM unnest($3::uuid[]) AS e(c0) WHERE t."id" = e.c0::uuid)
     GROUP BY p.n
    "#);
}

#[test]
fn remembered_rows_are_released_claimed_and_deleted() {
    let tables = changed(|plan| plan.tables[1].found = Found::Remembered);
    let child = &tables[1];
    assert!(child.erase.is_none() && child.prune.is_none() && matches!(child.pages, PageStatements::Remembered { .. }));
    let owned = child.owned.as_ref().expect("remembered");
    assert_snapshot!(owned.key, @r#""id" uuid"#);
    assert_snapshot!(owned.release, @r#"
    DELETE FROM driftless.owner AS o USING unnest($3::bytea[]) AS d(key)
     WHERE o.relation = $1::int4 AND o.collection = $2::int4 AND o.key = d.key
       AND NOT EXISTS (SELECT FROM unnest($4::bytea[], $5::uuid[]) AS e(key, c0) WHERE e.key = o.key AND int8send(hash_record_extended(ROW(e.c0::uuid), 0)) || int8send(hash_record_extended(ROW(e.c0::uuid), 1)) = o.row_hash)
    RETURNING o.row_hash, o.row_key
    "#);
    assert_snapshot!(owned.claim, @r#"
    INSERT INTO driftless.owner (relation, row_hash, row_key, collection, key)
    SELECT $1::int4, int8send(hash_record_extended(ROW(e.c0::uuid), 0)) || int8send(hash_record_extended(ROW(e.c0::uuid), 1)), e.row_key, $2::int4, e.key
      FROM unnest($3::bytea[], $4::bytea[], $5::uuid[]) AS e(key, row_key, c0)
     ORDER BY 2
    ON CONFLICT (relation, row_hash) DO NOTHING
    "#);
    assert_snapshot!(owned.rivals, @r#"
    SELECT e.n FROM unnest($3::bytea[], $4::bytea[], $5::uuid[]) WITH ORDINALITY AS e(key, row_key, c0, n)
      JOIN driftless.owner AS o ON o.relation = $1::int4 AND o.row_hash = int8send(hash_record_extended(ROW(e.c0::uuid), 0)) || int8send(hash_record_extended(ROW(e.c0::uuid), 1))
     WHERE o.collection <> $2::int4 OR o.key <> e.key
    "#);
    assert_snapshot!(owned.delete, @r#"
    DELETE FROM "app"."milestones" AS t USING unnest($2::bytea[], $3::uuid[]) AS e(row_hash, c0)
     WHERE t."id" = e.c0::uuid
       AND NOT EXISTS (SELECT FROM driftless.owner AS o WHERE o.relation = $1::int4 AND o.row_hash = e.row_hash)
    "#);
    assert_snapshot!(owned.differs, @r#"
    SELECT d.n FROM unnest($3::int4[], $4::bytea[]) AS d(n, key)
      JOIN driftless.owner AS o ON o.relation = $1::int4 AND o.collection = $2::int4 AND o.key = d.key
     WHERE NOT EXISTS (SELECT FROM unnest($5::bytea[], $6::uuid[]) AS e(key, c0) WHERE e.key = o.key AND int8send(hash_record_extended(ROW(e.c0::uuid), 0)) || int8send(hash_record_extended(ROW(e.c0::uuid), 1)) = o.row_hash)
    UNION
    SELECT d.n FROM unnest($3::int4[], $4::bytea[]) AS d(n, key)
      JOIN unnest($5::bytea[], $6::uuid[]) AS e(key, c0) ON e.key = d.key
     WHERE NOT EXISTS (SELECT FROM driftless.owner AS o WHERE o.relation = $1::int4 AND o.row_hash = int8send(hash_record_extended(ROW(e.c0::uuid), 0)) || int8send(hash_record_extended(ROW(e.c0::uuid), 1)) AND o.collection = $2::int4 AND o.key = e.key)
    "#);
}

#[test]
fn a_looked_up_id_must_have_an_entry_to_be_written() {
    let tables = changed(|plan| {
        plan.tables[0].columns[1].param_type = "text".to_owned();
        plan.tables[0].columns[1].lookup = Some(Lookup {
            table: TableName::new("app", "ids"),
            from: ("old".to_owned(), "text".to_owned()),
            to: "new".to_owned(),
        });
    });
    assert_snapshot!(tables[0].upsert, @r#"
    INSERT INTO "app"."plans" AS t ("id", "owner_id", "Title", "budget", "raw")
    SELECT e.c0::uuid, CASE WHEN e.c1 IS NOT NULL THEN coalesce((SELECT l."new" FROM "app"."ids" AS l WHERE l."old" = e.c1::text), driftless.no_entry('app.ids', NULL::uuid)) END, e.c2::public.citext, e.c3::numeric(10,2), e.c4::json
      FROM unnest($1::uuid[], $2::text[], $3::text[], $4::numeric[], $5::json[]) AS e(c0, c1, c2, c3, c4)
    ON CONFLICT ("id") DO UPDATE SET "owner_id" = excluded."owner_id", "Title" = excluded."Title", "budget" = excluded."budget", "raw" = excluded."raw"
     WHERE t."owner_id" IS DISTINCT FROM excluded."owner_id"
        OR t."Title"::text COLLATE "C" IS DISTINCT FROM excluded."Title"::text COLLATE "C"
        OR t."budget"::text COLLATE "C" IS DISTINCT FROM excluded."budget"::text COLLATE "C"
        OR t."raw"::text COLLATE "C" IS DISTINCT FROM excluded."raw"::text COLLATE "C"
    "#);
    assert_snapshot!(tables[0].orphaned_children[1].sql, @r#"
    SELECT e.n FROM unnest($1::uuid[], $2::text[], $3::text[], $4::numeric[], $5::json[]) WITH ORDINALITY AS e(c0, c1, c2, c3, c4, n)
     WHERE e.c1 IS NOT NULL AND (SELECT l."new" FROM "app"."ids" AS l WHERE l."old" = e.c1::text) IS NULL
    "#);
}

fn page(statements: &TableStatements) -> String {
    format!("{}\n--\n{}", statements.pages.page(), statements.pages.hashes())
}

#[test]
fn the_rows_of_a_root_are_paged_with_the_hashes_of_their_ids() {
    assert_snapshot!(page(&statements()[0]), @r#"
    SELECT e.rows, CASE WHEN e.sought THEN e.hash END, CASE WHEN $4 OR e.place = e.rows THEN ARRAY[e.k0::text] END
      FROM (SELECT t.*, hash_record_extended(ROW(t.id), $5::int8) AS hash, true AS sought
              FROM (SELECT t.*, row_number() OVER (ORDER BY t.k0) AS place, count(*) OVER () AS rows FROM (
               SELECT t."id" AS k0, t."id" AS id FROM "app"."plans" AS t
                WHERE ($1::text[] IS NULL OR (t."id") > (($1::text[])[1]::uuid)) AND ($2::text[] IS NULL OR (t."id") <= (($2::text[])[1]::uuid))
                ORDER BY t."id" LIMIT $3::int8) AS t) AS t) AS e
     WHERE e.sought OR e.place = e.rows ORDER BY e.place
    --
    SELECT CASE WHEN e.id IS NOT NULL THEN hash_record_extended(ROW(e.id), $1::int8) END
      FROM (SELECT p.n, p.p::uuid AS id FROM unnest($2::uuid[]) WITH ORDINALITY AS p(p, n)) AS e ORDER BY e.n
    "#);
}

#[test]
fn the_rows_of_a_child_are_sought_without_a_root_row() {
    assert_snapshot!(page(&statements()[1]), @r#"
    SELECT e.rows, CASE WHEN e.sought THEN e.hash END, CASE WHEN $4 OR e.place = e.rows THEN ARRAY[e.k0::text] END
      FROM (SELECT t.*, hash_record_extended(ROW(t.id), $5::int8) AS hash, NOT EXISTS (SELECT FROM "app"."plans" AS r WHERE r."id" = t.id) AS sought
              FROM (SELECT t.*, row_number() OVER (ORDER BY t.k0) AS place, count(*) OVER () AS rows FROM (
               SELECT t."id" AS k0, t."plan_id" AS id FROM "app"."milestones" AS t
                WHERE ($1::text[] IS NULL OR (t."id") > (($1::text[])[1]::uuid)) AND ($2::text[] IS NULL OR (t."id") <= (($2::text[])[1]::uuid))
                ORDER BY t."id" LIMIT $3::int8) AS t) AS t) AS e
     WHERE e.sought OR e.place = e.rows ORDER BY e.place
    --
    SELECT CASE WHEN e.id IS NOT NULL THEN hash_record_extended(ROW(e.id), $1::int8) END
      FROM (SELECT p.n, p.p::uuid AS id FROM unnest($2::uuid[]) WITH ORDINALITY AS p(p, n)) AS e ORDER BY e.n
    "#);
}

#[test]
fn remembered_rows_are_sought_without_an_owner_that_lives() {
    let tables = changed(|plan| {
        plan.tables[0].found = Found::Remembered;
        // The uuid and the citext.
        plan.tables[0].key = vec![0, 2];
    });
    assert_snapshot!(page(&tables[0]), @r#"
    SELECT e.rows, CASE WHEN NOT e.owned THEN e.hash END, CASE WHEN $4 OR e.place = e.rows THEN ARRAY[e.k0::text, e.k2::text] END,
           e.document, e.target, e.deleted
      FROM (SELECT t.*, hash_record_extended(ROW(t.k0, t.k2), $5::int8) AS hash, o.key IS NOT NULL AS owned, l.target, l.deleted IS NOT NULL AS deleted,
                   CASE WHEN o.collection = $7::int4 AND l.deleted IS NOT FALSE THEN o.key END AS document
              FROM (SELECT t.*, row_number() OVER (ORDER BY t.k0, t.k2) AS place, count(*) OVER () AS rows FROM (
               SELECT t."id" AS k0, t."Title" AS k2 FROM "app"."plans" AS t
                WHERE ($1::text[] IS NULL OR t."id" >= ($1::text[])[1]::uuid AND (t."id" > ($1::text[])[1]::uuid OR (t."Title" OPERATOR(public.>) ($1::text[])[2]::public.citext))) AND ($2::text[] IS NULL OR t."id" <= ($2::text[])[1]::uuid AND (t."id" < ($2::text[])[1]::uuid OR (t."Title" OPERATOR(public.<=) ($2::text[])[2]::public.citext)))
                ORDER BY t."id", t."Title" LIMIT $3::int8) AS t) AS t
              LEFT JOIN driftless.owner AS o ON o.relation = $6::int4 AND o.row_hash = int8send(hash_record_extended(ROW(t.k0, t.k2), 0)) || int8send(hash_record_extended(ROW(t.k0, t.k2), 1))
              LEFT JOIN driftless.ledger AS l ON l.collection = o.collection AND l.key = o.key) AS e
     WHERE NOT e.owned OR e.document IS NOT NULL OR e.place = e.rows ORDER BY e.place
    --
    SELECT hash_record_extended(ROW(e.c0::uuid, e.c2::public.citext), $1::int8) FROM unnest($2::uuid[], $3::text[]) WITH ORDINALITY AS e(c0, c2, n) ORDER BY e.n
    "#);
}
