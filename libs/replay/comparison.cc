#include "libs/replay/comparison.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"

namespace rochdale::replay {
namespace {

absl::Status Differs(const TableRow& row, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(NameOf(row), ": ", what));
}

// The row against what the log gives in its place.
template <typename Row>
absl::Status Same(const Row& row, const Row& wanted) {
  const std::string found = ToLine(row), right = ToLine(wanted);
  if (found == right) return absl::OkStatus();
  return Differs(row, absl::StrCat("it is ", found, ", and the log gives ", right));
}

}  // namespace

PrincipalRow RowOf(const Uuid& id, const Principal& principal) {
  return {id, principal.registered_by, principal.kyc_level, principal.kyc_expires_us,
          principal.kyc_event};
}

MandateRow RowOf(const Uuid& id, const Mandate& m) {
  return {id,           m.event,           m.cooperative,  m.principal,
          m.agent,      m.actions,         m.not_before_us, m.expires_us,
          m.budget_day, m.budget_total,    absl::BytesToHexString(m.counterparties),
          m.revoked ? 1 : 0};
}

absl::Status Comparison::Next(const crypto::Entry& entry) {
  const int64_t index = books_.entries();
  const absl::Status applied = books_.Apply(entry);
  if (!applied.ok()) {
    return absl::DataLossError(absl::StrCat("entry ", index, ": ", applied.message()));
  }
  pending_.resize(books_.accounts().size());
  for (const uint32_t place : books_.touched()) pending_[place].push_back(index);
  return absl::OkStatus();
}

absl::Status Comparison::Check(const TableRow& row) {
  ++rows_;
  return std::visit([this](const auto& r) { return Is(r); }, row);
}

absl::Status Comparison::Is(const LogRow& row) const {
  return rows_ == 1 ? absl::OkStatus() : Differs(row, "it is not the first row");
}

absl::Status Comparison::Is(const HistoryRow& row) {
  if (row.log_index < history_at_ || row.log_index != books_.entries() - 1) {
    return Differs(row, "it is not in its place, or of an entry that is not there");
  }
  history_at_ = row.log_index;
  const Account* account = books_.FindAccount(row.account);
  if (account == nullptr) return Differs(row, "the log has no such account");
  std::vector<int64_t>& pending = pending_[account - books_.accounts().data()];
  HistoryRow wanted{row.account,     account->last_index, account->debits, account->credits,
                    account->held,   account->transfers,  pending};
  RETURN_IF_ERROR(Same(row, wanted));
  pending.clear();
  return absl::OkStatus();
}

absl::Status Comparison::Is(const AccountRow& row) {
  const Account* account = books_.FindAccount(row.id);
  if (account == nullptr) return Differs(row, "the log has no such account");
  if (!accounts_.insert(row.id).second) return Differs(row, "it is there twice");
  return Same(row, AccountRow{account->id, account->owner, static_cast<int64_t>(account->type),
                              account->asset, account->floor,
                              static_cast<int64_t>(account->status), account->version,
                              account->opened_us, account->opened_index});
}

absl::Status Comparison::Is(const HoldRow& row) {
  const auto hold = books_.holds().find(row.id);
  const Transfer* transfer = books_.FindTransfer(row.id);
  if (hold == books_.holds().end() || transfer == nullptr) {
    return Differs(row, "the log has no such hold");
  }
  if (!holds_.insert(row.id).second) return Differs(row, "it is there twice");
  return Same(row, HoldRow{row.id, books_.accounts()[transfer->debit].id,
                           books_.accounts()[transfer->credit].id, transfer->amount,
                           transfer->kind, hold->second.opened_us, hold->second.expires_us,
                           static_cast<int64_t>(transfer->state), hold->second.posted,
                           hold->second.owner, hold->second.mandate});
}

absl::Status Comparison::Is(const CorrectionRow& row) {
  const Transfer* transfer = books_.FindTransfer(row.transfer);
  if (transfer == nullptr || transfer->corrected == 0) {
    return Differs(row, "by the log nothing corrects it");
  }
  if (!corrected_.insert(row.transfer).second) return Differs(row, "it is there twice");
  return Same(row, CorrectionRow{row.transfer, transfer->corrected});
}

absl::Status Comparison::Is(const SpentRow& row) {
  const SpentKey key{row.key, row.asset, static_cast<int32_t>(row.day)};
  const auto found = books_.spent().find(key);
  const int64_t wanted = found == books_.spent().end() ? 0 : found->second;
  if (!spent_.emplace(key, row.amount).second) return Differs(row, "it is there twice");
  return Same(row, SpentRow{row.key, row.asset, row.day, wanted});
}

template <typename Row>
absl::Status Comparison::Once(const Row& row) {
  if (authority_.insert(NameOf(row)).second) return absl::OkStatus();
  return Differs(row, "it is there twice");
}

absl::Status Comparison::Is(const NetworkRow& row) {
  RETURN_IF_ERROR(Once(row));
  return Same(row, NetworkRow{books_.authority().network()});
}

absl::Status Comparison::Is(const PrincipalRow& row) {
  const Principal* principal = books_.authority().FindPrincipal(row.id);
  if (principal == nullptr) return Differs(row, "the log does not register it");
  RETURN_IF_ERROR(Once(row));
  return Same(row, RowOf(row.id, *principal));
}

absl::Status Comparison::Is(const PausedRow& row) {
  const auto found = books_.authority().paused().find(row.agent);
  if (found == books_.authority().paused().end()) return Differs(row, "the log does not pause it");
  RETURN_IF_ERROR(Once(row));
  return Same(row, PausedRow{row.agent, found->second});
}

absl::Status Comparison::Is(const MandateRow& row) {
  const Mandate* mandate = books_.authority().FindMandate(row.id);
  if (mandate == nullptr) return Differs(row, "the log does not grant it");
  RETURN_IF_ERROR(Once(row));
  return Same(row, RowOf(row.id, *mandate));
}

absl::Status Comparison::Is(const LeftRow& row) {
  const auto found = books_.authority().left().find({row.cooperative, row.principal});
  if (found == books_.authority().left().end()) return Differs(row, "by the log it has not left");
  RETURN_IF_ERROR(Once(row));
  return Same(row, LeftRow{row.cooperative, row.principal, found->second});
}

absl::Status Comparison::Is(const ParameterRow& row) {
  const auto found = books_.authority().parameters().find(row.name);
  if (found == books_.authority().parameters().end()) {
    return Differs(row, "the log does not set it");
  }
  RETURN_IF_ERROR(Once(row));
  return Same(row, ParameterRow{row.name, found->second.value, found->second.log_index});
}

absl::Status Comparison::FinishAuthority() const {
  const Authority& authority = books_.authority();
  const auto there = [&](const TableRow& row) {
    if (authority_.contains(NameOf(row))) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(NameOf(row), ": it is missing"));
  };
  RETURN_IF_ERROR(there(NetworkRow{}));
  for (const auto& [id, principal] : authority.principals()) {
    RETURN_IF_ERROR(there(PrincipalRow{id}));
  }
  for (const auto& [agent, index] : authority.paused()) RETURN_IF_ERROR(there(PausedRow{agent}));
  for (const auto& [id, mandate] : authority.mandates()) RETURN_IF_ERROR(there(MandateRow{id}));
  for (const auto& [who, index] : authority.left()) {
    RETURN_IF_ERROR(there(LeftRow{who.first, who.second}));
  }
  for (const auto& [name, value] : authority.parameters()) {
    RETURN_IF_ERROR(there(ParameterRow{name}));
  }
  return absl::OkStatus();
}

absl::Status Comparison::Finish() const {
  RETURN_IF_ERROR(books_.Close());
  for (size_t i = 0; i < pending_.size(); ++i) {
    if (pending_[i].empty()) continue;
    return absl::DataLossError(absl::StrCat("account_history of ",
                                            books_.accounts()[i].id.ToString(),
                                            " lacks entry ", pending_[i].front()));
  }
  for (const Account& account : books_.accounts()) {
    if (accounts_.contains(account.id)) continue;
    return absl::DataLossError(absl::StrCat("accounts lacks ", account.id.ToString()));
  }
  for (const auto& [id, hold] : books_.holds()) {
    if (holds_.contains(id)) continue;
    return absl::DataLossError(absl::StrCat("holds lacks ", id.ToString()));
  }
  for (const auto& [id, transfer] : books_.all_transfers()) {
    if (transfer.corrected == 0 || corrected_.contains(id)) continue;
    return absl::DataLossError(absl::StrCat("corrections lacks ", id.ToString()));
  }
  for (const auto& [key, amount] : books_.spent()) {
    if (amount == 0 || spent_.contains(key)) continue;
    return absl::DataLossError(absl::StrCat("spent lacks ", key.key.ToString(), " of ", key.asset,
                                            " on day ", key.day));
  }
  return FinishAuthority();
}

}  // namespace rochdale::replay
