-- Both sides of a document, or a row, as they were before a repair. It holds values, so only the owner of the schema reads it.
CREATE TABLE driftless.evidence (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    finding    bigint  NOT NULL REFERENCES driftless.finding (id) ON DELETE CASCADE,
    -- The document as BSON; NULL: the source did not have it.
    document   bytea,
    as_of_t    bigint,
    as_of_i    bigint,
    -- The rows by table: {"schema.table": [row, ...]}.
    rows       jsonb   NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON driftless.evidence FROM PUBLIC;
-- What a request asks for beyond reading the document again, and for which finding.
ALTER TABLE driftless.repair
    ADD COLUMN finding bigint REFERENCES driftless.finding (id) ON DELETE SET NULL,
    -- The ledger's version may be wrong: the change that is published replaces it, if nothing published can have it.
    ADD COLUMN reset   boolean NOT NULL DEFAULT false,
    -- The ledger's version before the document was read; the change names it if nothing published can have it.
    ADD COLUMN replaced bytea CHECK (octet_length(replaced) = 16),
    -- The transaction that had written that entry: while it is the same, nothing was applied since.
    ADD COLUMN was      bigint,
    -- A row that no document stands behind: it is removed, by primary key.
    ADD COLUMN relation text,
    ADD COLUMN row_key  jsonb,
    -- When the sink removed that row, or saw that it was gone. In the transaction of the removal, so no record does it twice.
    ADD COLUMN removed_at timestamptz,
    ALTER COLUMN key DROP NOT NULL,
    ADD CHECK ((key IS NULL) = (row_key IS NOT NULL)),
    ADD CHECK ((row_key IS NULL) = (relation IS NULL));
CREATE INDEX evidence_age ON driftless.evidence (at);
