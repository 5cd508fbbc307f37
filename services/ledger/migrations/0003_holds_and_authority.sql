-- Holds, corrections, what was spent, and what the ledger knows of authority.

CREATE TABLE holds (
  id         uuid     PRIMARY KEY,  -- of the PENDING transfer
  debit      uuid     NOT NULL,
  credit     uuid     NOT NULL,
  amount     bigint   NOT NULL CHECK (amount > 0),
  kind       smallint NOT NULL,                               -- ledger.v1.TransferKind
  opened_us  bigint   NOT NULL,
  expires_us bigint   NOT NULL,
  state      smallint NOT NULL CHECK (state BETWEEN 1 AND 4),  -- ledger.v1.HoldState
  posted     bigint   NOT NULL CHECK (posted BETWEEN 0 AND amount),
  owner      uuid     NOT NULL,  -- whose limit of the day it counts against; zero: nobody's
  mandate    uuid     NOT NULL   -- whose budget it counts against; zero: none
);
CREATE INDEX holds_open_expiry ON holds (expires_us, id) WHERE state = 1;
CREATE INDEX holds_open_debit ON holds (debit, id) WHERE state = 1;

-- How much of a transfer was corrected.
CREATE TABLE corrections (
  transfer  uuid   PRIMARY KEY,
  corrected bigint NOT NULL CHECK (corrected > 0)
);

-- Outflows, holds included: of a principal on a UTC day, of a mandate on a day and in all.
CREATE TABLE spent (
  key    uuid    NOT NULL,  -- principal or mandate
  asset  text    NOT NULL,
  day    integer NOT NULL,  -- days since 1970-01-01 UTC; -1: in all
  amount bigint  NOT NULL CHECK (amount >= 0),
  PRIMARY KEY (key, asset, day)
);

-- The rest is a projection of governance's entries (services/ledger/authority.h): a function of
-- the log, each row with the entry that it rests on.
CREATE TABLE authority_state (
  id                smallint PRIMARY KEY CHECK (id = 1),
  network           uuid     NOT NULL,  -- the first cooperative of the log; zero: none yet
  complete_until_us bigint   NOT NULL   -- everything that governance committed until then is here
);
INSERT INTO authority_state VALUES (1, '00000000-0000-0000-0000-000000000000', 0);

CREATE TABLE authority_principals (
  principal       uuid     PRIMARY KEY,
  registered_by   uuid     NOT NULL,  -- event id of its PRINCIPAL_REGISTERED
  kyc_level       smallint NOT NULL CHECK (kyc_level BETWEEN 0 AND 3),
  kyc_expires_us  bigint   NOT NULL,
  kyc_event       uuid     NOT NULL   -- zero: never attested
);

CREATE TABLE authority_paused_agents (
  agent     uuid   PRIMARY KEY,
  log_index bigint NOT NULL
);

CREATE TABLE authority_mandates (
  mandate        uuid     PRIMARY KEY,
  event_id       uuid     NOT NULL,
  cooperative    uuid     NOT NULL,
  principal      uuid     NOT NULL,
  agent          uuid     NOT NULL,
  actions        bigint   NOT NULL,
  not_before_us  bigint   NOT NULL,
  expires_us     bigint   NOT NULL,
  budget_day     bigint   NOT NULL,
  budget_total   bigint   NOT NULL,
  counterparties bytea    NOT NULL,  -- 16 bytes each; empty: anybody
  revoked        boolean  NOT NULL
);
CREATE INDEX authority_mandates_agent ON authority_mandates (agent, mandate) WHERE NOT revoked;

CREATE TABLE authority_left (
  cooperative uuid   NOT NULL,
  principal   uuid   NOT NULL,
  log_index   bigint NOT NULL,
  PRIMARY KEY (cooperative, principal)
);

CREATE TABLE authority_parameters (
  name      text   PRIMARY KEY,
  value     text   NOT NULL,
  log_index bigint NOT NULL
);
