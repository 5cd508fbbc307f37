#include "tests/support/fake_ledger.h"

#include "libs/crypto/entry.h"

namespace rochdale::testing {

namespace v1 = ledger::v1;

grpc::Status FakeLedger::Around(const std::string& rpc, const std::function<void()>& effect) {
  {
    std::lock_guard lock(mutex_);
    ++calls_[rpc];
  }
  if (const auto hook = before.Get()) {
    if (grpc::Status status = hook(rpc); !status.ok()) return status;
  }
  {
    std::lock_guard lock(mutex_);
    effect();
  }
  const auto hook = after.Get();
  return hook ? hook(rpc) : grpc::Status::OK;
}

grpc::Status FakeLedger::AppendEntries(grpc::ServerContext*,
                                       const v1::AppendEntriesRequest* request,
                                       v1::AppendEntriesResponse* response) {
  return Around("AppendEntries", [&] {
    for (const std::string& bytes : request->entries()) {
      const crypto::Entry entry = crypto::DecodeEntry(bytes).value();
      const int64_t next = static_cast<int64_t>(log_.size());
      const auto [place, fresh] = log_.emplace(entry.event_id.ToString(), next);
      if (fresh) entries_.push_back(entry);
      response->add_log_indexes(place->second);
    }
    if (request->complete_until_us() != 0) {
      complete_until_.push_back(request->complete_until_us());
    }
  });
}

grpc::Status FakeLedger::OpenAccounts(grpc::ServerContext*,
                                      const v1::OpenAccountsRequest* request,
                                      v1::OpenAccountsResponse* response) {
  // As the real one: an id of a request is never reused for other content.
  v1::OpenAccountsRequest body = *request;
  body.clear_request_id();
  {
    std::lock_guard lock(mutex_);
    const auto [place, fresh] =
        opened_.emplace(request->request_id(), body.SerializeAsString());
    if (!fresh && place->second != body.SerializeAsString()) {
      return {grpc::StatusCode::ALREADY_EXISTS, "this request id was used for other accounts"};
    }
  }
  return Around("OpenAccounts", [&] {
    for (const v1::Account& account : request->accounts()) {
      *response->add_accounts() =
          accounts_.emplace(account.account_id(), account).first->second;
    }
  });
}

grpc::Status FakeLedger::GetAccount(grpc::ServerContext*, const v1::GetAccountRequest* request,
                                    v1::GetAccountResponse* response) {
  bool found = false;
  grpc::Status status = Around("GetAccount", [&] {
    const auto it = accounts_.find(request->account_id());
    found = it != accounts_.end();
    if (found) *response->mutable_account() = it->second;
  });
  if (status.ok() && !found) return {grpc::StatusCode::NOT_FOUND, "no such account"};
  return status;
}

v1::TransferResult FakeLedger::Post(const v1::Transfer& transfer) {
  const std::string& id = transfer.transfer_id();
  if (const auto it = by_id_.find(id); it != by_id_.end()) {
    return it->second.SerializeAsString() == transfer.SerializeAsString()
               ? v1::TRANSFER_RESULT_EXISTS
               : v1::TRANSFER_RESULT_EXISTS_DIFFERENT;
  }
  if (failed_.count(id)) return v1::TRANSFER_RESULT_ID_ALREADY_FAILED;
  const auto fail = [&](v1::TransferResult result) {
    if (result != v1::TRANSFER_RESULT_EXISTS_DIFFERENT) failed_.insert(id);
    return result;
  };
  const auto hook = refuse.Get();
  if (const v1::TransferResult refused = hook ? hook(transfer) : v1::TRANSFER_RESULT_UNSPECIFIED;
      refused != v1::TRANSFER_RESULT_UNSPECIFIED) {
    return fail(refused);
  }
  const auto debit = accounts_.find(transfer.debit_account_id());
  const auto credit = accounts_.find(transfer.credit_account_id());
  if (debit == accounts_.end()) return fail(v1::TRANSFER_RESULT_DEBIT_ACCOUNT_NOT_FOUND);
  if (credit == accounts_.end()) return fail(v1::TRANSFER_RESULT_CREDIT_ACCOUNT_NOT_FOUND);
  if (!debit->second.unlimited() && debit->second.balance_micro() < transfer.amount_micro()) {
    return fail(v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS);
  }
  if (!log_.count(transfer.authorised_by().event_id())) unauthorised_.push_back(id);
  debit->second.set_balance_micro(debit->second.balance_micro() - transfer.amount_micro());
  credit->second.set_balance_micro(credit->second.balance_micro() + transfer.amount_micro());
  by_id_[id] = transfer;
  posted_.push_back(transfer);
  return v1::TRANSFER_RESULT_POSTED;
}

grpc::Status FakeLedger::PostTransfers(grpc::ServerContext*,
                                       const v1::PostTransfersRequest* request,
                                       v1::PostTransfersResponse* response) {
  return Around("PostTransfers", [&] {
    for (const v1::Transfer& transfer : request->transfers()) {
      v1::TransferOutcome& outcome = *response->add_outcomes();
      outcome.set_transfer_id(transfer.transfer_id());
      outcome.set_result(Post(transfer));
    }
  });
}

void FakeLedger::SetBalance(const std::string& account, int64_t balance) {
  std::lock_guard lock(mutex_);
  accounts_[account].set_account_id(account);
  accounts_[account].set_balance_micro(balance);
}

int64_t FakeLedger::Balance(const std::string& account) {
  std::lock_guard lock(mutex_);
  return accounts_[account].balance_micro();
}

int64_t FakeLedger::SumOfBalances() {
  std::lock_guard lock(mutex_);
  int64_t sum = 0;
  for (const auto& [id, account] : accounts_) sum += account.balance_micro();
  return sum;
}

std::vector<v1::Transfer> FakeLedger::posted() {
  std::lock_guard lock(mutex_);
  return posted_;
}

std::map<std::string, v1::Account> FakeLedger::accounts() {
  std::lock_guard lock(mutex_);
  return accounts_;
}

size_t FakeLedger::entries() {
  std::lock_guard lock(mutex_);
  return log_.size();
}

std::vector<crypto::Entry> FakeLedger::log() {
  std::lock_guard lock(mutex_);
  return entries_;
}

std::vector<int64_t> FakeLedger::complete_until() {
  std::lock_guard lock(mutex_);
  return complete_until_;
}

int FakeLedger::calls(const std::string& rpc) {
  std::lock_guard lock(mutex_);
  return calls_[rpc];
}

std::vector<std::string> FakeLedger::unauthorised() {
  std::lock_guard lock(mutex_);
  return unauthorised_;
}

}  // namespace rochdale::testing
