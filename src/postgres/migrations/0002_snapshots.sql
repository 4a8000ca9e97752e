-- What operators want of the snapshot of a collection, and what the source's leader last told of it.
CREATE TABLE driftless.snapshot (
    collection text PRIMARY KEY,
    -- Each start asks for the next one; a leader whose own run is lower reads the collection from its beginning.
    run        bigint  NOT NULL DEFAULT 0,
    paused     boolean NOT NULL DEFAULT false,
    -- Who asked last, and when.
    who        text,
    at         timestamptz,
    told       jsonb,
    told_at    timestamptz
) WITH (fillfactor = 50);
