-- The weight of an update's lineage where the aggregation rule has weights: units of 2^-30.
ALTER TABLE round_updates
  ADD COLUMN share bigint NOT NULL DEFAULT 0 CHECK (share BETWEEN 0 AND 1073741824);
