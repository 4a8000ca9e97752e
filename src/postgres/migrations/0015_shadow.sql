-- Results of shadow reads: whether the queries of a file give the same answers on both sides, and how fast. Without values.
CREATE TABLE driftless.shadow_run (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    -- Name of the file, without its folder.
    file      text NOT NULL,
    who       text NOT NULL,
    began_at  timestamptz NOT NULL,
    ended_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The queries with a run that was proven different, and those with none of these but one that was undecided.
    different text[] NOT NULL,
    undecided text[] NOT NULL,
    -- Digests of the plans of the collections that the queries read, in hex; under another plan the result does not count.
    plans     jsonb NOT NULL,
    -- The report of the command.
    report    jsonb NOT NULL
);
CREATE INDEX shadow_run_latest ON driftless.shadow_run (migration, file, id DESC);
