-- Read your writes: whether the target holds everything that happened to a document, or to a whole collection, up to a cluster time.

-- The topic of a collection, whose positions say how far its changes are applied; the sink records it when it starts.
ALTER TABLE driftless.collection ADD COLUMN topic text;

-- The rule, once for SQL and HTTP. `key` is the canonical key of a document; NULL asks for the whole collection.
--
-- The rows hold every change up to `at` where the watermark is beyond it, or where the document's own version is. A version of exactly
-- that time is enough if no other operation of the time can follow: it is no part of a transaction (0), or it was read as of that time
-- (all bits set). A dead letter keeps a version from the rows although the ledger has it, and without its snapshot a collection lacks
-- documents that never change.
CREATE FUNCTION driftless.applied_to(
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
            WHERE p.topic = c.topic
            ORDER BY p.watermark_t NULLS FIRST, p.watermark_i NULLS FIRST LIMIT 1
           ) AS w(complete, watermark_t, watermark_i) ON true
      LEFT JOIN driftless.ledger AS l ON l.collection = c.id AND l.key = applied_to.key
     CROSS JOIN LATERAL (
           SELECT EXISTS (SELECT FROM driftless.dead_letter AS d WHERE d.state IN ('open', 'parked') AND d.collection = c.id
                             AND (applied_to.key IS NULL OR d.key = applied_to.key))
               -- A record that could not be read may be of any document of its topic.
               OR EXISTS (SELECT FROM driftless.dead_letter AS d WHERE d.state IN ('open', 'parked') AND d.collection IS NULL
                             AND d.topic = c.topic)
           ) AS h(held)
$$;

-- The canonical key of an `_id`, from the text that the HTTP interface takes too: 24 hexadecimal digits are an ObjectId, an integer is
-- a number, what begins with { or " is Extended JSON, anything else is a text.
CREATE FUNCTION driftless.key_of(id text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    value jsonb;
    tag text;
    content text;
    number numeric;
    key bytea;
BEGIN
    IF id ~ '^[0-9a-fA-F]{24}$' THEN
        tag := '$oid';
        content := id;
    ELSIF id ~ '^-?(0|[1-9][0-9]*)$' THEN
        tag := '$numberLong';
        content := id;
    ELSIF id ~ '^[{]' THEN
        value := id;
        SELECT min(e.k), min(e.v) INTO tag, content FROM jsonb_each_text(value) AS e(k, v) HAVING count(*) = 1;
    ELSIF id ~ '^"' THEN
        value := id;
        content := value #>> '{}';
    ELSIF id !~ '^(-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?|true|false|null|)$' THEN
        content := id;
    END IF;

    IF tag = '$oid' AND content ~ '^[0-9a-fA-F]{24}$' THEN
        RETURN '\x87'::bytea || decode(content, 'hex');
    ELSIF tag = '$uuid' THEN
        RETURN '\x851000000004'::bytea || uuid_send(content::uuid);
    ELSIF tag IN ('$numberLong', '$numberInt') AND content ~ '^-?(0|[1-9][0-9]*)$' THEN
        number := content::numeric;
        IF number BETWEEN -9223372036854775808 AND 9223372036854775807 THEN
            key := int8send(number::bigint);
            RETURN '\x1069'::bytea || set_byte(key, 0, get_byte(key, 0) # 128);
        END IF;
    ELSIF tag IS NULL AND content IS NOT NULL AND octet_length(convert_to(content, 'UTF8')) < 1024 THEN
        RETURN '\x20'::bytea || convert_to(content, 'UTF8');
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'SQL cannot compute the key of this _id',
        HINT = 'It can for ObjectIds, texts below 1,024 bytes, integers of 64 bits and UUIDs. Ask for the whole collection, without id, '
               'or over HTTP: GET /api/v1/applied.';
END $$;

-- Whether this transaction sees every change of a document (without `id`: of every document of the collection) up to the cluster time of
-- an operation. It runs with the rights of its owner, because it reads what the sink knows; it returns nothing of that but the answer.
-- `prefix` names the migration where the database has several.
CREATE FUNCTION driftless.applied(
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
    SELECT array_agg(i.id) INTO migrations FROM driftless.identity AS i WHERE applied.prefix IS NULL OR i.prefix = applied.prefix;
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

-- The bucket of a key in a unit: its reads go to PostgreSQL while the bucket is below the share in hundredths of a percent.
CREATE FUNCTION driftless.bucket(unit text, key text) RETURNS integer LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT (('x' || encode(substr(sha256(convert_to(unit || '/' || key, 'UTF8')), 1, 4), 'hex'))::bit(32)::bigint % 10000)::integer
$$;
