-- A learning application: nine collections as nine tables. Two of them are keyed by a pair of references, because that is
-- what the application looks them up by; their documents' own ids are of no use to anybody.

CREATE SCHEMA learning;

CREATE TABLE learning.learners (
    id                uuid PRIMARY KEY,
    email             text NOT NULL UNIQUE,
    first_name        text,
    last_name         text,
    born_on           date,
    country           varchar(2),
    interests         json,
    xp                integer NOT NULL,
    level             smallint NOT NULL,
    streak_current    integer NOT NULL,
    streak_longest    integer NOT NULL,
    last_active_on    date,
    badges            json,
    consent           boolean NOT NULL,
    created_at        timestamptz NOT NULL
);

CREATE TABLE learning.knowledge_components (
    id           uuid PRIMARY KEY,
    slug         text NOT NULL UNIQUE,
    name         text NOT NULL,
    parent_kc_id uuid REFERENCES learning.knowledge_components (id) ON DELETE SET NULL,
    difficulty   double precision NOT NULL CHECK (difficulty BETWEEN 0 AND 1),
    examples     json,
    retired      boolean NOT NULL
);

CREATE TABLE learning.items (
    id          uuid PRIMARY KEY,
    code        text NOT NULL UNIQUE,
    kind        text NOT NULL CHECK (kind IN ('single_choice', 'multiple_choice', 'free_text')),
    stem        text NOT NULL,
    choices     json,
    answer      jsonb,
    seconds     integer,
    released_on date
);

CREATE TABLE learning.item_kcs (
    item_id uuid NOT NULL REFERENCES learning.items (id) ON DELETE CASCADE,
    kc_id   uuid NOT NULL REFERENCES learning.knowledge_components (id) ON DELETE CASCADE,
    weight  double precision NOT NULL,
    PRIMARY KEY (item_id, kc_id)
);

CREATE TABLE learning.learner_kc_states (
    learner_id     uuid NOT NULL REFERENCES learning.learners (id) ON DELETE CASCADE,
    kc_id          uuid NOT NULL REFERENCES learning.knowledge_components (id) ON DELETE CASCADE,
    mastery        double precision NOT NULL CHECK (mastery BETWEEN 0 AND 1),
    attempts       smallint NOT NULL,
    last_seen_on   date,
    next_review_on date,
    history        json NOT NULL,
    PRIMARY KEY (learner_id, kc_id)
);

CREATE TABLE learning.attempts (
    id          uuid PRIMARY KEY,
    learner_id  uuid NOT NULL REFERENCES learning.learners (id) ON DELETE CASCADE,
    item_id     uuid NOT NULL REFERENCES learning.items (id) ON DELETE CASCADE,
    correct     boolean NOT NULL,
    score       numeric(4, 3),
    response    jsonb,
    hints       integer NOT NULL,
    answered_at timestamptz NOT NULL
);

CREATE TABLE learning.sessions (
    id          uuid PRIMARY KEY,
    learner_id  uuid NOT NULL REFERENCES learning.learners (id) ON DELETE CASCADE,
    held_on     date NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    device      text,
    first_item  uuid REFERENCES learning.items (id),
    item_ids    uuid[]
);

CREATE TABLE learning.study_plans (
    id         uuid PRIMARY KEY,
    learner_id uuid NOT NULL UNIQUE REFERENCES learning.learners (id) ON DELETE CASCADE,
    goals      json NOT NULL,
    due_on     date,
    pace       text NOT NULL
);

CREATE TABLE learning.badge_awards (
    learner_id uuid NOT NULL REFERENCES learning.learners (id) ON DELETE CASCADE,
    badge      text NOT NULL,
    awarded_on date NOT NULL,
    reason     text,
    UNIQUE (learner_id, badge)
);
