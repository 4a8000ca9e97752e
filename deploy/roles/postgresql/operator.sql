-- The rights of a person, or of a source in a process of its own (`run --role source`): requests, dead letters, reads, and no write
-- to a row of the application. The dead letters and the evidence hold contents of documents.
-- Run it once the sink has made the schema `driftless`, and again after an upgrade:
--
--   psql -v ON_ERROR_STOP=1 -v role=driftless_operator -v schema=app -d "$OWNER" -f roles/postgresql/operator.sql

GRANT USAGE ON SCHEMA :"schema", driftless TO :"role";
GRANT SELECT ON ALL TABLES IN SCHEMA :"schema" TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA driftless TO :"role";
