-- The test of the cooperative's values on what a round would apply (aggregate_values.h).
CREATE TABLE round_bounds (
  round_id     uuid   NOT NULL REFERENCES rounds,
  probe_id     uuid   NOT NULL,
  data_sha256  bytea  NOT NULL,
  eps_nanonats bigint NOT NULL CHECK (eps_nanonats >= 0),
  PRIMARY KEY (round_id, probe_id)
);
-- Null before the test has ended. What went to APPLY before there was one is not tested.
ALTER TABLE rounds ADD COLUMN refused_mask bigint;
UPDATE rounds SET refused_mask = 0 WHERE applied_mask IS NOT NULL;
