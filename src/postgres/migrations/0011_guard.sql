-- Which tables are guarded. The triggers themselves are the truth; this says what was asked for and since when it is unbroken.
CREATE TABLE driftless.guard (
    migration    integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    -- `schema.table`; a part that holds a dot or a quote is in double quotes.
    relation     text    NOT NULL,
    mode         text    NOT NULL CHECK (mode IN ('record', 'refuse')),
    -- Since when the triggers have been in place without a break. While they are broken, every look moves it on.
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Why the guard does not hold; NULL: it holds.
    broken       text,
    -- What the triggers and the files of the table were at the last look; whatever changes it is a break.
    fingerprint  text,
    looked_at    timestamptz,
    -- How many foreign writes could not be recorded when the proof was voided for that.
    lost         bigint  NOT NULL DEFAULT 0,
    who          text    NOT NULL,
    PRIMARY KEY (migration, relation)
);
-- A statement of somebody else that wrote a mapped table. No foreign key to `identity`: its check would lock that row for every
-- foreign statement, and could fail in a transaction of the application.
CREATE TABLE driftless.foreign_write (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration   integer NOT NULL,
    -- `schema.table`, as in `guard`.
    relation    text    NOT NULL,
    operation   text    NOT NULL CHECK (operation IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')),
    -- NULL: not counted (TRUNCATE, and a statement on a partition that lacks its own triggers).
    rows        bigint,
    -- The columns that name the rows and their documents, [{column: text}], old and new; NULL where there were too many.
    keys        jsonb,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    who         text    NOT NULL,
    application text,
    client      text,
    -- When a new baseline of the table's collections was asked for, because the keys are not known.
    voided_at   timestamptz,
    -- When everything that it touched had been compared again; NULL: it voids the proof.
    judged_at   timestamptz
);
CREATE INDEX foreign_write_open ON driftless.foreign_write (migration, id) WHERE judged_at IS NULL;
-- Counts foreign writes that could not be recorded, whatever becomes of their transactions: each voids every proof.
CREATE SEQUENCE driftless.foreign_write_lost AS bigint MINVALUE 0 START 0;

-- The functions behind the triggers of the guard. Arguments: migration, relation, mode, most rows whose keys are kept, then the
-- columns that name a row. They run with the rights of their owner, because the writer has none in this schema.
--
-- The first row of a statement makes the record, the others are gathered in a setting of the transaction, and the end of the
-- statement completes the record. A record that nothing completes has no keys, and means the whole table.
CREATE FUNCTION driftless.guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    -- The form of keys does not follow from the settings of the writer.
    SET DateStyle = 'ISO,YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET bytea_output = 'hex' SET extra_float_digits = 1
AS $$
DECLARE
    slot     text  := TG_ARGV[1] || ' ' || TG_OP;
    open     jsonb := coalesce(nullif(current_setting('driftless.foreign_writes', true), ''), '{}');
    record   jsonb := open -> slot;
    keys     jsonb := 'null';
    patience text  := current_setting('lock_timeout');
BEGIN
    -- The sink's own statement never comes here. A trigger or a cascade of the target that it fires is recorded in any mode: a
    -- refusal would make a dead letter of the document.
    IF TG_ARGV[2] = 'refuse' AND current_setting('driftless.writer', true) IS DISTINCT FROM 'sink' THEN
        RAISE EXCEPTION USING ERRCODE = 'read_only_sql_transaction', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
            MESSAGE = format('%s of %s by %s: driftless replicates this table, and its guard refuses every other writer',
                             TG_OP, TG_ARGV[1], session_user),
            HINT = 'To allow and record such writes, run `driftless guard install --mode record`.';
    END IF;
    IF record IS NULL THEN
        -- Nothing here may fail or hold up the statement of the writer.
        BEGIN
            PERFORM set_config('lock_timeout', '1s', true);
            INSERT INTO driftless.foreign_write (migration, relation, operation, who, application, client)
            VALUES (TG_ARGV[0]::integer, TG_ARGV[1], TG_OP,
                    session_user || CASE current_setting('role') WHEN 'none' THEN '' ELSE ' as ' || current_setting('role') END,
                    nullif(current_setting('application_name'), ''), host(inet_client_addr()) || ':' || inet_client_port())
            RETURNING jsonb_build_object('id', id, 'rows', 0, 'keys', '[]'::jsonb) INTO record;
            PERFORM set_config('lock_timeout', patience, true);
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'the guard of driftless could not record a write of %: %', TG_ARGV[1], SQLERRM;
            PERFORM nextval(to_regclass('driftless.foreign_write_lost'));
            record := '{"rows": 0, "keys": null}';
        END;
    END IF;
    IF TG_LEVEL = 'STATEMENT' THEN
        RETURN NULL;
    END IF;
    IF (record ->> 'rows')::bigint < TG_ARGV[3]::bigint THEN
        BEGIN
            SELECT (record -> 'keys') || jsonb_agg(r.key) INTO keys FROM (
                SELECT DISTINCT (SELECT jsonb_object_agg(c.name, v.image ->> c.name) FROM unnest(TG_ARGV[4:]) AS c (name)) AS key
                  FROM (SELECT to_jsonb(OLD) WHERE TG_OP <> 'INSERT' UNION ALL
                        SELECT to_jsonb(NEW) WHERE TG_OP <> 'DELETE') AS v (image)) AS r;
        EXCEPTION WHEN OTHERS THEN
            -- A type whose own cast to JSON fails; without keys the record means the whole table.
            keys := 'null';
        END;
    END IF;
    record := record || jsonb_build_object('rows', (record ->> 'rows')::bigint + 1, 'keys', keys);
    PERFORM set_config('driftless.foreign_writes', jsonb_set(open, ARRAY[slot], record)::text, true);
    RETURN NULL;
END $$;
CREATE FUNCTION driftless.guard_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    open     jsonb := nullif(current_setting('driftless.foreign_writes', true), '');
    patience text  := current_setting('lock_timeout');
BEGIN
    IF open IS NULL THEN
        RETURN NULL;
    END IF;
    -- An update that moves rows between partitions is a DELETE and an INSERT of rows.
    BEGIN
        PERFORM set_config('lock_timeout', '1s', true);
        UPDATE driftless.foreign_write AS w SET rows = (o.record ->> 'rows')::bigint, keys = nullif(o.record -> 'keys', 'null')
          FROM jsonb_each(open) AS o (slot, record) WHERE starts_with(o.slot, TG_ARGV[1] || ' ') AND w.id = (o.record ->> 'id')::bigint;
        PERFORM set_config('lock_timeout', patience, true);
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'the guard of driftless could not complete the record of a write of %: %', TG_ARGV[1], SQLERRM;
        PERFORM nextval(to_regclass('driftless.foreign_write_lost'));
    END;
    SELECT jsonb_object_agg(o.slot, o.record) INTO open
      FROM jsonb_each(open) AS o (slot, record) WHERE NOT starts_with(o.slot, TG_ARGV[1] || ' ');
    PERFORM set_config('driftless.foreign_writes', coalesce(open::text, ''), true);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION driftless.guard(), driftless.guard_end() FROM PUBLIC;

-- How many foreign writes could not be recorded. A role that only reads may ask, too.
CREATE FUNCTION driftless.foreign_writes_lost() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'SELECT CASE WHEN is_called THEN last_value + 1 ELSE 0 END FROM driftless.foreign_write_lost';

-- Foreign keys of the mapped tables, and of others that refer to one: when all rows were looked at last, and how many lack their
-- parent.
CREATE TABLE driftless.integrity (
    migration   integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    -- `schema.table`, each quoted where needed; and so is `parent`.
    relation    text    NOT NULL,
    constraint_name text NOT NULL,
    parent      text    NOT NULL,
    -- The look under way: when it began (NULL: none is), where it goes on (a primary key as text; NULL: at the first row), what it
    -- has counted.
    began_at    timestamptz,
    after       text[],
    rows_so_far bigint  NOT NULL DEFAULT 0,
    orphans_so_far bigint NOT NULL DEFAULT 0,
    -- The last complete look: when it began, because each row was looked at then or later.
    looked_at   timestamptz,
    rows        bigint  NOT NULL DEFAULT 0,
    orphans     bigint  NOT NULL DEFAULT 0,
    -- Why there is no complete look; NULL: there is nothing in the way.
    waits_for   text,
    PRIMARY KEY (migration, relation, constraint_name)
);
-- The first rows that lack their parent, by primary key; kept to a bound for each foreign key.
CREATE TABLE driftless.orphan (
    migration   integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    relation    text    NOT NULL,
    constraint_name text NOT NULL,
    row_key     jsonb   NOT NULL,
    -- The document it belongs to, as far as that is known.
    collection  integer REFERENCES driftless.collection (id) ON DELETE CASCADE,
    key         bytea,
    found_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    confirmed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (migration, relation, constraint_name, row_key)
);
