-- TorchScript modules: what founders said of their digests; the last word about a digest counts.
CREATE TABLE modules (
  number          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  cooperative_id  uuid    NOT NULL,
  sha256          bytea   NOT NULL CHECK (octet_length(sha256) = 32),
  withdraws       boolean NOT NULL,
  document_sha256 bytea   NOT NULL UNIQUE REFERENCES documents,
  event_id        uuid    NOT NULL,
  recorded_us     bigint  NOT NULL
);
SELECT public.rochdale_append_only('modules');
CREATE INDEX modules_sha256 ON modules (sha256, cooperative_id, number);

-- The losses of a round whose model is a module: they are not the same wherever they are evaluated,
-- so that these, not others, are what its credits follow from.
ALTER TABLE rounds ADD COLUMN losses_sha256 bytea;
CREATE INDEX rounds_losses ON rounds (losses_sha256) WHERE losses_sha256 IS NOT NULL;
