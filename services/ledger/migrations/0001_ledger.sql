-- Accounts, transfers and the log. The single writer (services/ledger/writer.h) is the only one
-- that changes anything here; entries, transfers, tiles and tree heads never change once written.

CREATE TABLE accounts (
  id           uuid     PRIMARY KEY,
  owner        uuid     NOT NULL,
  type         smallint NOT NULL CHECK (type BETWEEN 1 AND 4),    -- ledger.v1.AccountType
  asset        text     NOT NULL CHECK (asset ~ '^[a-z0-9-]{1,16}$'),
  floor        bigint,                                            -- NULL: unlimited
  label        text     NOT NULL CHECK (label ~ '^[a-z0-9._-]{0,64}$'),
  status       smallint NOT NULL CHECK (status BETWEEN 1 AND 4),  -- ledger.v1.AccountStatus
  balance      bigint   NOT NULL,                                 -- credits less debits
  held         bigint   NOT NULL CHECK (held >= 0),               -- open holds on the debit side
  opened_us    bigint   NOT NULL,
  opened_index bigint   NOT NULL                                  -- its ACCOUNT_OPENED entry
) WITH (fillfactor = 70);  -- balances change in place
CREATE INDEX accounts_owner ON accounts (owner, id);

CREATE TABLE transfers (
  log_index      bigint   PRIMARY KEY,  -- its TRANSFER_POSTED entry
  id             uuid     NOT NULL UNIQUE,
  debit          uuid     NOT NULL,
  credit         uuid     NOT NULL CHECK (credit <> debit),
  amount         bigint   NOT NULL CHECK (amount > 0),
  kind           smallint NOT NULL,     -- ledger.v1.TransferKind
  code           integer  NOT NULL CHECK (code BETWEEN 0 AND 65535),
  reference      text     NOT NULL CHECK (octet_length(reference) <= 64),
  authorised_by  uuid     NOT NULL,     -- event id of an entry; zero for none
  debit_balance  bigint   NOT NULL,     -- after it
  credit_balance bigint   NOT NULL,
  posted_us      bigint   NOT NULL
);
CREATE INDEX transfers_debit ON transfers (debit, log_index);
CREATE INDEX transfers_credit ON transfers (credit, log_index);
SELECT public.rochdale_append_only('transfers');

-- Ids that failed for a passing reason: they can never succeed later.
CREATE TABLE burned_transfers (
  id        uuid     PRIMARY KEY,
  result    smallint NOT NULL,          -- ledger.v1.TransferResult
  burned_us bigint   NOT NULL
);
SELECT public.rochdale_append_only('burned_transfers');

CREATE TABLE entries (
  index     bigint  PRIMARY KEY CHECK (index >= 0),
  event_id  uuid    NOT NULL UNIQUE,
  kind      integer NOT NULL,           -- libs/crypto/entry_kinds.h
  subject   uuid    NOT NULL,
  leaf      bytea   NOT NULL CHECK (octet_length(leaf) BETWEEN 1 AND 65535),
  leaf_hash bytea   NOT NULL CHECK (octet_length(leaf_hash) = 32)
);
CREATE INDEX entries_subject ON entries (subject, index);
SELECT public.rochdale_append_only('entries');

-- Full tiles of C2SP tlog-tiles: 256 hashes of complete subtrees of 256^level leaves each.
CREATE TABLE tiles (
  level  smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
  index  bigint   NOT NULL CHECK (index >= 0),
  hashes bytea    NOT NULL CHECK (octet_length(hashes) = 8192),
  root   bytea    NOT NULL CHECK (octet_length(root) = 32),  -- of the whole tile: one hash of the
  PRIMARY KEY (level, index)                                 -- level above
);
SELECT public.rochdale_append_only('tiles');

-- Where the log stands: one row. `epoch` fences writers out that no longer lead; `batch` counts
-- transactions of the writer, so that one whose COMMIT got no answer can be told from one that
-- failed.
CREATE TABLE tree_state (
  id       smallint PRIMARY KEY CHECK (id = 1),
  epoch    bigint   NOT NULL,
  batch    bigint   NOT NULL,
  size     bigint   NOT NULL,
  frontier bytea    NOT NULL,  -- size u64, then the roots of the perfect subtrees, largest first
  root     bytea    NOT NULL
);
-- SHA-256 of nothing is the root of the empty tree (RFC 6962, 2.1).
INSERT INTO tree_state (id, epoch, batch, size, frontier, root)
VALUES (1, 0, 0, 0, '\x0000000000000000', sha256('\x'::bytea));

CREATE TABLE tree_heads (
  size      bigint PRIMARY KEY CHECK (size > 0),
  root      bytea  NOT NULL CHECK (octet_length(root) = 32),
  note      text   NOT NULL,
  signed_us bigint NOT NULL
);
SELECT public.rochdale_append_only('tree_heads');
