// Calls to the ledger service: entries from an outbox, accounts, transfers.
//
//   rpc::LedgerClient ledger(env.channel, env.outgoing, env.ids, env.clock);
//   pg::OutboxRelay relay(env.db, env.clock, ledger.OutboxSend());
//
// Errors are the ledger's, reason and all; UNAVAILABLE was tried again already (channel.h).
// Thread-safe. Whatever it is given must outlive it, and it must outlive what OutboxSend gave.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"

namespace grpc {
class Channel;
}
namespace rochdale::ledger::v1 {
class GetEntryRequest;
class GetEntryResponse;
class GetTransferRequest;
class GetTransferResponse;
class OpenAccountsRequest;
class OpenAccountsResponse;
class PostTransfersRequest;
class PostTransfersResponse;
}  // namespace rochdale::ledger::v1

namespace rochdale::rpc {

class Outgoing;

// Until when a call may take, and whose trace it belongs to.
struct LedgerCall {
  absl::Time deadline = absl::InfiniteFuture();  // system clock; at most 30 s from now
  std::string trace_id;                          // handed on; empty: a new one
};

class LedgerClient {
 public:
  // As service::Environment::channel; asked for "ledger" at the first call.
  using ChannelSource = std::function<std::shared_ptr<grpc::Channel>(absl::string_view service)>;

  LedgerClient(ChannelSource channel, const Outgoing& outgoing, IdSource& ids, const Clock& clock);
  ~LedgerClient();
  LedgerClient(const LedgerClient&) = delete;
  LedgerClient& operator=(const LedgerClient&) = delete;

  // Canonical bytes of entries, in order -> their indexes in the log, one each. Any number: sent
  // in calls of at most 1,000 entries and 3 MiB. Repeating it is harmless (the ledger knows event
  // ids). ENTRY_INVALID; REQUEST_ID_REUSED: an event id is in the log with other bytes.
  // `complete_until` is said with the last of them (AppendEntriesRequest.complete_until_us), or
  // alone where there are none; the infinite past: it is not said.
  absl::StatusOr<std::vector<int64_t>> AppendEntries(
      const std::vector<absl::string_view>& entries, const LedgerCall& call = {},
      absl::Time complete_until = absl::InfinitePast());

  // A pg::OutboxRelay::Send. Only governance's may say until when the log is complete.
  auto OutboxSend() {
    return [this](const auto& rows, absl::Time complete_until = absl::InfinitePast()) {
      std::vector<absl::string_view> entries;
      entries.reserve(rows.size());
      for (const auto& row : rows) entries.push_back(row.leaf);
      return AppendEntries(entries, {}, complete_until);
    };
  }

  // The request_id is the caller's, the same for every repetition of one step.
  absl::Status OpenAccounts(const ledger::v1::OpenAccountsRequest& request,
                            ledger::v1::OpenAccountsResponse* response,
                            const LedgerCall& call = {});
  // OK even where single transfers are refused: look at every outcome.
  absl::Status PostTransfers(const ledger::v1::PostTransfersRequest& request,
                             ledger::v1::PostTransfersResponse* response,
                             const LedgerCall& call = {});
  absl::Status GetTransfer(const ledger::v1::GetTransferRequest& request,
                           ledger::v1::GetTransferResponse* response, const LedgerCall& call = {});
  absl::Status GetEntry(const ledger::v1::GetEntryRequest& request,
                        ledger::v1::GetEntryResponse* response, const LedgerCall& call = {});

 private:
  struct State;
  // UNAVAILABLE while there is no channel.
  absl::StatusOr<State*> Ready();

  const ChannelSource channel_;
  const Outgoing& outgoing_;
  IdSource& ids_;
  const Clock& clock_;
  std::mutex mutex_;
  std::unique_ptr<State> state_;  // the stub, made once
};

}  // namespace rochdale::rpc
