-- The rights of a role that compares and cannot write a row of the application: for a reconciler in a process of its own
-- (`run --role reconciler`), for `reconcile`, `diff`, `integrity` and `cutover check`.
-- Run it once the sink has made the schema `driftless`, and again after an upgrade:
--
--   psql -v ON_ERROR_STOP=1 -v role=driftless_reader -v schema=app -d "$OWNER" -f roles/postgresql/reader.sql

GRANT USAGE ON SCHEMA :"schema", driftless TO :"role";
GRANT SELECT ON ALL TABLES IN SCHEMA :"schema" TO :"role";

-- Everything but the contents of documents that were repaired.
GRANT SELECT ON ALL TABLES IN SCHEMA driftless TO :"role";
REVOKE SELECT ON driftless.evidence FROM :"role";
-- The tables in which the reconciler stores what it finds, and takes reads back for it.
GRANT INSERT, UPDATE, DELETE ON
    driftless.baseline_chunk, driftless.baseline_undecided, driftless.delta, driftless.finding, driftless.foreign_write,
    driftless.guard, driftless.integrity, driftless.orphan, driftless.process, driftless.proof, driftless.read_change,
    driftless.read_unit, driftless.undecided
    TO :"role";
