-- The target of the odd inputs. A table has the name of its collection; its key is `id`.

CREATE EXTENSION citext;
CREATE TYPE phase AS ENUM ('active', 'closed');

-- One column of every sort.
CREATE TABLE typed (
    id text PRIMARY KEY,
    s text, v5 varchar(5), c5 char(5), ci citext, e phase,
    i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision, n numeric, n10 numeric(10, 2), n38 numeric(38, 9),
    b boolean, u uuid, d date, ts timestamp, tz timestamptz, tz0 timestamptz(0), bytes bytea,
    ints integer[], nums numeric[], j jsonb, js json,
    x xml, net inet, standard text DEFAULT 'standard',
    -- The same values where the column's policy decides.
    s_replace text, v5_cut varchar(5), i4_read integer, i4_empty integer, b_read boolean, d_read date, e_other phase,
    i2_clamp smallint, i4_round integer, n10_round numeric(10, 2), n10_null numeric(10, 2),
    tz0_round timestamptz(0), tz_seconds timestamptz, s_prefix text, u_prefix uuid, s_typed text, ss_full text[]
);
-- The whole document.
CREATE TABLE docs (id text PRIMARY KEY, doc jsonb NOT NULL);
-- Never a dead letter, so that both sides can be proven equal.
CREATE TABLE calm (id text PRIMARY KEY, n numeric, doc jsonb NOT NULL);
-- Documents of many megabytes.
CREATE TABLE large (id text PRIMARY KEY, s text, j jsonb);
CREATE TABLE imaged (id text PRIMARY KEY, s text);
CREATE TABLE "fs.chunks" (id uuid PRIMARY KEY, files_id text NOT NULL, n integer NOT NULL, data bytea NOT NULL);

-- A key for every id rule.
CREATE TABLE any_ids (id uuid PRIMARY KEY, label text, number bigint);
CREATE TABLE hex_ids (id text PRIMARY KEY, label text);
CREATE TABLE text_ids (id text PRIMARY KEY, label text);
CREATE TABLE int_ids (id bigint PRIMARY KEY, label text);
CREATE TABLE uuid_ids (id uuid PRIMARY KEY, label text);
CREATE TABLE bytes_ids (id bytea PRIMARY KEY, label text);
CREATE TABLE boolean_ids (id boolean PRIMARY KEY, label text);
CREATE TABLE date_ids (id timestamptz PRIMARY KEY, label text);
CREATE TABLE folded (id text PRIMARY KEY, label text);

-- Names.
CREATE TABLE "select" (
    id text PRIMARY KEY, "order" text, "Name" text, "name" text, dotted integer, nested integer,
    first_long integer, second_long integer, constraint_ text
);
CREATE TABLE "a.b_c" (id text PRIMARY KEY, label text);
CREATE TABLE "a_b.c" (id text PRIMARY KEY, label text);
CREATE TABLE "long" (id text PRIMARY KEY, label text);

-- Constraints.
CREATE TABLE parents (id text PRIMARY KEY);
CREATE TABLE kids (id text PRIMARY KEY, parent text REFERENCES parents);
CREATE TABLE uniques (id text PRIMARY KEY, value text UNIQUE, folded citext UNIQUE);
CREATE TABLE strict (id text PRIMARY KEY, must text NOT NULL, checked integer CHECK (checked > 0));
CREATE TABLE bookings (
    id text PRIMARY KEY, first_day integer, last_day integer,
    EXCLUDE USING gist (int4range(first_day, last_day) WITH &&)
);
CREATE TABLE guarded (id text PRIMARY KEY, n integer);
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.n = 13 THEN RAISE EXCEPTION 'thirteen'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON guarded FOR EACH ROW EXECUTE FUNCTION guard();
CREATE EXTENSION seg;
CREATE TABLE measures (id text PRIMARY KEY, v seg);
CREATE TABLE wide (id text PRIMARY KEY, s text);
ALTER TABLE wide ALTER COLUMN s SET STORAGE PLAIN;

-- What applications write.
CREATE TABLE apps (
    id text PRIMARY KEY, created_by text, country text, tags text[], codes integer[], owner uuid, legacy text, only_text text
);
CREATE TABLE app_members (app text, member text, PRIMARY KEY (app, member));
CREATE TABLE app_votes (app text, voter uuid, vote integer, PRIMARY KEY (app, voter));
CREATE TABLE kinds (id text PRIMARY KEY, name text);
CREATE TABLE kinds_teacher (id text PRIMARY KEY, name text);

-- What no mapping may write: only `driftless check` hears of these.
CREATE TABLE padded (id char(24) PRIMARY KEY);
CREATE TABLE folding (id citext PRIMARY KEY);
CREATE TABLE generated (
    id text PRIMARY KEY, counted bigint GENERATED ALWAYS AS IDENTITY, doubled integer GENERATED ALWAYS AS (2) STORED
);
CREATE TABLE generated_key (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer);
CREATE TABLE zoneless (id text PRIMARY KEY, at timestamp, missing_path text);
CREATE TABLE long_names (id text PRIMARY KEY, aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_1 integer);
