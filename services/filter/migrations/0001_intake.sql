-- Profiles, probes, rounds as the filter sees them, updates and decisions.

CREATE TABLE documents (
  document_sha256 bytea PRIMARY KEY,
  type            text  NOT NULL,
  body            bytea NOT NULL,
  public_key      bytea NOT NULL,
  signature       bytea NOT NULL
);
SELECT public.rochdale_append_only('documents');

CREATE TABLE profiles (
  cooperative_id  uuid   NOT NULL,
  principal_id    uuid   NOT NULL,
  version         bigint NOT NULL,
  document_sha256 bytea  NOT NULL REFERENCES documents,
  salt            bytea  NOT NULL,
  set_us          bigint NOT NULL,
  event_id        uuid   NOT NULL,
  PRIMARY KEY (cooperative_id, principal_id, version)
);
SELECT public.rochdale_append_only('profiles');

-- principal_id is NULL for the cooperative's own probes.
CREATE TABLE probes (
  probe_id       uuid   PRIMARY KEY,
  cooperative_id uuid   NOT NULL,
  principal_id   uuid,
  name           text   NOT NULL,
  data_sha256    bytea  NOT NULL,
  row_count      bigint NOT NULL,
  protected      bool   NOT NULL,
  salt           bytea  NOT NULL,
  event_id       uuid   NOT NULL
);
CREATE INDEX probes_of ON probes (cooperative_id, probe_id);
CREATE INDEX probes_by_data ON probes (data_sha256);

-- Who has uploaded which bytes for what.
CREATE TABLE uploads (
  owner      text   NOT NULL,
  purpose    int    NOT NULL,
  sha256     bytea  NOT NULL,
  size_bytes bigint NOT NULL,
  done_us    bigint NOT NULL,
  PRIMARY KEY (owner, purpose, sha256)
);

-- intake: 1 committing, 2 revealing, 3 closed, 4 abandoned.
CREATE TABLE rounds (
  round_id       uuid   PRIMARY KEY,
  cooperative_id uuid   NOT NULL,
  number         bigint NOT NULL,
  scenario       text   NOT NULL,
  base_sha256    bytea  NOT NULL,
  manifest       text   NOT NULL,
  intake         int    NOT NULL,
  deadline_us    bigint NOT NULL,
  opened_event   uuid   NOT NULL,
  commitments    bigint NOT NULL,
  lineages       bigint,
  decided        bool   NOT NULL,
  UNIQUE (cooperative_id, number)
);

CREATE TABLE gradients (
  round_id uuid  NOT NULL REFERENCES rounds,
  probe_id uuid  NOT NULL,
  sha256   bytea NOT NULL,
  PRIMARY KEY (round_id, probe_id)
);

-- facts: what screening measured (JSON); decisions start from it and are never measured again.
CREATE TABLE updates (
  update_id         uuid   PRIMARY KEY,
  round_id          uuid   NOT NULL REFERENCES rounds,
  cooperative_id    uuid   NOT NULL,
  agent_id          uuid   NOT NULL,
  principal_id      uuid   NOT NULL,
  state             int    NOT NULL,
  update_sha256     bytea  NOT NULL,
  size_bytes        bigint NOT NULL,
  sample_count      bigint NOT NULL,
  effective_sha256  bytea,
  reason            text   NOT NULL,
  committed_us      bigint NOT NULL,
  commitment_number bigint NOT NULL,
  commitment_event  uuid   NOT NULL,
  decision_event    uuid,
  mandate_id        uuid   NOT NULL,
  consents          bool   NOT NULL,
  profile_version   bigint NOT NULL,
  lineage_id        uuid,
  lineage_principal uuid,
  facts             text,
  UNIQUE (round_id, principal_id),
  UNIQUE (round_id, commitment_number)
);
CREATE INDEX updates_by_effective ON updates (effective_sha256);

CREATE TABLE decisions (
  update_id  uuid   PRIMARY KEY REFERENCES updates,
  verdict    int    NOT NULL,
  fit_micro  bigint NOT NULL,
  findings   text   NOT NULL,
  body       bytea  NOT NULL,
  salt       bytea  NOT NULL,
  decided_us bigint NOT NULL,
  event_id   uuid   NOT NULL
);
SELECT public.rochdale_append_only('decisions');
