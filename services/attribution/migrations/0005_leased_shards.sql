-- A repeated claim is found among the leases alone, however many shards are open.
CREATE INDEX shards_leased ON shards (run_id, claim_request) WHERE state = 1;
