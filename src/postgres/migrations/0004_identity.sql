-- Whose state this is: one row per migration, which its `log.prefix` names. Two migrations share nothing here, and deleting a
-- row forgets everything of its migration but the application's own rows.
CREATE TABLE driftless.identity (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- NULL: rows from before there were identities, and no topic says whose; the first migration that starts takes them.
    prefix      text UNIQUE,
    -- The source: its database and its replica set. NULL: not known so far.
    database    text,
    replica_set text,
    first_seen  timestamptz NOT NULL DEFAULT now()
);

-- The topics of the positions name their migrations: `<prefix>.<database>.<collection>`, dots only between them. Where several
-- shared everything, what cannot be told apart belongs to the one that has applied the most; the others read their log again.
INSERT INTO driftless.identity (prefix)
SELECT regexp_replace(topic, '[.][^.]*[.][^.]*$', '') FROM driftless.position
 GROUP BY 1 ORDER BY sum(coalesce(next_offset, 0)) DESC, 1;
INSERT INTO driftless.identity (prefix)
SELECT NULL
 WHERE NOT EXISTS (SELECT FROM driftless.identity)
   AND (EXISTS (SELECT FROM driftless.collection) OR EXISTS (SELECT FROM driftless.relation)
        OR EXISTS (SELECT FROM driftless.snapshot) OR EXISTS (SELECT FROM driftless.deferred)
        OR EXISTS (SELECT FROM driftless.action));

ALTER TABLE driftless.collection ADD COLUMN migration integer REFERENCES driftless.identity (id) ON DELETE CASCADE;
UPDATE driftless.collection SET migration = (SELECT min(id) FROM driftless.identity);
ALTER TABLE driftless.collection ALTER COLUMN migration SET NOT NULL,
    DROP CONSTRAINT collection_name_key, ADD UNIQUE (migration, name);

-- The ledger has no foreign key, because it would cost a lookup per change.
CREATE FUNCTION driftless.forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM driftless.ledger WHERE collection = OLD.id;
    DELETE FROM driftless.owner WHERE collection = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER forget AFTER DELETE ON driftless.collection FOR EACH ROW EXECUTE FUNCTION driftless.forget();

ALTER TABLE driftless.relation ADD COLUMN migration integer REFERENCES driftless.identity (id) ON DELETE CASCADE,
    -- Whether the mapping that was started last writes the table: no other migration may then.
    ADD COLUMN written boolean NOT NULL DEFAULT true;
UPDATE driftless.relation SET migration = (SELECT min(id) FROM driftless.identity);
ALTER TABLE driftless.relation ALTER COLUMN migration SET NOT NULL,
    DROP CONSTRAINT relation_name_key, ADD UNIQUE (migration, name);

ALTER TABLE driftless.position ADD COLUMN migration integer REFERENCES driftless.identity (id) ON DELETE CASCADE,
    -- Kafka's id of the topic that the offsets are of: one that was made again under the same name has another.
    ADD COLUMN topic_id text,
    -- What lies before this offset was read before a replay: its frontiers are old ones.
    ADD COLUMN reread_to bigint;
UPDATE driftless.position AS p SET migration = i.id
  FROM driftless.identity AS i WHERE i.prefix = regexp_replace(p.topic, '[.][^.]*[.][^.]*$', '');
UPDATE driftless.position SET next_offset = NULL, watermark_t = NULL, watermark_i = NULL, as_of_ms = NULL,
       publisher = NULL, seq = NULL, pending = NULL, complete = false
 WHERE migration > (SELECT min(id) FROM driftless.identity);
ALTER TABLE driftless.position ALTER COLUMN migration SET NOT NULL;

ALTER TABLE driftless.dead_letter ADD COLUMN migration integer REFERENCES driftless.identity (id) ON DELETE CASCADE,
    -- Set once another topic has taken the name: its offsets are not those of this letter.
    ADD COLUMN topic_id text NOT NULL DEFAULT '';
UPDATE driftless.dead_letter AS d SET migration = i.id
  FROM driftless.identity AS i WHERE i.prefix = regexp_replace(d.topic, '[.][^.]*[.][^.]*$', '');
DELETE FROM driftless.dead_letter WHERE migration IS NULL OR migration > (SELECT min(id) FROM driftless.identity);
ALTER TABLE driftless.dead_letter ALTER COLUMN migration SET NOT NULL,
    DROP CONSTRAINT dead_letter_topic_partition_log_offset_key, ADD UNIQUE (topic, topic_id, partition, log_offset);

ALTER TABLE driftless.snapshot ADD COLUMN migration integer REFERENCES driftless.identity (id) ON DELETE CASCADE;
UPDATE driftless.snapshot SET migration = (SELECT min(id) FROM driftless.identity);
ALTER TABLE driftless.snapshot DROP CONSTRAINT snapshot_pkey, ADD PRIMARY KEY (migration, collection);

ALTER TABLE driftless.reconcile_result ADD COLUMN migration integer REFERENCES driftless.identity (id) ON DELETE CASCADE;
UPDATE driftless.reconcile_result SET migration = (SELECT min(id) FROM driftless.identity);
ALTER TABLE driftless.reconcile_result ALTER COLUMN migration SET NOT NULL;
DROP INDEX driftless.reconcile_result_latest;
CREATE INDEX reconcile_result_latest ON driftless.reconcile_result (migration, collection, tier, id DESC);

ALTER TABLE driftless.action ADD COLUMN migration integer REFERENCES driftless.identity (id) ON DELETE CASCADE;
UPDATE driftless.action SET migration = (SELECT min(id) FROM driftless.identity);
ALTER TABLE driftless.action ALTER COLUMN migration SET NOT NULL;

ALTER TABLE driftless.deferred ADD COLUMN migration integer REFERENCES driftless.identity (id) ON DELETE CASCADE;
UPDATE driftless.deferred SET migration = (SELECT min(id) FROM driftless.identity);
ALTER TABLE driftless.deferred ALTER COLUMN migration SET NOT NULL;
