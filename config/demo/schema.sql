-- The target of the demo: the business-plan application as its team would have designed it for PostgreSQL.
-- Everything is in the schema "app". Running the file again changes nothing; to start anew: DROP SCHEMA app CASCADE.
--
-- It is strict on purpose. What a copy of the data must get right is all here: foreign keys that cascade or set
-- null, one that points to its own table, unique values that move between rows, CHECK lists, exact money,
-- a trigger that overwrites "updated_at", and a column that PostgreSQL computes itself.

CREATE SCHEMA IF NOT EXISTS app;

CREATE TABLE IF NOT EXISTS app.organisations (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    slug        text NOT NULL UNIQUE,
    kind        text NOT NULL CHECK (kind IN ('startup', 'company', 'charity', 'public_body')),
    about       text,
    employees   integer NOT NULL CHECK (employees >= 0),
    city        text,
    country     varchar(2),
    latitude    double precision,
    longitude   double precision,
    credit      numeric(14, 2) NOT NULL,
    domains     text[],
    founded_on  date,
    settings    jsonb,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS app.users (
    id              uuid PRIMARY KEY,
    email           text NOT NULL UNIQUE,
    full_name       text NOT NULL,
    status          text NOT NULL CHECK (status IN ('active', 'invited', 'suspended')),
    role            text NOT NULL CHECK (role IN ('founder', 'member', 'adviser', 'investor')),
    organisation_id uuid REFERENCES app.organisations (id) ON DELETE SET NULL,
    street          text,
    city            text,
    postcode        varchar(12),
    country         varchar(2),
    phone           text,
    born_on         date,
    bio             text,
    languages       text[],
    tags            text[],
    preferences     jsonb,
    login_count     bigint NOT NULL,
    rating          double precision,
    email_verified  boolean NOT NULL,
    last_login_at   timestamptz,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS app.plans (
    id               uuid PRIMARY KEY,
    title            varchar(160) NOT NULL,
    owner_id         uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    organisation_id  uuid REFERENCES app.organisations (id) ON DELETE SET NULL,
    based_on_id      uuid REFERENCES app.plans (id) ON DELETE SET NULL,
    collaborator_ids uuid[],
    status           text NOT NULL CHECK (status IN ('draft', 'in_review', 'approved', 'archived')),
    stage            text NOT NULL CHECK (stage IN ('idea', 'seed', 'growth', 'mature')),
    industry         text NOT NULL,
    summary          text,
    budget           numeric(14, 2) NOT NULL,
    currency         varchar(3) NOT NULL CHECK (currency IN ('EUR', 'USD', 'GBP', 'NOK')),
    progress         double precision NOT NULL,
    view_count       bigint NOT NULL,
    is_public        boolean NOT NULL,
    starts_on        date NOT NULL,
    tags             text[],
    settings         jsonb,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    search           tsvector GENERATED ALWAYS AS (to_tsvector('simple', title || ' ' || coalesce(summary, ''))) STORED
);

CREATE TABLE IF NOT EXISTS app.plan_milestones (
    id        uuid PRIMARY KEY,
    plan_id   uuid NOT NULL REFERENCES app.plans (id) ON DELETE CASCADE,
    position  integer NOT NULL,
    name      text NOT NULL,
    due_on    date NOT NULL,
    done      boolean NOT NULL,
    weight    smallint NOT NULL CHECK (weight BETWEEN 0 AND 100),
    owners    text[],
    budget    numeric(14, 2),
    note      text
);

CREATE TABLE IF NOT EXISTS app.research_packs (
    id           uuid PRIMARY KEY,
    owner_id     uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    plan_id      uuid REFERENCES app.plans (id) ON DELETE SET NULL,
    topic        text NOT NULL,
    state        text NOT NULL CHECK (state IN ('collecting', 'ready', 'stale')),
    region       text,
    years        integer[],
    market_size  numeric(14, 2) NOT NULL,
    confidence   double precision NOT NULL,
    keywords     text[],
    findings     jsonb,
    refreshed_at timestamptz,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS app.research_sources (
    id               uuid PRIMARY KEY,
    research_pack_id uuid NOT NULL REFERENCES app.research_packs (id) ON DELETE CASCADE,
    position         integer NOT NULL,
    key              text NOT NULL,
    title            text NOT NULL,
    url              text NOT NULL,
    credibility      double precision NOT NULL,
    paid             boolean NOT NULL,
    price            numeric(14, 2),
    published_on     date,
    UNIQUE (research_pack_id, key)
);

CREATE TABLE IF NOT EXISTS app.sections (
    id               uuid PRIMARY KEY,
    plan_id          uuid NOT NULL REFERENCES app.plans (id) ON DELETE CASCADE,
    order_index      integer NOT NULL,
    title            text NOT NULL,
    kind             text NOT NULL CHECK (kind IN ('text', 'table', 'canvas', 'checklist')),
    body             text NOT NULL,
    blocks           jsonb,
    word_count       integer NOT NULL,
    ai_generated     boolean NOT NULL,
    key_points       text[],
    research_pack_id uuid REFERENCES app.research_packs (id) ON DELETE SET NULL,
    review_score     double precision,
    review_comment   text,
    reviewed_by      uuid REFERENCES app.users (id) ON DELETE SET NULL,
    reviewed_at      timestamptz,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    -- Checked at each statement, not at commit: two sections that swap places collide on the way.
    UNIQUE (plan_id, order_index)
);

CREATE TABLE IF NOT EXISTS app.financial_models (
    id             uuid PRIMARY KEY,
    plan_id        uuid NOT NULL REFERENCES app.plans (id) ON DELETE CASCADE,
    name           text NOT NULL,
    scenario       text NOT NULL CHECK (scenario IN ('base', 'optimistic', 'pessimistic')),
    currency       varchar(3) NOT NULL CHECK (currency IN ('EUR', 'USD', 'GBP', 'NOK')),
    starts_on      date NOT NULL,
    horizon_months integer NOT NULL CHECK (horizon_months > 0),
    opening_cash   numeric(14, 2) NOT NULL,
    monthly_burn   numeric(14, 2) NOT NULL,
    revenue_year_1 numeric(14, 2) NOT NULL,
    revenue_year_2 numeric(14, 2) NOT NULL,
    revenue_year_3 numeric(14, 2) NOT NULL,
    growth_rate    double precision NOT NULL,
    headcount      integer NOT NULL,
    units_sold     bigint NOT NULL,
    assumptions    jsonb,
    break_even_on  date,
    locked         boolean NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);

-- A foreign key without an index makes each delete of a parent read the whole child table.
CREATE INDEX IF NOT EXISTS users_organisation ON app.users (organisation_id);
CREATE INDEX IF NOT EXISTS plans_owner ON app.plans (owner_id);
CREATE INDEX IF NOT EXISTS plans_organisation ON app.plans (organisation_id);
CREATE INDEX IF NOT EXISTS plans_based_on ON app.plans (based_on_id);
CREATE INDEX IF NOT EXISTS plans_search ON app.plans USING gin (search);
CREATE INDEX IF NOT EXISTS plans_tags ON app.plans USING gin (tags);
CREATE INDEX IF NOT EXISTS plan_milestones_plan ON app.plan_milestones (plan_id, position);
CREATE INDEX IF NOT EXISTS research_packs_owner ON app.research_packs (owner_id);
CREATE INDEX IF NOT EXISTS research_packs_plan ON app.research_packs (plan_id);
CREATE INDEX IF NOT EXISTS sections_research_pack ON app.sections (research_pack_id);
CREATE INDEX IF NOT EXISTS sections_reviewed_by ON app.sections (reviewed_by);
CREATE INDEX IF NOT EXISTS financial_models_plan ON app.financial_models (plan_id);

-- Right for the application, wrong for a copy: a row that is replicated must keep the time of its document.
CREATE OR REPLACE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER touch BEFORE INSERT OR UPDATE ON app.organisations
    FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE OR REPLACE TRIGGER touch BEFORE INSERT OR UPDATE ON app.users
    FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE OR REPLACE TRIGGER touch BEFORE INSERT OR UPDATE ON app.plans
    FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE OR REPLACE TRIGGER touch BEFORE INSERT OR UPDATE ON app.sections
    FOR EACH ROW EXECUTE FUNCTION app.touch();
