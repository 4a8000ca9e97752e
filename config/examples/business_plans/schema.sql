-- A business-plan application: five collections of MongoDB as six tables.
--
-- Strict, because the application will rely on it after the cutover: lists of allowed values, foreign keys that cascade
-- or set null, an order that is unique inside a plan, and a trigger that would overwrite the time of the last change.

CREATE SCHEMA app;

CREATE TABLE app.users (
    id            uuid PRIMARY KEY,
    email         text NOT NULL UNIQUE,
    full_name     text NOT NULL,
    tier          text NOT NULL CHECK (tier IN ('free', 'pro', 'team')),
    company       text,
    country       varchar(2),
    phone         text,
    preferences   jsonb NOT NULL,
    last_login_at timestamptz,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);

CREATE TABLE app.plans (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    based_on_id  uuid REFERENCES app.plans (id) ON DELETE SET NULL,
    title        varchar(120) NOT NULL,
    status       text NOT NULL CHECK (status IN ('draft', 'in_review', 'approved', 'archived')),
    industry     text,
    summary      text,
    target_raise numeric(14, 2),
    currency     varchar(3) NOT NULL CHECK (currency IN ('EUR', 'USD', 'GBP')),
    tags         text[] NOT NULL,
    goals        text[],
    canvas       jsonb,
    is_public    boolean NOT NULL,
    extra        jsonb NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);

CREATE TABLE app.sections (
    id          uuid PRIMARY KEY,
    plan_id     uuid NOT NULL REFERENCES app.plans (id) ON DELETE CASCADE,
    order_index integer NOT NULL,
    title       text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('text', 'table', 'canvas')),
    body        text NOT NULL,
    key_points  text[],
    ai_model    text,
    ai_tokens   integer,
    reviewed_by uuid REFERENCES app.users (id) ON DELETE SET NULL,
    reviewed_at timestamptz,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (plan_id, order_index)
);

CREATE TABLE app.research_packs (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    plan_id     uuid REFERENCES app.plans (id) ON DELETE SET NULL,
    topic       text NOT NULL,
    state       text NOT NULL CHECK (state IN ('collecting', 'ready', 'stale')),
    keywords    text[],
    years       integer[],
    findings    jsonb,
    confidence  double precision,
    market_size numeric(16, 2),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

CREATE TABLE app.financial_models (
    id           uuid PRIMARY KEY,
    plan_id      uuid NOT NULL REFERENCES app.plans (id) ON DELETE CASCADE,
    name         text NOT NULL,
    scenario     text NOT NULL CHECK (scenario IN ('base', 'optimistic', 'pessimistic')),
    opening_cash numeric(14, 2) NOT NULL,
    assumptions  jsonb,
    locked       boolean NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);

CREATE TABLE app.financial_years (
    model_id  uuid NOT NULL REFERENCES app.financial_models (id) ON DELETE CASCADE,
    year      smallint NOT NULL,
    revenue   numeric(14, 2) NOT NULL,
    costs     numeric(14, 2),
    headcount integer,
    PRIMARY KEY (model_id, year)
);

CREATE INDEX ON app.plans (user_id);
CREATE INDEX ON app.plans (based_on_id);
CREATE INDEX ON app.sections (reviewed_by);
CREATE INDEX ON app.research_packs (user_id);
CREATE INDEX ON app.research_packs (plan_id);
CREATE INDEX ON app.financial_models (plan_id);

-- Right for the application, wrong for a copy: a replicated row keeps the time of its document.
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON app.users FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON app.plans FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON app.sections FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON app.research_packs FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON app.financial_models FOR EACH ROW EXECUTE FUNCTION app.touch();
