-- The tables that every service's schema has. Applied with search_path set to that schema.

-- One row per mutation that a client named (libs/pg/requests.h).
CREATE TABLE requests (
  request_id  uuid PRIMARY KEY,
  method      text NOT NULL CHECK (length(method) BETWEEN 1 AND 200),
  body_sha256 bytea NOT NULL CHECK (octet_length(body_sha256) = 32),
  response    bytea,            -- NULL only inside the transaction that makes the change
  created_us  bigint NOT NULL   -- unix microseconds
);
CREATE INDEX requests_created ON requests (created_us);

-- Log entries on their way to the ledger (libs/pg/outbox.h).
CREATE TABLE outbox (
  sequence  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the order of the commits
  event_id  uuid NOT NULL UNIQUE,
  time_us   bigint NOT NULL,    -- the entry's own time, unix microseconds
  leaf      bytea NOT NULL CHECK (octet_length(leaf) BETWEEN 1 AND 65535),
  log_index bigint CHECK (log_index >= 0),  -- where the log put it
  sent_us   bigint,             -- when the log acknowledged it, unix microseconds
  CHECK ((log_index IS NULL) = (sent_us IS NULL))
);
CREATE INDEX outbox_unsent ON outbox (sequence) WHERE sent_us IS NULL;

-- Who leads (libs/pg/leader.h).
CREATE TABLE leases (
  name        text PRIMARY KEY,
  epoch       bigint NOT NULL CHECK (epoch >= 1),
  address     text NOT NULL,    -- host:port of the leader; empty after it left
  acquired_us bigint NOT NULL   -- unix microseconds
);

-- An entry, once written, is what the log will say: the service may only note that it was sent.
DO $$
DECLARE
  service_role text := format('rochdale_%s', current_schema());
BEGIN
  EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON outbox FROM %I', service_role);
  EXECUTE format('GRANT UPDATE (log_index, sent_us) ON outbox TO %I', service_role);
END $$;
