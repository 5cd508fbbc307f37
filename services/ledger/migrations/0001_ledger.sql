-- Accounts and the log. The single writer (services/ledger/writer.h) is the only one that changes
-- anything here. The log comes first: a transfer stands in its leaf, and in the other tables there
-- is only what finds it (event_ids, account_history) and what it led to (running totals).

CREATE TABLE accounts (
  id           uuid     PRIMARY KEY,
  owner        uuid     NOT NULL,
  type         smallint NOT NULL CHECK (type BETWEEN 1 AND 4),    -- ledger.v1.AccountType
  asset        text     NOT NULL CHECK (asset ~ '^[a-z0-9-]{1,16}$'),
  floor        bigint,                                            -- NULL: unlimited
  label        text     NOT NULL CHECK (label ~ '^[a-z0-9._-]{0,64}$'),
  status       smallint NOT NULL CHECK (status BETWEEN 1 AND 4),  -- ledger.v1.AccountStatus
  version      bigint   NOT NULL CHECK (version > 0),             -- of status and floor
  opened_us    bigint   NOT NULL,
  opened_index bigint   NOT NULL                                  -- its ACCOUNT_OPENED entry
);
CREATE INDEX accounts_owner ON accounts (owner, id);

-- One row for each account that a batch of the writer touched, with its running totals after it;
-- the newest row is how the account stands. A hot account costs one row a batch, not one a
-- transfer.
CREATE TABLE account_history (
  account   uuid   NOT NULL,
  log_index bigint NOT NULL,                       -- the last entry of the batch that touched it
  debits    bigint NOT NULL CHECK (debits >= 0),   -- ever
  credits   bigint NOT NULL CHECK (credits >= 0),  -- ever; balance = credits - debits
  held      bigint NOT NULL CHECK (held >= 0),     -- open holds on the debit side
  transfers bigint NOT NULL,                       -- ever, that moved value
  indexes   bytea  NOT NULL,  -- the entries of the batch that touched it, u64 each, ascending
  PRIMARY KEY (account, log_index)
);
ALTER TABLE account_history ALTER indexes SET STORAGE EXTERNAL;
SELECT public.rochdale_append_only('account_history');

-- Every event id of the log, and those that transfers would have had that failed for a passing
-- reason: these can never succeed later. A transfer's event id follows from its id.
CREATE TABLE event_ids (
  id        uuid     PRIMARY KEY,
  log_index bigint   NOT NULL CHECK (log_index >= -1),  -- -1: not in the log
  result    smallint NOT NULL    -- ledger.v1.TransferResult; 0: an entry that is no transfer
);
SELECT public.rochdale_append_only('event_ids');

-- What entries are about, but for those of transfers, which are found by their ids.
CREATE TABLE entry_subjects (
  subject   uuid    NOT NULL,
  log_index bigint  NOT NULL,
  kind      integer NOT NULL,  -- libs/crypto/entry_kinds.h
  PRIMARY KEY (subject, log_index)
);
SELECT public.rochdale_append_only('entry_subjects');

-- The leaves of the log, some of one batch in a row: length u16 and canonical bytes of each.
CREATE TABLE leaf_chunks (
  first_index bigint  PRIMARY KEY CHECK (first_index >= 0),
  count       integer NOT NULL CHECK (count BETWEEN 1 AND 256),
  posted_us   bigint  NOT NULL,  -- of the batch; never decreases along the log
  leaves      bytea   NOT NULL
);
ALTER TABLE leaf_chunks ALTER leaves SET STORAGE EXTERNAL;
CREATE INDEX leaf_chunks_posted ON leaf_chunks (posted_us, first_index);
SELECT public.rochdale_append_only('leaf_chunks');

-- Full tiles of C2SP tlog-tiles: 256 hashes of complete subtrees of 256^level leaves each.
CREATE TABLE tiles (
  level  smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
  index  bigint   NOT NULL CHECK (index >= 0),
  hashes bytea    NOT NULL CHECK (octet_length(hashes) = 8192),
  root   bytea    NOT NULL CHECK (octet_length(root) = 32),  -- of the whole tile: one hash of the
  PRIMARY KEY (level, index)                                 -- level above
);
ALTER TABLE tiles ALTER hashes SET STORAGE EXTERNAL;  -- so that a part is read alone
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
