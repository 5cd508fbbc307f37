// What the writer knows, between one batch and the next: everything that the commands of a batch
// name, as it stands after all batches before it, committed or still under way.
//
// The database is written by one process at a time, so what was read once stays true until a batch
// changes it here. A value that is in doubt (a commit that failed, another leader) is thrown away
// with all the others.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"
#include "libs/pg/transaction.h"
#include "services/ledger/authority.h"
#include "services/ledger/hold_store.h"
#include "services/ledger/log_store.h"
#include "services/ledger/model.h"
#include "services/ledger/tree.h"

namespace rochdale::ledger {

// An id that was used.
struct IdRecord {
  KnownId known;
  crypto::Digest leaf_hash;                     // where it is in the log
  std::shared_ptr<PostedTransfer> posted;       // where it is a transfer's
};

struct Books {
  TreeEnd end;
  int64_t last_us = 0;  // of the last batch: time never goes back along the log
  std::optional<int64_t> next_expiry_us;  // of an open hold; never later than the true one

  IdMap<AccountId, Account> accounts;
  IdMap<TransferId, Hold> holds;
  IdMap<TransferId, int64_t> corrections;  // of transfers that were looked up: 0 for none
  std::map<SpentKey, int64_t> spent;
  std::set<std::pair<Uuid, int32_t>> spent_known;  // whose absence above means 0
  Authority authority;
  bool authority_known = false;
  std::set<PrincipalId> principals_known;
  std::set<AgentId> agents_known;
  // Ids of this batch, and of the one before it, which may not be committed yet.
  IdMap<Uuid, IdRecord> ids, earlier_ids;
  // Holds that this batch must end first, in order.
  std::vector<TransferId> due;

  // Null where there is none.
  const IdRecord* FindId(const Uuid& id) const;
  Account* FindAccount(const AccountId& id);
  Hold* FindHold(const TransferId& id);
  EventId RegistrationOf(const Caller& caller) const;
  int64_t Spent(const Uuid& key, const std::string& asset, int32_t day) const;
  // True where so much is kept that it should be thrown away before the next batch.
  bool Full() const;
};

// What the commands of a batch name.
struct Names {
  std::vector<AccountId> accounts;
  std::vector<Uuid> ids;  // of transfers and events
  std::vector<TransferId> holds;
  std::vector<TransferId> corrected;
  std::vector<PrincipalId> principals;
  std::vector<AgentId> agents;
};

// Reads what the books lack of `names`, and the holds that are due at `now_us`.
absl::Status Load(pg::Transaction& tx, const Names& names, int64_t now_us, Books& books);

}  // namespace rochdale::ledger
