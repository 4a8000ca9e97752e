-- The target of each block of TOML in README.md and docs/mapping.md, by the heading above it and its number there: `check` must
-- find no fault.

-- By hand 1
CREATE SCHEMA app;
CREATE TABLE app.teams (id uuid PRIMARY KEY, name text);
CREATE TABLE app.users (id uuid PRIMARY KEY, full_name text, city text, team_id uuid REFERENCES app.teams);
CREATE TABLE app.plans (id uuid PRIMARY KEY, title text NOT NULL);
CREATE TABLE app.plan_milestones (plan_id uuid REFERENCES app.plans, position integer, title text, PRIMARY KEY (plan_id, position));

-- A first file 1
CREATE SCHEMA app;
CREATE TABLE app.teams (id uuid PRIMARY KEY, name text);
CREATE TABLE app.users (id uuid PRIMARY KEY, full_name text, city text, team_id uuid REFERENCES app.teams, search tsvector);

-- Columns 1
CREATE TABLE things (
    id uuid PRIMARY KEY, city text, first_item text, dotted text, created_by text, status text, source text, raw jsonb,
    extra jsonb, odyssey_id uuid, updated_by text, joined_on date
);

-- Nothing there: missing, null, undefined 1
CREATE TABLE things (id uuid PRIMARY KEY, created_by text, country text, owner_id uuid);

-- Ids 1
CREATE SCHEMA app;
CREATE TABLE users (id uuid PRIMARY KEY);
CREATE TABLE currencies (code text PRIMARY KEY, name text);
CREATE TABLE app.old_ids (old_id text PRIMARY KEY, new_id bigint NOT NULL);
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric);
CREATE TABLE invoices (id uuid PRIMARY KEY);
CREATE TABLE sessions (id uuid PRIMARY KEY);

-- Ids 2
CREATE SCHEMA app;
CREATE TABLE app.items (id uuid PRIMARY KEY);
CREATE TABLE app.components (id uuid PRIMARY KEY);
CREATE TABLE app.item_components (item_id uuid, component_id uuid, PRIMARY KEY (item_id, component_id));

-- References 1
CREATE SCHEMA app;
CREATE TABLE app.currencies (code text PRIMARY KEY, id bigint NOT NULL);
CREATE TABLE users (id uuid PRIMARY KEY);
CREATE TABLE plans (id uuid PRIMARY KEY);
CREATE TABLE comments (
    id uuid PRIMARY KEY, user_id uuid, plan_id uuid, watcher_ids uuid[], currency_id bigint, legacy_id uuid, target_id uuid,
    about_plan uuid, owner_id uuid, editor_id uuid, author_id uuid
);

-- Embedded things become rows 1
CREATE SCHEMA app;
CREATE TABLE users (id uuid PRIMARY KEY);
CREATE TABLE app.plans (id uuid PRIMARY KEY, title text);
CREATE TABLE app.milestones (id uuid PRIMARY KEY, plan_id uuid, position integer, due_on timestamptz, plan_title text);
CREATE TABLE app.milestone_tasks (id uuid PRIMARY KEY, milestone_id uuid, plan_id uuid, code text);
CREATE TABLE app.plan_watchers (plan_id uuid, user_id uuid, PRIMARY KEY (plan_id, user_id));
CREATE TABLE app.plan_settings (plan_id uuid PRIMARY KEY, theme text);
CREATE TABLE app.plan_days (plan_id uuid, day text, points integer, PRIMARY KEY (plan_id, day));
CREATE TABLE app.plan_votes (plan_id uuid, user_id uuid, vote integer, PRIMARY KEY (plan_id, user_id));

-- Embedded things become rows 2
CREATE SCHEMA app;
CREATE TABLE boards (id text PRIMARY KEY);
CREATE TABLE app.cards (id uuid PRIMARY KEY, board_id text, title text);

-- Filters, kinds, shared tables 1
CREATE SCHEMA app;
CREATE SCHEMA analytics;
CREATE TABLE awards (id uuid PRIMARY KEY);
CREATE TABLE analytics.logins (id uuid PRIMARY KEY, user_id uuid);
CREATE TABLE analytics.orders (id uuid PRIMARY KEY, total numeric);
CREATE TABLE analytics.order_lines (order_id uuid, position integer, sku text, PRIMARY KEY (order_id, position));
CREATE TABLE app.messages (id uuid PRIMARY KEY, body text);
CREATE TABLE app.people (id uuid PRIMARY KEY, name text);
CREATE TABLE app.teachers (id uuid PRIMARY KEY, name text, subject text);

-- Values in another form 1
CREATE TABLE things (
    id uuid PRIMARY KEY, status text, priority integer, phone text, age integer, active boolean, born_on date, value text,
    seen_at timestamptz, mongo_id text, note text
);

-- Empty elements 1
CREATE TABLE things (id uuid PRIMARY KEY, tags text[], codes text[], member_ids uuid[]);

-- Values that do not fit 1
CREATE TABLE things (
    id uuid PRIMARY KEY, title varchar(80), amount numeric(12, 2), born_on date, score smallint, memo varchar(200)
);

-- Values that do not fit 2
CREATE TABLE things (id uuid PRIMARY KEY, score_history integer[]);
