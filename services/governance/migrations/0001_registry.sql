-- The registry: who there is, what they signed, and by which rules.

CREATE TABLE documents (
  document_sha256 bytea NOT NULL,
  public_key      bytea NOT NULL,
  type            text  NOT NULL,
  body            bytea NOT NULL,
  signature       bytea NOT NULL,
  PRIMARY KEY (document_sha256, public_key)
);
SELECT public.rochdale_append_only('documents');

CREATE TABLE cooperatives (
  cooperative_id     uuid   PRIMARY KEY,
  slug               text   NOT NULL UNIQUE,
  name               text   NOT NULL,
  genesis_sha256     bytea  NOT NULL,
  founder_threshold  int    NOT NULL,
  rules_version      bigint NOT NULL,
  parameters_version bigint NOT NULL,
  founded_us         bigint NOT NULL,
  event_id           uuid   NOT NULL,
  is_network_founder bool   NOT NULL,
  funded             bool   NOT NULL
);
-- One genesis per ledger creates the supply.
CREATE UNIQUE INDEX one_network ON cooperatives (is_network_founder) WHERE is_network_founder;

CREATE TABLE founders (
  cooperative_id uuid  NOT NULL REFERENCES cooperatives,
  public_key     bytea NOT NULL,
  position       int   NOT NULL,
  PRIMARY KEY (cooperative_id, public_key)
);
CREATE INDEX founders_by_key ON founders (public_key);

CREATE TABLE pool_accounts (
  cooperative_id uuid   NOT NULL REFERENCES cooperatives,
  name           text   NOT NULL,
  account_id     uuid   NOT NULL UNIQUE,
  owner_id       uuid   NOT NULL,
  owned_by_principal bool NOT NULL,
  amount         bigint NOT NULL CHECK (amount >= 0),
  PRIMARY KEY (cooperative_id, name)
);

CREATE TABLE principals (
  principal_id  uuid   PRIMARY KEY,
  kind          int    NOT NULL,
  display_name  text   NOT NULL,
  public_key    bytea  NOT NULL UNIQUE,
  kyc_level     int    NOT NULL,
  registered_us bigint NOT NULL,
  event_id      uuid   NOT NULL
);

CREATE TABLE agents (
  agent_id      uuid   PRIMARY KEY,
  principal_id  uuid   NOT NULL REFERENCES principals,
  public_key    bytea  NOT NULL UNIQUE,
  display_name  text   NOT NULL,
  paused        bool   NOT NULL,
  registered_us bigint NOT NULL,
  event_id      uuid   NOT NULL
);

-- Every key in use, of principals and agents alike: a key belongs to one identity.
CREATE TABLE keys (
  public_key   bytea PRIMARY KEY,
  principal_id uuid  NOT NULL,
  agent_id     uuid
);

CREATE TABLE members (
  cooperative_id uuid   NOT NULL REFERENCES cooperatives,
  principal_id   uuid   NOT NULL REFERENCES principals,
  state          int    NOT NULL,
  rules_version  bigint NOT NULL,
  changed_us     bigint NOT NULL,
  event_id       uuid   NOT NULL,
  PRIMARY KEY (cooperative_id, principal_id)
);

CREATE TABLE mandates (
  mandate_id      uuid   PRIMARY KEY,
  cooperative_id  uuid   NOT NULL REFERENCES cooperatives,
  principal_id    uuid   NOT NULL REFERENCES principals,
  agent_id        uuid   NOT NULL REFERENCES agents,
  document_sha256 bytea  NOT NULL,
  actions         int[]  NOT NULL,
  not_before_us   bigint NOT NULL,
  expires_us      bigint NOT NULL,
  revoked_us      bigint NOT NULL,
  event_id        uuid   NOT NULL
);
CREATE UNIQUE INDEX one_mandate_per_agent ON mandates (cooperative_id, agent_id) WHERE revoked_us = 0;
CREATE INDEX mandates_by_cooperative ON mandates (cooperative_id, mandate_id);

CREATE TABLE parameters (
  cooperative_id  uuid   NOT NULL REFERENCES cooperatives,
  name            text   NOT NULL,
  value           text   NOT NULL,
  changed_version bigint NOT NULL,
  PRIMARY KEY (cooperative_id, name)
);

CREATE TABLE parameter_changes (
  cooperative_id  uuid   NOT NULL REFERENCES cooperatives,
  version         bigint NOT NULL,
  name            text   NOT NULL,
  value           text   NOT NULL,
  changed_us      bigint NOT NULL,
  document_sha256 bytea  NOT NULL,
  event_id        uuid   NOT NULL,
  PRIMARY KEY (cooperative_id, version, name)
);
SELECT public.rochdale_append_only('parameter_changes');

CREATE TABLE exceptions (
  exception_id    uuid   PRIMARY KEY,
  cooperative_id  uuid   NOT NULL REFERENCES cooperatives,
  kind            int    NOT NULL,
  subject_id      uuid   NOT NULL,
  description     text   NOT NULL,
  evidence_sha256 bytea  NOT NULL,
  raised_us       bigint NOT NULL,
  event_id        uuid   NOT NULL
);
CREATE INDEX exceptions_newest ON exceptions (cooperative_id, raised_us DESC, exception_id DESC);
