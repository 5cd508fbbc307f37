// The ledger's accounts, rebuilt from the leaves of its log alone: every balance, hold and
// correction, and whether each was allowed where it stands, by the rules of docs/evidence.md,
// section 7. It shares no code with the ledger, which is held against it. Pure; entries that the
// ledger would never have written are refused.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "libs/base/ids.h"
#include "libs/crypto/entry.h"
#include "libs/replay/account.h"
#include "libs/replay/authority.h"

namespace rochdale::replay {

inline constexpr int64_t kHoldMaxUs = int64_t{31'536'000} * 1'000'000;

enum class State : uint8_t { kDone = 0, kOpen = 1, kPosted = 2, kVoided = 3, kExpired = 4 };

// A transfer as far as later ones may rest on it. Accounts by their places in Books::accounts().
struct Transfer {
  uint32_t debit = 0;
  uint32_t credit = 0;
  int64_t amount = 0;     // that moved or was set aside, micro-units
  int64_t corrected = 0;  // by corrections of it
  State state = State::kDone;  // of a hold: HoldState
  uint8_t phase = 0;
  uint8_t kind = 0;
  bool correction = false;  // of another
};

struct Hold {
  int64_t opened_us = 0;
  int64_t expires_us = 0;
  int64_t posted = 0;  // of it, micro-units
  Uuid owner;          // whose outflow it is; zero: nobody's
  Uuid mandate;        // whose budget it counts against; zero: none
};

// What a principal or a mandate spent of an asset on a UTC day (kAllDays: in all), holds included.
struct SpentKey {
  Uuid key;
  std::string asset;
  int32_t day = 0;  // since 1970-01-01

  auto operator<=>(const SpentKey&) const = default;
};
inline constexpr int32_t kAllDays = -1;
int32_t DayOf(int64_t time_us);

class Books {
 public:
  // The next entry of the log; what is neither the ledger's nor bears on authority passes.
  // DATA_LOSS with what is wrong, after the name of the rule where it has one ("kyc-limit: ..."),
  // where the ledger cannot have written it; it then changes nothing.
  absl::Status Apply(const crypto::Entry& entry);
  // What must hold when the log ends here: no chain is open, balances sum up to 0 for each asset,
  // and what accounts hold is what their open holds set aside.
  absl::Status Close() const;

  int64_t entries() const { return entries_; }
  int64_t open_holds() const { return open_holds_; }
  int64_t transfers() const { return static_cast<int64_t>(transfers_.size()); }
  // In the order in which they were opened.
  const std::vector<Account>& accounts() const { return accounts_; }
  // Null where there is none.
  const Account* FindAccount(const Uuid& id) const;
  const Transfer* FindTransfer(const Uuid& id) const;
  const absl::flat_hash_map<Uuid, Transfer>& all_transfers() const { return transfers_; }
  const absl::flat_hash_map<Uuid, Hold>& holds() const { return holds_; }  // of every state
  const std::map<SpentKey, int64_t>& spent() const { return spent_; }
  const Authority& authority() const { return authority_; }
  // Accounts whose totals the last entry changed or might have: its debit and credit account.
  const std::vector<uint32_t>& touched() const { return touched_; }
  // Sums of balances by asset, as decimal text; "0" always.
  std::map<std::string, std::string> Sums() const;

 private:
  absl::Status Open(const crypto::Entry& entry);
  absl::Status Change(const crypto::Entry& entry);
  absl::Status Expire(const crypto::Entry& entry);
  absl::Status Move(const crypto::Entry& entry);
  absl::Status MoveAtOnce(const crypto::Entry& entry, Transfer transfer);
  absl::Status EndHold(const crypto::Entry& entry, Transfer transfer);
  absl::Status CheckCorrection(const crypto::Entry& entry, const Transfer& transfer,
                               Transfer*& corrected);
  void Free(const Uuid& id, State state, int64_t posted);
  void Spend(const Uuid& key, const std::string& asset, int64_t time_us, int64_t amount,
             bool in_all);
  absl::Status CheckOrder(const crypto::Entry& entry, const Transfer& transfer) const;
  Uuid SpenderOf(const crypto::Entry& entry, const Transfer& transfer) const;
  void Touch(const Transfer& transfer);

  int64_t entries_ = 0;
  int64_t own_time_us_ = 0;             // of the ledger's last entry
  std::optional<int64_t> chain_us_;     // time of a chain whose next transfer must follow
  int64_t open_holds_ = 0;
  std::vector<Account> accounts_;
  absl::flat_hash_map<Uuid, uint32_t> places_;
  absl::flat_hash_map<Uuid, Transfer> transfers_;
  absl::flat_hash_map<Uuid, Hold> holds_;
  std::map<SpentKey, int64_t> spent_;
  Authority authority_;
  std::vector<uint32_t> touched_;
};

}  // namespace rochdale::replay
