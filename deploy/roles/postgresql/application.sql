-- The rights of the application, to ask in SQL where to read and whether a write has arrived (docs/reads.md).
--
--   psql -v ON_ERROR_STOP=1 -v role=shop -d "$OWNER" -f roles/postgresql/application.sql

GRANT USAGE ON SCHEMA driftless TO :"role";
GRANT SELECT ON driftless.reads TO :"role";
