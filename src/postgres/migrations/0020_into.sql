-- A replay into a fresh schema is a sibling: a migration beside the running one, which reads the same topics and shares nothing else. Its
-- prefix is that of the running one, `~` and the schema of its tables. A swap exchanges the state of the two.
ALTER TABLE driftless.identity
    -- The running migration that this one is a sibling of; NULL: this is a running one.
    ADD COLUMN beside integer REFERENCES driftless.identity (id) ON DELETE CASCADE,
    -- The schema of the sibling's tables. Its mapping, with who began it and why, is in driftless.mapping.
    ADD COLUMN schema text,
    ADD CHECK ((beside IS NULL) = (schema IS NULL));

-- Two migrations read the same topics now.
ALTER TABLE driftless.position DROP CONSTRAINT position_pkey, ADD PRIMARY KEY (migration, topic, partition);
ALTER TABLE driftless.dead_letter DROP CONSTRAINT dead_letter_topic_topic_id_partition_log_offset_key,
    ADD UNIQUE (migration, topic, topic_id, partition, log_offset);

-- As before, but positions and letters are those of the migration.
CREATE OR REPLACE FUNCTION driftless.applied_to(
    migration integer, collection text, key bytea, at_t bigint, at_i bigint,
    OUT known boolean, OUT applied boolean, OUT complete boolean, OUT held boolean,
    OUT watermark_t bigint, OUT watermark_i bigint, OUT version bytea
) LANGUAGE sql STABLE AS $$
    SELECT c.id IS NOT NULL,
           coalesce(w.complete AND NOT h.held AND (
               (w.watermark_t, w.watermark_i) > (at_t, at_i)
               OR substr(l.version, 5, 8) > t.at
               OR substr(l.version, 5, 8) = t.at AND substr(l.version, 13, 4) IN ('\x00000000', '\xffffffff')), false),
           coalesce(w.complete, false), coalesce(h.held, false), w.watermark_t, w.watermark_i, l.version
      FROM (SELECT decode(lpad(to_hex(at_t), 8, '0') || lpad(to_hex(at_i), 8, '0'), 'hex')) AS t(at)
      LEFT JOIN driftless.collection AS c ON c.migration = applied_to.migration AND c.name = applied_to.collection
      LEFT JOIN LATERAL (
           SELECT bool_and(p.complete) OVER (), p.watermark_t, p.watermark_i FROM driftless.position AS p
            WHERE p.migration = c.migration AND p.topic = c.topic
            ORDER BY p.watermark_t NULLS FIRST, p.watermark_i NULLS FIRST LIMIT 1
           ) AS w(complete, watermark_t, watermark_i) ON true
      LEFT JOIN driftless.ledger AS l ON l.collection = c.id AND l.key = applied_to.key
     CROSS JOIN LATERAL (
           SELECT EXISTS (SELECT FROM driftless.dead_letter AS d WHERE d.state IN ('open', 'parked') AND d.collection = c.id
                             AND (applied_to.key IS NULL OR d.key = applied_to.key))
               -- A record that could not be read may be of any document of its topic.
               OR EXISTS (SELECT FROM driftless.dead_letter AS d WHERE d.state IN ('open', 'parked') AND d.collection IS NULL
                             AND d.migration = c.migration AND d.topic = c.topic)
           ) AS h(held)
$$;

-- As before, but a sibling does not count: nobody reads it before it is swapped in.
CREATE OR REPLACE FUNCTION driftless.applied(
    collection text, at_t bigint, at_i bigint, id text DEFAULT NULL, prefix text DEFAULT NULL
) RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    migrations integer[];
    answer record;
BEGIN
    IF at_t IS NULL OR at_i IS NULL OR at_t NOT BETWEEN 0 AND 4294967295 OR at_i NOT BETWEEN 0 AND 4294967295 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'at_t and at_i are no cluster time',
            HINT = 'They are the seconds and the increment of the operation time that the driver of MongoDB reports.';
    END IF;
    SELECT array_agg(i.id) INTO migrations FROM driftless.identity AS i
     WHERE CASE WHEN applied.prefix IS NULL THEN i.beside IS NULL ELSE i.prefix = applied.prefix END;
    IF coalesce(cardinality(migrations), 0) <> 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('%s migrations in this database have the prefix asked for', coalesce(cardinality(migrations), 0)),
            HINT = 'Name one: driftless.applied(..., prefix => ...), as log.prefix in its configuration.';
    END IF;
    SELECT * INTO answer FROM driftless.applied_to(migrations[1], collection, driftless.key_of(id), at_t, at_i);
    IF NOT answer.known THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the migration has no collection %L', collection), HINT = 'Its name is that of the collection in MongoDB.';
    END IF;
    RETURN answer.applied;
END $$;
