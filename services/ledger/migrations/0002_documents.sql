-- The signed orders that TRANSFER_POSTED entries name by their digests, as signed.
CREATE TABLE documents (
  document_sha256 bytea PRIMARY KEY CHECK (octet_length(document_sha256) = 32),
  type            text  NOT NULL,
  body            bytea NOT NULL CHECK (octet_length(body) <= 262144),
  public_key      bytea NOT NULL CHECK (octet_length(public_key) = 32),
  signature       bytea NOT NULL CHECK (octet_length(signature) = 64)
);
SELECT public.rochdale_append_only('documents');
