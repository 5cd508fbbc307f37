-- Revenue pools, epochs and statements.

CREATE TABLE documents (
  document_sha256 bytea PRIMARY KEY,
  type            text  NOT NULL,
  body            bytea NOT NULL,
  public_key      bytea NOT NULL,
  signature       bytea NOT NULL
);
SELECT public.rochdale_append_only('documents');

CREATE TABLE pools (
  pool_id        uuid   PRIMARY KEY,
  cooperative_id uuid   NOT NULL UNIQUE,
  account_id     uuid   NOT NULL UNIQUE,
  created_us     bigint NOT NULL,
  event_id       uuid   NOT NULL
);

CREATE TABLE epochs (
  epoch_id          uuid   PRIMARY KEY,
  pool_id           uuid   NOT NULL REFERENCES pools,
  number            bigint NOT NULL,
  state             int    NOT NULL,
  first_round       bigint NOT NULL,
  last_round        bigint NOT NULL,
  revenue           bigint NOT NULL CHECK (revenue >= 0),
  credit_sum        bigint NOT NULL CHECK (credit_sum >= 0),
  recipients        bigint NOT NULL,
  closed_us         bigint NOT NULL,
  settled_us        bigint NOT NULL,
  closed_event      uuid   NOT NULL,
  settled_event     uuid,
  distribution_root bytea  NOT NULL,
  round_ids         uuid[] NOT NULL,
  UNIQUE (pool_id, number)
);
CREATE INDEX epochs_settling ON epochs (epoch_id) WHERE state = 1;

-- position: order by recipient id, the index of the recipient's leaf under the distribution root.
CREATE TABLE statements (
  epoch_id     uuid   NOT NULL REFERENCES epochs,
  principal_id uuid   NOT NULL,
  position     bigint NOT NULL,
  credit       bigint NOT NULL CHECK (credit >= 0),
  payment      bigint NOT NULL CHECK (payment >= 0),
  cumulative   bigint NOT NULL CHECK (cumulative >= payment),
  account_id   uuid   NOT NULL,
  attempt      int    NOT NULL,
  paid         bool   NOT NULL,
  event_id     uuid   NOT NULL,
  PRIMARY KEY (epoch_id, principal_id),
  UNIQUE (epoch_id, position)
);
CREATE INDEX statements_unpaid ON statements (epoch_id, position) WHERE NOT paid;
CREATE INDEX statements_of ON statements (principal_id, epoch_id);

CREATE TABLE statement_lines (
  epoch_id       uuid   NOT NULL,
  principal_id   uuid   NOT NULL,
  round_number   bigint NOT NULL,
  update_id      uuid   NOT NULL,
  outcome        text   NOT NULL,
  reason         text   NOT NULL,
  credit         bigint NOT NULL,
  estimate       bigint NOT NULL,
  standard_error bigint NOT NULL,
  credit_event   uuid,
  decision_event uuid,
  PRIMARY KEY (epoch_id, principal_id, update_id),
  FOREIGN KEY (epoch_id, principal_id) REFERENCES statements
);
