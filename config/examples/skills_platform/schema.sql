-- A platform of services that shared one MongoDB database: twenty collections, thirty-five tables, one schema for each
-- service. Triggers write an audit trail and keep `updated_at`; both must stay quiet while rows are copied.

CREATE SCHEMA audit;
CREATE SCHEMA identity;
CREATE SCHEMA skills;
CREATE SCHEMA work;
CREATE SCHEMA engagement;
CREATE SCHEMA integrations;
CREATE SCHEMA analytics;

CREATE TYPE engagement.notification_kind AS ENUM ('mention', 'reminder', 'announcement', 'other');

-- identity ------------------------------------------------------------------------------------------------------------
CREATE TABLE identity.users (
    id         uuid PRIMARY KEY,
    username   varchar(40) NOT NULL UNIQUE,
    email      text NOT NULL UNIQUE,
    roles      text[] NOT NULL,
    xp         bigint NOT NULL,
    settings   jsonb,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE TABLE identity.user_links (
    user_id uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    network text NOT NULL,
    url     text NOT NULL,
    PRIMARY KEY (user_id, network)
);
CREATE TABLE identity.connections (
    user_id   uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    friend_id uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    state     text NOT NULL CHECK (state IN ('requested', 'accepted', 'blocked')),
    strength  real,
    since     timestamptz,
    PRIMARY KEY (user_id, friend_id),
    CHECK (user_id <> friend_id)
);
CREATE TABLE identity.push_subscriptions (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    endpoint   text NOT NULL UNIQUE,
    expires_at timestamptz,
    enabled    boolean NOT NULL
);
CREATE TABLE identity.push_keys (
    subscription_id uuid PRIMARY KEY REFERENCES identity.push_subscriptions (id) ON DELETE CASCADE,
    p256dh          text NOT NULL,
    auth            text NOT NULL
);

-- skills --------------------------------------------------------------------------------------------------------------
CREATE TABLE skills.skill_trees (
    id         uuid PRIMARY KEY,
    owner_id   uuid REFERENCES identity.users (id) ON DELETE SET NULL,
    name       text NOT NULL,
    theme      text,
    updated_at timestamptz NOT NULL
);
CREATE TABLE skills.skills (
    id         uuid PRIMARY KEY,
    tree_id    uuid NOT NULL REFERENCES skills.skill_trees (id) ON DELETE CASCADE,
    position   integer NOT NULL,
    name       text NOT NULL,
    level      smallint NOT NULL CHECK (level BETWEEN 0 AND 100),
    unlocked   boolean NOT NULL,
    extra      jsonb NOT NULL
);
CREATE TABLE skills.skill_prerequisites (
    skill_id        uuid NOT NULL REFERENCES skills.skills (id) ON DELETE CASCADE,
    prerequisite_id uuid NOT NULL REFERENCES skills.skills (id) ON DELETE CASCADE,
    PRIMARY KEY (skill_id, prerequisite_id)
);

-- work ----------------------------------------------------------------------------------------------------------------
CREATE TABLE work.tasks (
    id          uuid PRIMARY KEY,
    owner_id    uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    title       text NOT NULL,
    state       text NOT NULL CHECK (state IN ('open', 'doing', 'done', 'dropped')),
    priority    smallint NOT NULL,
    due_at      timestamptz,
    labels      text[],
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE TABLE work.task_recurrences (
    task_id  uuid PRIMARY KEY REFERENCES work.tasks (id) ON DELETE CASCADE,
    every    integer NOT NULL,
    unit     text NOT NULL CHECK (unit IN ('day', 'week', 'month')),
    until_on date
);
CREATE TABLE work.checklists (
    id       uuid PRIMARY KEY,
    task_id  uuid NOT NULL REFERENCES work.tasks (id) ON DELETE CASCADE,
    position integer NOT NULL,
    title    text NOT NULL
);
CREATE TABLE work.checklist_entries (
    id           uuid PRIMARY KEY,
    task_id      uuid NOT NULL REFERENCES work.tasks (id) ON DELETE CASCADE,
    checklist_id uuid NOT NULL REFERENCES work.checklists (id) ON DELETE CASCADE,
    position     integer NOT NULL,
    label        text NOT NULL,
    done         boolean NOT NULL
);
CREATE TABLE work.task_dependencies (
    task_id       uuid NOT NULL REFERENCES work.tasks (id) ON DELETE CASCADE,
    depends_on_id uuid NOT NULL REFERENCES work.tasks (id) ON DELETE CASCADE,
    kind          text NOT NULL,
    PRIMARY KEY (task_id, depends_on_id)
);
CREATE TABLE work.task_versions (
    task_id    uuid NOT NULL REFERENCES work.tasks (id) ON DELETE CASCADE,
    version    integer NOT NULL,
    editor_id  uuid REFERENCES identity.users (id) ON DELETE SET NULL,
    change     jsonb NOT NULL,
    written_at timestamptz NOT NULL,
    PRIMARY KEY (task_id, version)
);

-- engagement ----------------------------------------------------------------------------------------------------------
CREATE TABLE engagement.momentum (
    user_id    uuid PRIMARY KEY REFERENCES identity.users (id) ON DELETE CASCADE,
    score      double precision NOT NULL,
    trend      text,
    updated_at timestamptz NOT NULL
);
CREATE TABLE engagement.momentum_days (
    user_id uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    day     varchar(10) NOT NULL,
    points  integer NOT NULL,
    tasks   integer,
    PRIMARY KEY (user_id, day)
);
CREATE TABLE engagement.streaks (
    user_id uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    kind    text NOT NULL,
    current integer NOT NULL,
    longest integer NOT NULL,
    last_on date,
    PRIMARY KEY (user_id, kind)
);
CREATE TABLE engagement.boosts (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    kind       text NOT NULL,
    factor     numeric(4, 2) NOT NULL,
    starts_at  timestamptz NOT NULL,
    expires_at timestamptz
);
CREATE TABLE engagement.seasons (
    id        uuid PRIMARY KEY,
    number    integer NOT NULL UNIQUE,
    title     text NOT NULL,
    starts_on date NOT NULL,
    ends_on   date
);
CREATE TABLE engagement.objectives (
    id        uuid PRIMARY KEY,
    user_id   uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    season_id uuid REFERENCES engagement.seasons (id) ON DELETE SET NULL,
    title     text NOT NULL,
    state     text NOT NULL
);
CREATE TABLE engagement.key_results (
    id           uuid PRIMARY KEY,
    objective_id uuid NOT NULL REFERENCES engagement.objectives (id) ON DELETE CASCADE,
    code         text NOT NULL,
    target       double precision NOT NULL,
    reached      double precision NOT NULL,
    UNIQUE (objective_id, code)
);
CREATE TABLE engagement.odysseys (
    id      uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    title   text NOT NULL
);
CREATE TABLE engagement.odyssey_stages (
    id         uuid PRIMARY KEY,
    odyssey_id uuid NOT NULL REFERENCES engagement.odysseys (id) ON DELETE CASCADE,
    position   integer NOT NULL,
    title      text NOT NULL
);
CREATE TABLE engagement.odyssey_milestones (
    stage_id      uuid NOT NULL REFERENCES engagement.odyssey_stages (id) ON DELETE CASCADE,
    position      integer NOT NULL,
    odyssey_title text NOT NULL,
    stage_title   text NOT NULL,
    name          text NOT NULL,
    reward        integer,
    PRIMARY KEY (stage_id, position)
);
CREATE TABLE engagement.rewards (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    odyssey_id uuid REFERENCES engagement.odysseys (id) ON DELETE SET NULL,
    amount     numeric(12, 2) NOT NULL,
    currency   text NOT NULL,
    granted_at timestamptz NOT NULL
);
CREATE TABLE engagement.challenges (
    id         uuid PRIMARY KEY,
    creator_id uuid REFERENCES identity.users (id) ON DELETE SET NULL,
    title      text NOT NULL,
    rules      jsonb,
    closes_at  timestamptz
);
CREATE TABLE engagement.challenge_participants (
    challenge_id uuid NOT NULL REFERENCES engagement.challenges (id) ON DELETE CASCADE,
    user_id      uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    score        integer NOT NULL,
    joined_at    timestamptz,
    PRIMARY KEY (challenge_id, user_id)
);
CREATE TABLE engagement.notifications (
    id      uuid PRIMARY KEY,
    user_id uuid REFERENCES identity.users (id) ON DELETE CASCADE,
    kind    engagement.notification_kind NOT NULL,
    text    text NOT NULL,
    payload jsonb,
    sent_at timestamptz NOT NULL
);

-- integrations --------------------------------------------------------------------------------------------------------
CREATE TABLE integrations.webhooks (
    id       uuid PRIMARY KEY,
    owner_id uuid NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    url      text NOT NULL,
    events   text[] NOT NULL,
    secret   bytea,
    headers  jsonb,
    active   boolean NOT NULL
);
CREATE TABLE integrations.webhook_logs (
    id         bytea PRIMARY KEY,
    webhook_id uuid NOT NULL REFERENCES integrations.webhooks (id) ON DELETE CASCADE,
    status     smallint NOT NULL,
    millis     integer NOT NULL,
    response   varchar(200),
    sent_at    timestamptz NOT NULL
);

-- analytics: one collection of events, one table for each kind ---------------------------------------------------------
CREATE TABLE analytics.page_views (
    id       uuid PRIMARY KEY,
    user_id  uuid,
    path     text NOT NULL,
    referrer text,
    at       timestamptz NOT NULL
);
CREATE TABLE analytics.task_events (
    id      uuid PRIMARY KEY,
    user_id uuid,
    task_id uuid NOT NULL,
    what    text NOT NULL,
    at      timestamptz NOT NULL
);
CREATE TABLE analytics.purchases (
    id      uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    total   numeric(12, 2) NOT NULL,
    at      timestamptz NOT NULL
);
CREATE TABLE analytics.purchase_lines (
    purchase_id uuid NOT NULL REFERENCES analytics.purchases (id) ON DELETE CASCADE,
    position    integer NOT NULL,
    sku         text NOT NULL,
    quantity    integer NOT NULL,
    PRIMARY KEY (purchase_id, position)
);
CREATE TABLE analytics.measurements (
    user_id uuid NOT NULL,
    metric  text NOT NULL,
    at      timestamptz NOT NULL,
    value   double precision NOT NULL,
    PRIMARY KEY (user_id, metric, at)
);

-- What the application's own writes will leave behind after the cutover. A copy must leave nothing.
CREATE TABLE audit.changes (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL,
    operation  text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE FUNCTION audit.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit.changes (table_name, operation) VALUES (TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, TG_OP);
    RETURN COALESCE(NEW, OLD);
END
$$;
CREATE FUNCTION audit.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON identity.users FOR EACH ROW EXECUTE FUNCTION audit.touch();
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON skills.skill_trees FOR EACH ROW EXECUTE FUNCTION audit.touch();
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON work.tasks FOR EACH ROW EXECUTE FUNCTION audit.touch();
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON engagement.momentum FOR EACH ROW EXECUTE FUNCTION audit.touch();
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON identity.users FOR EACH ROW EXECUTE FUNCTION audit.note();
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON work.tasks FOR EACH ROW EXECUTE FUNCTION audit.note();
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON engagement.rewards FOR EACH ROW EXECUTE FUNCTION audit.note();
