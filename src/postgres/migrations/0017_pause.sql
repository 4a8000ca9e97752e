-- The pauses and resumptions of operators: a role in every process, or the application of one collection.
CREATE TABLE driftless.pause (
    migration integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    kind      text    NOT NULL CHECK (kind IN ('role', 'collection')),
    -- The role or the collection.
    name      text    NOT NULL,
    -- Since when it is paused; NULL: it is not. `ends_at` is NULL where somebody has to resume it.
    since     timestamptz,
    ends_at   timestamptz,
    who       text    NOT NULL,
    why       text,
    -- Grows whenever somebody resumes it: a role that has halted then tries again.
    resumed   bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (migration, kind, name)
);
