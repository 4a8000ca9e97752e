-- The rights of the role that runs the daemon: it writes the mapped tables and owns the schema `driftless`.
-- Run it in the target, as the owner of the tables or a superuser, once for each schema with mapped tables:
--
--   createuser --pwprompt driftless
--   psql -v ON_ERROR_STOP=1 -v role=driftless -v schema=app -d "$OWNER" -f roles/postgresql/sink.sql
--
-- Running it again changes nothing. Run it again for tables that were made later.

-- For the schema `driftless`; may be revoked once that exists.
GRANT CREATE ON DATABASE :"DBNAME" TO :"role";

GRANT USAGE ON SCHEMA :"schema" TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA :"schema" TO :"role";
-- For serial columns that no document fills.
GRANT USAGE ON ALL SEQUENCES IN SCHEMA :"schema" TO :"role";

-- Keeps triggers and foreign keys from firing, as under PostgreSQL's own logical replication. Only a superuser may grant it.
-- Without it they are enforced; leave it out where they have to be.
GRANT SET ON PARAMETER session_replication_role TO :"role";
