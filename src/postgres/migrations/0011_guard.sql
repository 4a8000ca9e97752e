-- Which tables are guarded. The triggers themselves are the truth; this says what was asked for and since when it is unbroken.
CREATE TABLE driftless.guard (
    migration    integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    -- `schema.table`, quoted where needed.
    relation     text    NOT NULL,
    mode         text    NOT NULL CHECK (mode IN ('record', 'refuse')),
    -- Since when the triggers have been in place without a break.
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    who          text    NOT NULL,
    PRIMARY KEY (migration, relation)
);
-- A statement of somebody else that wrote a mapped table.
CREATE TABLE driftless.foreign_write (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration   integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    -- `schema.table`, as in `guard`.
    relation    text    NOT NULL,
    operation   text    NOT NULL CHECK (operation IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')),
    rows        bigint,
    -- Primary keys of the rows, [{column: text}], old and new; NULL where there were too many, or after TRUNCATE.
    keys        jsonb,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    who         text    NOT NULL,
    application text,
    client      text,
    -- When everything that it touched had been compared again; NULL: it voids the proof.
    judged_at   timestamptz
);
CREATE INDEX foreign_write_open ON driftless.foreign_write (migration, id) WHERE judged_at IS NULL;
-- Foreign keys of the mapped tables: when all rows were looked at last, and how many lack their parent.
CREATE TABLE driftless.integrity (
    migration   integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    relation    text    NOT NULL,
    constraint_name text NOT NULL,
    parent      text    NOT NULL,
    -- Where the look under way goes on (a primary key as text); NULL: none is under way.
    after       text[],
    began_at    timestamptz,
    looked_at   timestamptz,
    rows        bigint  NOT NULL DEFAULT 0,
    orphans     bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (migration, relation, constraint_name)
);
-- The first rows that lack their parent, by primary key, of the last look; kept to a bound for each foreign key.
CREATE TABLE driftless.orphan (
    migration   integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    relation    text    NOT NULL,
    constraint_name text NOT NULL,
    row_key     jsonb   NOT NULL,
    -- The document it belongs to, as far as that is known.
    collection  integer REFERENCES driftless.collection (id) ON DELETE CASCADE,
    key         bytea,
    found_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (migration, relation, constraint_name, row_key)
);
