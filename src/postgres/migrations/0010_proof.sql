-- A difference that a comparison proved. It is open until a later judgement of the same document or row finds none.
CREATE TABLE driftless.finding (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection   integer NOT NULL REFERENCES driftless.collection (id) ON DELETE CASCADE,
    -- The document's key; NULL for a row that no document stands behind.
    key          bytea,
    -- The document's `{_id: ...}`, where it cannot be read from `key` (a hash).
    target       bytea,
    -- A row that no document stands behind: its table, `schema.table`, and its primary key, {column: text}.
    relation     text,
    row_key      jsonb,
    -- `version`: the ledger's version is higher than anything the source has done, so every later change would lose.
    kind         text   NOT NULL CHECK (kind IN ('missing', 'extra', 'different', 'version')),
    -- The columns that differ, `schema.table.column`; `schema.table` for child rows that are missing or not expected.
    columns      text[] NOT NULL DEFAULT '{}',
    -- Cluster time as of which the document was judged.
    as_of_t      bigint NOT NULL,
    as_of_i      bigint NOT NULL,
    -- Version and transaction of the ledger entry that was judged; NULL: it had none.
    version      bytea  CHECK (octet_length(version) = 16),
    applied      bigint,
    -- The dead letter that waits for the document, and why PostgreSQL refuses even to compare its values.
    letter       bigint,
    refused      text,
    -- Digest of the compiled plan.
    plan         bytea  NOT NULL,
    -- What compared: `baseline`, `delta`, `command`.
    found_by     text   NOT NULL,
    found_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    confirmed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at     timestamptz,
    -- What ended it. `no cause` is a fault of ours.
    ended_by     text CHECK (ended_by IN ('new version', 'applied again', 'repair', 'foreign write', 'dead letter', 'plan',
                                          'source', 'no cause')),
    CHECK ((key IS NULL) = (row_key IS NOT NULL)),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL))
);
CREATE UNIQUE INDEX finding_document ON driftless.finding (collection, key) WHERE ended_at IS NULL AND key IS NOT NULL;
CREATE UNIQUE INDEX finding_row ON driftless.finding (collection, relation, row_key) WHERE ended_at IS NULL AND key IS NULL;
CREATE INDEX finding_ended ON driftless.finding (ended_at) WHERE ended_at IS NOT NULL;

-- How far the proof of a collection has come: its baseline, and the delta behind it.
CREATE TABLE driftless.proof (
    collection   integer PRIMARY KEY REFERENCES driftless.collection (id) ON DELETE CASCADE,
    -- Digest of the compiled plan; under another one nothing here counts.
    plan         bytea  NOT NULL,
    -- The pass under way; `began_at` is NULL while none is. It speaks of `oldest_t, oldest_i`, its oldest read, and of later.
    pass         bigint NOT NULL DEFAULT 0,
    began_at     timestamptz,
    oldest_t     bigint,
    oldest_i     bigint,
    -- `documents` of the source, live entries of the `ledger`, `rows` of the tables, and where in there it goes on behind its
    -- first `place` chunks. `undecided`: every chunk is judged, and the documents in `baseline_undecided` are awaited.
    phase        text CHECK (phase IN ('documents', 'ledger', 'rows', 'undecided')),
    after        bytea,
    place        bigint NOT NULL DEFAULT 0,
    -- Documents that were compared, and about how many there are; differences beyond the number that is kept.
    documents    bigint NOT NULL DEFAULT 0,
    estimate     bigint,
    left_out     bigint NOT NULL DEFAULT 0,
    -- Documents, entries and rows that were read in all phases, and about how many it will be at the end.
    work         bigint NOT NULL DEFAULT 0,
    expected     bigint,
    -- Why the pass does not go on (NULL: it does), and the next step where only a person can end that.
    baseline_waits_for text,
    baseline_hint      text,
    -- The last complete pass: when it began, when it ended, its oldest read, what it compared.
    complete_pass      bigint,
    complete_began_at  timestamptz,
    complete_ended_at  timestamptz,
    complete_t         bigint,
    complete_i         bigint,
    complete_documents bigint,
    complete_work      bigint,
    -- Differences beyond the number that is kept: those that it met, and those that were met since.
    complete_left_out  bigint,
    -- Why no pass counts, although one was complete; NULL: it counts.
    void_because text,
    void_at      timestamptz,
    -- The reconciler's change stream gives every change of the collection behind this time; NULL: it does not follow it yet. A
    -- chunk as of an earlier time proves nothing, because changes between the two would be judged by nobody.
    since_t      bigint,
    since_i      bigint,
    -- Every key that changed before this cluster time is judged (exclusive); the wall clock of which that is true.
    verified_t   bigint,
    verified_i   bigint,
    verified_at  timestamptz,
    -- Keys that wait to be judged, and since when the oldest does (cluster time of its first change).
    undecided    bigint NOT NULL DEFAULT 0,
    undecided_t  bigint,
    undecided_i  bigint,
    -- Why V does not advance, as far as the reconciler knows (NULL: it does), and the next step where only a person can end that.
    waits_for    text,
    hint         text,
    -- Whether the source has no collection of that name, and none of its documents was ever applied.
    no_such_collection boolean NOT NULL DEFAULT false,
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- The chunks of the pass under way and of the last complete one.
CREATE TABLE driftless.baseline_chunk (
    collection integer NOT NULL REFERENCES driftless.collection (id) ON DELETE CASCADE,
    pass       bigint  NOT NULL,
    place      bigint  NOT NULL,
    phase      text    NOT NULL CHECK (phase IN ('documents', 'ledger', 'rows')),
    -- The range: behind `after`, up to and with `until`; NULL: from the beginning, to the end.
    after      bytea,
    until      bytea,
    as_of_t    bigint  NOT NULL,
    as_of_i    bigint  NOT NULL,
    documents  bigint  NOT NULL,
    findings   bigint  NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (collection, pass, place)
);

-- Documents that a chunk of the pass under way could not judge. The pass is complete when the delta has judged them.
CREATE TABLE driftless.baseline_undecided (
    collection integer NOT NULL REFERENCES driftless.collection (id) ON DELETE CASCADE,
    key        bytea   NOT NULL,
    -- The document's `{_id: ...}`, where it cannot be read from `key` (a hash).
    target     bytea,
    PRIMARY KEY (collection, key)
);

-- Where the reconciler's own change stream goes on: every key before that token is judged. One row per migration.
CREATE TABLE driftless.delta (
    migration  integer PRIMARY KEY REFERENCES driftless.identity (id) ON DELETE CASCADE,
    token      text   NOT NULL,
    token_t    bigint NOT NULL,
    token_i    bigint NOT NULL,
    stored_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- Documents that a chunk could not judge, and whose changes the change stream need not give again. They wait like its keys.
CREATE TABLE driftless.undecided (
    collection integer NOT NULL REFERENCES driftless.collection (id) ON DELETE CASCADE,
    key        bytea   NOT NULL,
    -- The document's `{_id: ...}`, where it cannot be read from `key` (a hash).
    target     bytea,
    -- The document is proven up to here (exclusive): the time of the chunk.
    since_t    bigint  NOT NULL,
    since_i    bigint  NOT NULL,
    PRIMARY KEY (collection, key)
);

-- What each process says of its roles, about once a second, for those that must know whether all of them work.
CREATE TABLE driftless.process (
    migration  integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    -- A random name that a process chooses when it starts.
    instance   text    NOT NULL,
    version    text    NOT NULL,
    -- {role: {phase, reason, facts}}
    roles      jsonb   NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (migration, instance)
) WITH (fillfactor = 50);
