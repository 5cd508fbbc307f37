-- Models, checkpoints, validation pools, rounds, evaluation runs, credits.

-- What founders signed, byte for byte.
CREATE TABLE documents (
  document_sha256 bytea PRIMARY KEY CHECK (octet_length(document_sha256) = 32),
  type            text  NOT NULL,
  body            bytea NOT NULL,
  public_key      bytea NOT NULL,
  signature       bytea NOT NULL
);
SELECT public.rochdale_append_only('documents');

-- One model per cooperative; best_sha256 is the high-water mark of the credit rule.
CREATE TABLE models (
  cooperative_id  uuid   PRIMARY KEY,
  model_id        uuid   NOT NULL UNIQUE,
  spec            text   NOT NULL,            -- canonical JSON
  init_seed       bigint NOT NULL,
  document_sha256 bytea  NOT NULL REFERENCES documents,
  event_id        uuid   NOT NULL,
  best_sha256     bytea  NOT NULL,
  created_us      bigint NOT NULL
);

CREATE TABLE checkpoints (
  cooperative_id uuid   NOT NULL REFERENCES models,
  version        bigint NOT NULL CHECK (version >= 0),
  sha256         bytea  NOT NULL CHECK (octet_length(sha256) = 32),
  parent_sha256  bytea,                       -- NULL for version 0
  round_id       uuid,                        -- NULL for version 0
  event_id       uuid   NOT NULL,
  made_us        bigint NOT NULL,
  PRIMARY KEY (cooperative_id, version)
);
SELECT public.rochdale_append_only('checkpoints');
CREATE INDEX checkpoints_sha256 ON checkpoints (sha256);

CREATE TABLE validation_pools (
  cooperative_id  uuid   PRIMARY KEY REFERENCES models,
  sha256          bytea  NOT NULL,
  row_count       bigint NOT NULL CHECK (row_count > 0),
  visible_rows    bigint NOT NULL CHECK (visible_rows BETWEEN 0 AND row_count),
  split_seed      bytea  NOT NULL,            -- committed to by the sealing's log entry
  document_sha256 bytea  NOT NULL REFERENCES documents,
  event_id        uuid   NOT NULL,
  sealed_us       bigint NOT NULL
);

CREATE TABLE plans (
  plan_id         uuid   PRIMARY KEY,
  cooperative_id  uuid   NOT NULL REFERENCES models,
  first_number    bigint NOT NULL,
  last_number     bigint NOT NULL CHECK (last_number >= first_number),
  scenario        text   NOT NULL,
  document_sha256 bytea  NOT NULL UNIQUE REFERENCES documents,
  started_us      bigint NOT NULL
);

-- States: 0 being prepared, then the numbers of the proto's RoundState.
CREATE TABLE rounds (
  round_id        uuid     PRIMARY KEY,
  cooperative_id  uuid     NOT NULL REFERENCES models,
  plan_id         uuid     NOT NULL REFERENCES plans,
  number          bigint   NOT NULL CHECK (number >= 1),
  state           smallint NOT NULL CHECK (state BETWEEN 0 AND 8),
  announced       boolean  NOT NULL,          -- the filter takes commitments for it
  filter_told     boolean  NOT NULL,          -- the filter knows how it ended
  deadline_us     bigint   NOT NULL,
  base_version    bigint   NOT NULL,
  base_sha256     bytea    NOT NULL,
  best_sha256     bytea    NOT NULL,
  seed_sha256     bytea    NOT NULL,
  seed            bytea,                      -- once CLOSED or ABANDONED
  scenario        text     NOT NULL,
  parameters      text     NOT NULL,          -- what governs this round, "name=value" lines
  received        bigint,                     -- once in SCREEN
  lineages        bigint,                     -- once screened
  admitted        bigint,                     -- once decided
  generation      int      NOT NULL,          -- evaluations begun again without an update
  drawn_rows      bigint[],                   -- once in EVALUATE
  rows_sha256     bytea,
  retired_us      bigint,                     -- its rows are never drawn again
  applied_mask    bigint,                     -- once in APPLY
  applied         bigint,                     -- once CLOSED
  next_sha256     bytea,                      -- once its checkpoint is made
  visible_base_nanonats bigint,               -- mean losses on the visible rows
  visible_loss_nanonats bigint,
  evidence        bytea,
  evidence_sha256 bytea,
  reason          text     NOT NULL,
  opened_event    uuid     NOT NULL,
  closed_event    uuid,
  created_us      bigint   NOT NULL,
  opened_us       bigint,
  closed_us       bigint,
  UNIQUE (cooperative_id, number)
);
-- At most one round of a cooperative is under way.
CREATE UNIQUE INDEX rounds_active ON rounds (cooperative_id) WHERE state < 7;
CREATE INDEX rounds_untold ON rounds (round_id) WHERE NOT filter_told;

CREATE TABLE round_gradients (
  round_id uuid  NOT NULL REFERENCES rounds,
  probe_id uuid  NOT NULL,
  sha256   bytea NOT NULL,
  PRIMARY KEY (round_id, probe_id)
);

-- Rounds whose rows had been retired when this one drew its own.
CREATE TABLE round_retired (
  round_id         uuid NOT NULL REFERENCES rounds,
  retired_round_id uuid NOT NULL REFERENCES rounds,
  PRIMARY KEY (round_id, retired_round_id)
);

CREATE TABLE round_updates (
  update_id        uuid    PRIMARY KEY,
  round_id         uuid    NOT NULL REFERENCES rounds,
  position         int     NOT NULL,          -- order of commitment, from 0
  principal_id     uuid    NOT NULL,
  agent_id         uuid    NOT NULL,
  effective_sha256 bytea,                     -- NULL where screening refused it
  denied           boolean NOT NULL,
  admitted         boolean NOT NULL,          -- once decided
  decision_event   uuid,
  publishable      boolean NOT NULL,          -- its mandate consents to publication
  removed_reason   text    NOT NULL,          -- left out of the evaluation; empty otherwise
  UNIQUE (round_id, position)
);

CREATE TABLE round_probes (
  round_id    uuid  NOT NULL REFERENCES rounds,
  update_id   uuid  NOT NULL REFERENCES round_updates,
  probe_id    uuid  NOT NULL,
  data_sha256 bytea NOT NULL,
  PRIMARY KEY (round_id, update_id, probe_id)
);

-- Evaluation runs. States: 1 running, 2 done, 3 failed, 4 cancelled.
CREATE TABLE runs (
  run_id         uuid     PRIMARY KEY,
  round_id       uuid     NOT NULL REFERENCES rounds,
  purpose        smallint NOT NULL,
  state          smallint NOT NULL CHECK (state BETWEEN 1 AND 4),
  spec           bytea    NOT NULL,           -- canonical JSON, as workers get it
  spec_sha256    bytea    NOT NULL,
  lease_ms       bigint   NOT NULL,
  attempts_max   int      NOT NULL,
  reason         text     NOT NULL,
  failed_update  uuid,                        -- EVALUATION_RANGE: what has to go; NULL: nothing can
  created_us     bigint   NOT NULL,
  ended_us       bigint
);
CREATE INDEX runs_round ON runs (round_id);
CREATE INDEX runs_running ON runs (run_id) WHERE state = 1;

-- Blobs that a run's workers may read.
CREATE TABLE run_blobs (
  run_id uuid  NOT NULL REFERENCES runs,
  sha256 bytea NOT NULL,
  PRIMARY KEY (run_id, sha256)
);

-- States: 0 open, 1 leased, 2 done, 3 out of the exact evaluator's range.
CREATE TABLE shards (
  run_id          uuid     NOT NULL REFERENCES runs,
  number          bigint   NOT NULL,
  part            int      NOT NULL,
  row_begin       bigint   NOT NULL,
  row_end         bigint   NOT NULL,
  candidate_begin bigint   NOT NULL,
  candidate_end   bigint   NOT NULL,
  state           smallint NOT NULL CHECK (state BETWEEN 0 AND 3),
  lease_owner     text     NOT NULL,
  lease_epoch     bigint   NOT NULL,
  lease_until_us  bigint   NOT NULL,
  claim_request   uuid,
  attempts        int      NOT NULL,
  range_candidate bigint,                     -- state 3: the lowest candidate that fails
  range_update    uuid,
  PRIMARY KEY (run_id, number)
);

CREATE TABLE shard_results (
  run_id       uuid   NOT NULL,
  number       bigint NOT NULL,
  losses       bytea  NOT NULL,               -- as delivered: 8-byte little-endian integers
  sha256       bytea  NOT NULL,
  worker       text   NOT NULL,
  completed_us bigint NOT NULL,
  PRIMARY KEY (run_id, number),
  FOREIGN KEY (run_id, number) REFERENCES shards
);

CREATE TABLE credits (
  update_id      uuid    PRIMARY KEY REFERENCES round_updates,
  round_id       uuid    NOT NULL REFERENCES rounds,
  cooperative_id uuid    NOT NULL,
  round_number   bigint  NOT NULL,
  principal_id   uuid    NOT NULL,
  agent_id       uuid    NOT NULL,
  credit         bigint  NOT NULL CHECK (credit >= 0),   -- nano-nats per row
  estimate       bigint  NOT NULL,
  standard_error bigint  NOT NULL,
  solo           bigint  NOT NULL,
  leave_one_out  bigint  NOT NULL,
  applied        boolean NOT NULL,
  event_id       uuid    NOT NULL
);
SELECT public.rochdale_append_only('credits');
CREATE INDEX credits_round ON credits (round_id, update_id);
CREATE INDEX credits_cooperative ON credits (cooperative_id, update_id);

-- Exceptions on their way to governance.
CREATE TABLE exceptions (
  exception_id    uuid     PRIMARY KEY,
  cooperative_id  uuid     NOT NULL,
  kind            smallint NOT NULL,
  subject_id      uuid     NOT NULL,
  description     text     NOT NULL,
  evidence_sha256 bytea,
  raised_us       bigint   NOT NULL,
  sent            boolean  NOT NULL
);
CREATE INDEX exceptions_unsent ON exceptions (exception_id) WHERE NOT sent;

-- Complete uploads: whose, and of what.
CREATE TABLE uploads (
  owner      text     NOT NULL,               -- "principal:<uuid>"
  purpose    smallint NOT NULL,
  sha256     bytea    NOT NULL,
  size_bytes bigint   NOT NULL,
  made_us    bigint   NOT NULL,
  PRIMARY KEY (owner, purpose, sha256)
);
