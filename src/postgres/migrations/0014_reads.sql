-- Where the application reads a unit: one row a unit is the truth, and nothing else holds a state.
CREATE TABLE driftless.read_unit (
    migration    integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    unit         text    NOT NULL,
    -- Its collections, as the command that last gave it a share knew them.
    collections  text[]  NOT NULL,
    -- Percent of the keys whose reads go to PostgreSQL, as wished; none do while the unit is tripped, or while nobody judges it.
    share        numeric(5, 2) NOT NULL DEFAULT 0 CHECK (share BETWEEN 0 AND 100),
    -- What stood against the unit when the share was forced, `collection kind` each (`*`: all collections). It does not trip the unit.
    accepted     text[]  NOT NULL DEFAULT '{}',
    tripped_at   timestamptz,
    -- Why.
    tripped_by   text,
    -- While tripped: since when nothing has stood against the unit, without a break. NULL: something does.
    green_since  timestamptz,
    -- Whoever judges the unit moves this on, about once a second. Beyond it nobody knows whether the reads still follow the proof.
    judged_until timestamptz,
    -- When the row last changed otherwise, and how often it has.
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    epoch        bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (migration, unit),
    CHECK ((tripped_at IS NULL) = (tripped_by IS NULL))
) WITH (fillfactor = 50);

-- Every change of a unit.
CREATE TABLE driftless.read_change (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration  integer NOT NULL REFERENCES driftless.identity (id) ON DELETE CASCADE,
    unit       text    NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The operator, or the process that tripped the unit or let it go on.
    who        text    NOT NULL,
    action     text    NOT NULL CHECK (action IN ('share', 'back', 'trip', 'recover')),
    -- The share as wished after it.
    share      numeric(5, 2) NOT NULL,
    why        text,
    -- Whether the share was given although the gate was not ready.
    forced     boolean NOT NULL DEFAULT false,
    -- V of the unit then: in all its collections, every change before this was judged. NULL: not in all of them.
    verified_t bigint,
    verified_i bigint,
    epoch      bigint  NOT NULL
);
CREATE INDEX read_change_unit ON driftless.read_change (migration, unit, id DESC);

CREATE FUNCTION driftless.notify_reads() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('driftless_reads', NEW.unit);
    RETURN NULL;
END $$;
-- Judging a unit changes nothing for those who ask, so it notifies nobody.
CREATE TRIGGER notify AFTER INSERT OR UPDATE OF collections, share, tripped_at, epoch ON driftless.read_unit
    FOR EACH ROW EXECUTE FUNCTION driftless.notify_reads();

-- Where to read, for applications that ask in SQL: `share` is the percentage of keys whose reads go to PostgreSQL now.
CREATE VIEW driftless.reads AS
SELECT i.prefix AS migration, u.unit, u.collections,
       CASE WHEN u.tripped_at IS NULL AND u.judged_until > clock_timestamp() THEN u.share ELSE 0 END AS share,
       u.share AS wish,
       u.tripped_at IS NOT NULL AS tripped,
       CASE WHEN u.tripped_at IS NOT NULL THEN u.tripped_by
            WHEN u.share > 0 AND coalesce(u.judged_until <= clock_timestamp(), true) THEN 'no process judges the unit'
       END AS reason,
       u.since, u.epoch
  FROM driftless.read_unit AS u JOIN driftless.identity AS i ON i.id = u.migration;
