#include "services/ledger/books.h"

#include <algorithm>
#include <iterator>

#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "services/ledger/account_store.h"
#include "services/ledger/transfer_entry.h"

namespace rochdale::ledger {
namespace {

constexpr size_t kAccountsMax = 500'000;
constexpr size_t kOthersMax = 100'000;

// Each once, in order: an index is then walked from left to right.
template <typename Id, typename Known>
std::vector<Id> Missing(const std::vector<Id>& ids, const Known& known) {
  std::vector<Id> missing;
  std::remove_copy_if(ids.begin(), ids.end(), std::back_inserter(missing), known);
  std::sort(missing.begin(), missing.end());
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
  return missing;
}

absl::Status LoadAccounts(pg::Transaction& tx, const std::vector<AccountId>& named, Books& books) {
  const std::vector<AccountId> missing =
      Missing(named, [&](const AccountId& id) { return books.accounts.contains(id); });
  ASSIGN_OR_RETURN(std::vector<Account> found, FindAccounts(tx, missing));
  for (Account& account : found) books.accounts[account.id] = std::move(account);
  return absl::OkStatus();
}

// Ids that were used, with what they were used for.
absl::Status LoadIds(pg::Transaction& tx, const std::vector<Uuid>& named, Books& books) {
  const std::vector<Uuid> missing =
      Missing(named, [&](const Uuid& id) { return books.FindId(id) != nullptr; });
  ASSIGN_OR_RETURN(const auto found, FindIds(tx, missing));
  std::vector<int64_t> indexes;
  for (const auto& [id, known] : found) {
    if (known.log_index >= 0) indexes.push_back(known.log_index);
    books.ids[id].known = known;
  }
  ASSIGN_OR_RETURN(const std::vector<LogEntry> entries, FindEntries(tx, std::move(indexes)));
  for (const LogEntry& entry : entries) {
    IdRecord& record = books.ids[entry.event_id.value];
    record.leaf_hash = entry.leaf_hash;
    if (entry.kind != crypto::kind::kTransferPosted) continue;
    ASSIGN_OR_RETURN(PostedTransfer posted, ParseTransferEntry(entry));
    record.posted = std::make_shared<PostedTransfer>(std::move(posted));
  }
  return absl::OkStatus();
}

absl::Status LoadHolds(pg::Transaction& tx, const std::vector<TransferId>& named, Books& books) {
  const std::vector<TransferId> missing =
      Missing(named, [&](const TransferId& id) { return books.holds.contains(id); });
  ASSIGN_OR_RETURN(const std::vector<Hold> found, FindHolds(tx, missing));
  for (const Hold& hold : found) books.holds[hold.id] = hold;
  return absl::OkStatus();
}

absl::Status LoadDue(pg::Transaction& tx, int64_t now_us, Books& books) {
  books.due.clear();
  if (!books.next_expiry_us.has_value() || *books.next_expiry_us > now_us) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<Hold> due, FindDueHolds(tx, now_us, kItemsMax));
  for (const Hold& hold : due) {
    books.holds[hold.id] = hold;
    books.due.push_back(hold.id);
  }
  if (due.size() == kItemsMax) return absl::OkStatus();  // the rest with the next batch
  ASSIGN_OR_RETURN(books.next_expiry_us, FindNextExpiryAfter(tx, now_us));
  return absl::OkStatus();
}

absl::Status LoadCorrections(pg::Transaction& tx, const std::vector<TransferId>& named,
                             Books& books) {
  const std::vector<TransferId> missing =
      Missing(named, [&](const TransferId& id) { return books.corrections.contains(id); });
  ASSIGN_OR_RETURN(const auto found, FindCorrections(tx, missing));
  for (const TransferId& id : missing) books.corrections[id] = 0;
  for (const auto& [id, amount] : found) books.corrections[id] = amount;
  return absl::OkStatus();
}

absl::Status LoadAuthority(pg::Transaction& tx, const Names& names, Books& books) {
  const auto principals = Missing(names.principals, [&](const PrincipalId& id) {
    return books.principals_known.contains(id);
  });
  const auto agents = Missing(names.agents, [&](const AgentId& id) {
    return books.agents_known.contains(id);
  });
  if (books.authority_known && principals.empty() && agents.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(Authority found, FindAuthority(tx, principals, agents));
  found.principals.merge(books.authority.principals);
  found.paused.merge(books.authority.paused);
  found.mandates.merge(books.authority.mandates);
  books.authority = std::move(found);
  books.authority_known = true;
  books.principals_known.insert(principals.begin(), principals.end());
  books.agents_known.insert(agents.begin(), agents.end());
  return absl::OkStatus();
}

absl::Status LoadSpent(pg::Transaction& tx, const Names& names, int64_t now_us, Books& books) {
  const int32_t day = DayOf(now_us);
  std::vector<Uuid> keys;
  for (const PrincipalId& id : names.principals) keys.push_back(id.value);
  for (const AgentId& agent : names.agents) {
    const auto found = books.authority.mandates.find(agent);
    if (found == books.authority.mandates.end()) continue;
    for (const SpendMandate& mandate : found->second) keys.push_back(mandate.id.value);
  }
  keys = Missing(keys, [&](const Uuid& key) { return books.spent_known.contains({key, day}); });
  ASSIGN_OR_RETURN(const auto found, FindSpent(tx, keys, day));
  for (const auto& [key, amount] : found) {
    // What was in all may be known, and newer, from another day.
    if (!books.spent_known.contains({key.key, key.day})) books.spent[key] = amount;
  }
  for (const Uuid& key : keys) {
    books.spent_known.insert({key, day});
    books.spent_known.insert({key, kAllDays});
  }
  return absl::OkStatus();
}

}  // namespace

const IdRecord* Books::FindId(const Uuid& id) const {
  if (const auto found = ids.find(id); found != ids.end()) return &found->second;
  const auto found = earlier_ids.find(id);
  return found == earlier_ids.end() ? nullptr : &found->second;
}

Account* Books::FindAccount(const AccountId& id) {
  const auto found = accounts.find(id);
  return found == accounts.end() ? nullptr : &found->second;
}

Hold* Books::FindHold(const TransferId& id) {
  const auto found = holds.find(id);
  return found == holds.end() ? nullptr : &found->second;
}

EventId Books::RegistrationOf(const Caller& caller) const {
  const auto found = authority.principals.find(caller.principal);
  return found == authority.principals.end() ? EventId() : found->second.registered_by;
}

int64_t Books::Spent(const Uuid& key, const std::string& asset, int32_t day) const {
  const auto found = spent.find({key, asset, day});
  return found == spent.end() ? 0 : found->second;
}

bool Books::Full() const {
  return accounts.size() > kAccountsMax || holds.size() > kOthersMax ||
         corrections.size() > kOthersMax || spent.size() > kOthersMax ||
         principals_known.size() + agents_known.size() > kOthersMax;
}

absl::Status Load(pg::Transaction& tx, const Names& names, int64_t now_us, Books& books) {
  RETURN_IF_ERROR(LoadIds(tx, names.ids, books));
  RETURN_IF_ERROR(LoadHolds(tx, names.holds, books));
  RETURN_IF_ERROR(LoadDue(tx, now_us, books));
  std::vector<AccountId> accounts = names.accounts;
  const auto add = [&](const TransferId& id) {
    const Hold* hold = books.FindHold(id);
    if (hold == nullptr) return;
    accounts.push_back(hold->debit);
    accounts.push_back(hold->credit);
  };
  for (const TransferId& id : names.holds) add(id);
  for (const TransferId& id : books.due) add(id);
  RETURN_IF_ERROR(LoadAccounts(tx, accounts, books));
  RETURN_IF_ERROR(LoadCorrections(tx, names.corrected, books));
  RETURN_IF_ERROR(LoadAuthority(tx, names, books));
  return LoadSpent(tx, names, now_us, books);
}

}  // namespace rochdale::ledger
