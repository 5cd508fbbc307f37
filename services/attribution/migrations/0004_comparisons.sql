-- A/B tests of two checkpoints. States: 1 running, 2 done, 3 failed. Verdicts: those of the proto.
CREATE TABLE comparisons (
  comparison_id   uuid     PRIMARY KEY,
  cooperative_id  uuid     NOT NULL REFERENCES models,
  state           smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
  a_sha256        bytea    NOT NULL,
  b_sha256        bytea    NOT NULL CHECK (b_sha256 <> a_sha256),
  seed_sha256     bytea    NOT NULL,
  document_sha256 bytea    NOT NULL UNIQUE REFERENCES documents,
  parameters      text     NOT NULL,          -- what governs it, "name=value" lines
  verdict         smallint NOT NULL CHECK (verdict BETWEEN 0 AND 4),
  rows            bigint   NOT NULL,          -- that were looked at, once it has ended
  difference      bigint   NOT NULL,          -- mean loss of b less that of a, nano-nats
  standard_error  bigint   NOT NULL,
  evidence_sha256 bytea,
  reason          text     NOT NULL,
  created_us      bigint   NOT NULL,
  ended_us        bigint
);
-- What a test that is done shows: every loss that it looked at.
CREATE TABLE comparison_evidence (
  comparison_id uuid  PRIMARY KEY REFERENCES comparisons,
  body          bytea NOT NULL
);
-- One at a time in a cooperative.
CREATE UNIQUE INDEX comparisons_running ON comparisons (cooperative_id) WHERE state = 1;
CREATE INDEX comparisons_of ON comparisons (cooperative_id, comparison_id);

-- A run belongs to a round or to a test.
ALTER TABLE runs
  ALTER COLUMN round_id DROP NOT NULL,
  ADD COLUMN comparison_id uuid REFERENCES comparisons,
  ADD CONSTRAINT runs_of_one CHECK ((round_id IS NULL) <> (comparison_id IS NULL));
CREATE INDEX runs_comparison ON runs (comparison_id);
