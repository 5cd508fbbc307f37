// The ledger in memory: keeps what it is told by the rules that its clients rely on (ids are posted
// once, a refused id never succeeds, no balance below 0), and fails when asked to.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "libs/crypto/entry.h"
#include "rochdale/ledger/v1/ledger.grpc.pb.h"
#include "tests/support/service_fixture.h"

namespace rochdale::testing {

class FakeLedger final : public ledger::v1::LedgerService::Service {
 public:
  // Asked with the rpc's name before and after its effect; what is not OK is the answer. `after`
  // makes answers get lost.
  Hook<std::function<grpc::Status(const std::string& rpc)>> before, after;
  // Why a transfer is refused; TRANSFER_RESULT_UNSPECIFIED: it is not.
  Hook<std::function<ledger::v1::TransferResult(const ledger::v1::Transfer&)>> refuse;

  grpc::Status AppendEntries(grpc::ServerContext*, const ledger::v1::AppendEntriesRequest*,
                             ledger::v1::AppendEntriesResponse*) override;
  grpc::Status OpenAccounts(grpc::ServerContext*, const ledger::v1::OpenAccountsRequest*,
                            ledger::v1::OpenAccountsResponse*) override;
  grpc::Status GetAccount(grpc::ServerContext*, const ledger::v1::GetAccountRequest*,
                          ledger::v1::GetAccountResponse*) override;
  grpc::Status PostTransfers(grpc::ServerContext*, const ledger::v1::PostTransfersRequest*,
                             ledger::v1::PostTransfersResponse*) override;

  void SetBalance(const std::string& account, int64_t balance);
  int64_t Balance(const std::string& account);
  // Every account: debits equal credits, apart from what SetBalance made.
  int64_t SumOfBalances();
  std::vector<ledger::v1::Transfer> posted();  // in order
  std::map<std::string, ledger::v1::Account> accounts();
  size_t entries();                            // different ones
  std::vector<crypto::Entry> log();            // the different ones, in order
  std::vector<int64_t> complete_until();       // every one that was said, in order
  int calls(const std::string& rpc);
  // Transfers whose authorising entry was not in the log when they were posted.
  std::vector<std::string> unauthorised();

 private:
  grpc::Status Around(const std::string& rpc, const std::function<void()>& effect);
  ledger::v1::TransferResult Post(const ledger::v1::Transfer& transfer);

  std::mutex mutex_;
  std::map<std::string, int64_t> log_;  // event id -> index
  std::vector<crypto::Entry> entries_;
  std::vector<int64_t> complete_until_;
  std::map<std::string, std::string> opened_;  // request id -> content
  std::map<std::string, ledger::v1::Account> accounts_;
  std::map<std::string, ledger::v1::Transfer> by_id_;
  std::vector<ledger::v1::Transfer> posted_;
  std::set<std::string> failed_;
  std::vector<std::string> unauthorised_;
  std::map<std::string, int> calls_;
};

}  // namespace rochdale::testing
