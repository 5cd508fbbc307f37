-- Claims and the question whether a run has ended look at what is unfinished only, so that each
-- costs the same in a run of many thousand shards.
CREATE INDEX shards_unfinished ON shards (run_id, number) WHERE state IN (0, 1);
CREATE INDEX shards_attempts ON shards (run_id, attempts) WHERE state IN (0, 1);
