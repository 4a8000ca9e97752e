-- A financial-planning application that grew up on SQLite: its twelve tables, as collections for now, have whole numbers
-- as ids, numbers as times, 0 and 1 as booleans, texts as dates. Here each is what it means.

CREATE SCHEMA planning;

-- Filled by hand before the migration: what a code of the source is here.
CREATE TABLE planning.currencies (
    id     smallint PRIMARY KEY,
    code   varchar(3) NOT NULL UNIQUE,
    digits smallint NOT NULL
);
INSERT INTO planning.currencies VALUES (1, 'EUR', 2), (2, 'USD', 2), (3, 'JPY', 0);

CREATE TABLE planning.households (
    id         integer PRIMARY KEY,
    name       text NOT NULL,
    active     boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz
);
CREATE TABLE planning.people (
    id           integer PRIMARY KEY,
    household_id integer NOT NULL REFERENCES planning.households (id) ON DELETE CASCADE,
    name         text NOT NULL,
    born_on      date,
    retires_at   smallint,
    smoker       boolean
);
CREATE TABLE planning.institutions (
    id   integer PRIMARY KEY,
    name text NOT NULL UNIQUE,
    bic  varchar(11)
);
CREATE TABLE planning.accounts (
    id             bigint PRIMARY KEY,
    household_id   integer NOT NULL REFERENCES planning.households (id) ON DELETE CASCADE,
    institution_id integer REFERENCES planning.institutions (id) ON DELETE SET NULL,
    currency_id    smallint REFERENCES planning.currencies (id),
    name           text NOT NULL,
    balance        numeric(14, 2) NOT NULL,
    closed         boolean NOT NULL,
    opened_on      date,
    synced_at      timestamptz
);
CREATE TABLE planning.categories (
    id        integer PRIMARY KEY,
    parent_id integer REFERENCES planning.categories (id) ON DELETE SET NULL,
    name      text NOT NULL,
    position  integer NOT NULL,
    UNIQUE (parent_id, position)
);
CREATE TABLE planning.transactions (
    id          bigint PRIMARY KEY,
    account_id  bigint NOT NULL REFERENCES planning.accounts (id) ON DELETE CASCADE,
    category_id integer REFERENCES planning.categories (id) ON DELETE SET NULL,
    amount      numeric(14, 2) NOT NULL,
    booked_on   date NOT NULL,
    cleared     boolean NOT NULL,
    memo        varchar(80),
    imported_at timestamptz
);
CREATE TABLE planning.budgets (
    household_id integer NOT NULL REFERENCES planning.households (id) ON DELETE CASCADE,
    category_id  integer NOT NULL REFERENCES planning.categories (id) ON DELETE CASCADE,
    month        varchar(7) NOT NULL,
    amount       numeric(14, 2) NOT NULL,
    PRIMARY KEY (household_id, category_id, month)
);
CREATE TABLE planning.goals (
    id           integer PRIMARY KEY,
    household_id integer NOT NULL REFERENCES planning.households (id) ON DELETE CASCADE,
    name         text NOT NULL,
    target       numeric(14, 2) NOT NULL,
    due_on       date,
    reached      boolean NOT NULL,
    priority     smallint NOT NULL
);
CREATE TABLE planning.goal_accounts (
    goal_id    integer NOT NULL REFERENCES planning.goals (id) ON DELETE CASCADE,
    account_id bigint NOT NULL REFERENCES planning.accounts (id) ON DELETE CASCADE,
    PRIMARY KEY (goal_id, account_id)
);
CREATE TABLE planning.scenarios (
    id           integer PRIMARY KEY,
    household_id integer NOT NULL REFERENCES planning.households (id) ON DELETE CASCADE,
    name         text NOT NULL,
    inflation    numeric(6, 4) NOT NULL,
    assumptions  jsonb,
    created_at   timestamptz NOT NULL
);
CREATE TABLE planning.projections (
    scenario_id integer NOT NULL REFERENCES planning.scenarios (id) ON DELETE CASCADE,
    year        smallint NOT NULL,
    net_worth   numeric(16, 2) NOT NULL,
    computed_at timestamptz,
    PRIMARY KEY (scenario_id, year)
);
CREATE TABLE planning.attachments (
    id             integer PRIMARY KEY,
    transaction_id bigint REFERENCES planning.transactions (id) ON DELETE CASCADE,
    name           varchar(60) NOT NULL,
    content        bytea NOT NULL,
    note           text
);
CREATE TABLE planning.settings (
    name       text PRIMARY KEY,
    value      text,
    changed_at timestamptz
);
