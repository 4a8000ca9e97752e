-- Lets a role run `driftless guard install`. A role with this right may make triggers, which run with the rights of those who
-- write: grant it for the installation, and revoke it after. `driftless guard install --dry-run` prints the statements instead, for
-- the owner of the tables to run.
--
--   psql -v ON_ERROR_STOP=1 -v role=driftless -v schema=app -d "$OWNER" -f roles/postgresql/guard.sql
GRANT TRIGGER ON ALL TABLES IN SCHEMA :"schema" TO :"role";
