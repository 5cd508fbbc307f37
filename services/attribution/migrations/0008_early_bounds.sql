-- How many rows a probe has, and where measuring it may stop early: the bound (nano-nats) that its
-- verdict hangs on. NULL: all rows are measured, as in rounds that were screened before.
ALTER TABLE round_probes
  ADD COLUMN row_count bigint NOT NULL DEFAULT 0 CHECK (row_count >= 0),
  ADD COLUMN early_bound bigint;
