-- What the sink knows. The application's own tables get no extra columns and no triggers.

CREATE TABLE driftless.collection (
    id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL UNIQUE,
    -- Every change at or below this version is void: the collection was dropped and its tables were emptied.
    floor bytea CHECK (octet_length(floor) = 16)
);

-- A table that holds root rows, or rows of which we remember whose they are.
CREATE TABLE driftless.relation (
    id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    -- Columns and types of the keys in `owner`; NULL while none is there.
    key  text
);

-- One row per document ever seen; a deleted one stays as a tombstone. An update touches no indexed column, so with room on
-- the page it stays heap-only. No foreign key to `collection`: it would cost a lookup per change.
CREATE TABLE driftless.ledger (
    collection integer NOT NULL,
    key        bytea   NOT NULL,
    version    bytea   NOT NULL,
    deleted    boolean NOT NULL,
    upper_t    bigint  NOT NULL,
    upper_i    bigint  NOT NULL,
    digest     bytea,
    -- The document's `{_id: ...}`, where it cannot be read from `key` (a hash).
    target     bytea,
    -- The relation that holds the document's root row; NULL: it has none.
    root       integer,
    -- What `root` was before the last change. It is put back when that change is refused, because the rows stay.
    was        integer,
    PRIMARY KEY (collection, key)
) WITH (fillfactor = 80);

-- Whose a row is, where that does not follow from the row itself: its key is made of other fields than `_id`, or several
-- collections write the table.
CREATE TABLE driftless.owner (
    relation   integer NOT NULL,
    -- Hash of the key as PostgreSQL compares it, so that keys that are equal there are one key here.
    row_hash   bytea   NOT NULL,
    -- The key's fields as they were written: each its length, then its value.
    row_key    bytea   NOT NULL,
    collection integer NOT NULL,
    key        bytea   NOT NULL,
    PRIMARY KEY (relation, row_hash)
);
CREATE INDEX owner_document ON driftless.owner (collection, key);

-- Stands in a statement where the value that a table of ids should have given is missing: like a missing parent, it may come.
CREATE FUNCTION driftless.no_entry(relation text, kind anyelement) RETURNS anyelement LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation', TABLE = relation, MESSAGE = 'the id has no entry in ' || relation;
END $$;

-- The only truth about what was applied.
CREATE TABLE driftless.position (
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    -- NULL: from the earliest.
    next_offset bigint,
    watermark_t bigint,
    watermark_i bigint,
    as_of_ms    bigint,
    -- The last frontier record seen, and the changes counted since; NULL when the count does not reach back to it.
    publisher   bigint,
    seq         bigint,
    pending     bigint,
    -- Whether the snapshot of the collection lies before that frontier.
    complete    boolean NOT NULL DEFAULT false,
    -- Frontier records whose count was not met.
    gaps        bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE driftless.dead_letter (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic           text    NOT NULL,
    partition       integer NOT NULL,
    log_offset      bigint  NOT NULL,
    -- NULL, as `key` and `version`, when the record could not be read so far.
    collection      integer REFERENCES driftless.collection (id),
    key             bytea,
    version         bytea,
    reason          text    NOT NULL,
    detail          text,
    -- The record exactly as it was, to be produced again.
    record_key      bytea,
    value           bytea,
    headers         jsonb   NOT NULL,
    timestamp_ms    bigint  NOT NULL,
    state           text    NOT NULL CHECK (state IN ('open', 'parked', 'retried', 'superseded', 'discarded')),
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    closed_at       timestamptz,
    UNIQUE (topic, partition, log_offset)
);
CREATE INDEX dead_letter_waiting ON driftless.dead_letter (collection, key) WHERE state IN ('open', 'parked');
CREATE INDEX dead_letter_parked ON driftless.dead_letter (topic, partition, next_attempt_at) WHERE state = 'parked';

CREATE TABLE driftless.action (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    who     text  NOT NULL,
    command text  NOT NULL,
    detail  jsonb NOT NULL
);

CREATE TABLE driftless.reconcile_result (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection  text   NOT NULL,
    tier        text   NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    as_of_t     bigint NOT NULL,
    as_of_i     bigint NOT NULL,
    checked     bigint NOT NULL,
    total       bigint NOT NULL,
    missing     bigint NOT NULL,
    extra       bigint NOT NULL,
    different   bigint NOT NULL,
    undecided   bigint NOT NULL,
    detail      jsonb  NOT NULL
);
CREATE INDEX reconcile_result_latest ON driftless.reconcile_result (collection, tier, id DESC);
