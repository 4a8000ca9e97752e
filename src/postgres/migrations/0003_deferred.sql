-- Secondary indexes and foreign keys that were dropped for the time of the load, until they stand again.
CREATE TABLE driftless.deferred (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Both as SQL writes them: quoted where needed; an index with its schema.
    relation   text NOT NULL,
    name       text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('index', 'foreign key')),
    definition text NOT NULL,
    dropped_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (relation, name)
);
