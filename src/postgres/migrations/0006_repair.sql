-- Documents that the source's leader is asked to read again and to publish as they are then.
CREATE TABLE driftless.repair (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection integer NOT NULL REFERENCES driftless.collection (id) ON DELETE CASCADE,
    key        bytea   NOT NULL,
    -- The document's `{_id: ...}`, where it cannot be read from `key` (a hash).
    target     bytea,
    who        text    NOT NULL,
    -- The command that asks.
    command    text    NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT now(),
    -- The version that was read. What was published is that or, where the stream had given a newer one already, that one.
    version    bytea CHECK (octet_length(version) = 16),
    -- When it was in the log, or refused.
    done_at    timestamptz,
    -- Why nothing was published.
    refused    text
);
CREATE INDEX repair_asked ON driftless.repair (id) WHERE done_at IS NULL;
