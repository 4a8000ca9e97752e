-- The mapping of each migration: the one under which its rows are written. A process with another one writes nothing.
CREATE TABLE driftless.mapping (
    migration integer     PRIMARY KEY REFERENCES driftless.identity (id) ON DELETE CASCADE,
    -- Grows with every change.
    number    bigint      NOT NULL,
    -- The file, and the digest of its content.
    file      text        NOT NULL,
    digest    bytea       NOT NULL,
    who       text        NOT NULL,
    why       text,
    at        timestamptz NOT NULL DEFAULT now()
);
-- The number of the mapping under which a batch must be written that moves this position.
ALTER TABLE driftless.position ADD COLUMN mapping bigint;
