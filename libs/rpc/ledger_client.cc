#include "libs/rpc/ledger_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/channel.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/rpc/channel.h"
#include "rochdale/ledger/v1/ledger.grpc.pb.h"

namespace rochdale::rpc {
namespace {

namespace v1 = ledger::v1;

constexpr size_t kEntriesMax = 1'000;    // of AppendEntries, by its contract
constexpr size_t kBytesMax = 3u << 20;   // well below the 4 MiB of a message

CallOptions OptionsOf(const LedgerCall& call) {
  CallOptions options;
  options.deadline = call.deadline;
  options.timeout = absl::Seconds(30);
  options.trace_id = call.trace_id;
  return options;
}

}  // namespace

struct LedgerClient::State {
  explicit State(std::shared_ptr<grpc::Channel> channel) : stub(std::move(channel)) {}
  v1::LedgerService::Stub stub;
};

LedgerClient::LedgerClient(ChannelSource channel, const Outgoing& outgoing, IdSource& ids,
                           const Clock& clock)
    : channel_(std::move(channel)), outgoing_(outgoing), ids_(ids), clock_(clock) {}

LedgerClient::~LedgerClient() = default;

absl::StatusOr<LedgerClient::State*> LedgerClient::Ready() {
  std::lock_guard lock(mutex_);
  if (state_ == nullptr) {
    std::shared_ptr<grpc::Channel> channel = channel_ ? channel_("ledger") : nullptr;
    if (channel == nullptr) {
      return RetryableError("UNAVAILABLE", "there is no way to the ledger yet", absl::Seconds(1));
    }
    state_ = std::make_unique<State>(std::move(channel));
  }
  return state_.get();
}

absl::StatusOr<std::vector<int64_t>> LedgerClient::AppendEntries(
    const std::vector<absl::string_view>& entries, const LedgerCall& call,
    absl::Time complete_until) {
  ASSIGN_OR_RETURN(State* const state, Ready());
  const bool heartbeat = complete_until != absl::InfinitePast();
  std::vector<int64_t> indexes;
  indexes.reserve(entries.size());
  bool told = false;
  for (size_t next = 0; next < entries.size() || (heartbeat && !told);) {
    v1::AppendEntriesRequest request;
    request.set_request_id(ids_.New(clock_.Now()).ToString());
    size_t bytes = 0;
    while (next < entries.size() && static_cast<size_t>(request.entries_size()) < kEntriesMax &&
           (bytes == 0 || bytes + entries[next].size() <= kBytesMax)) {
      bytes += entries[next].size() + 1;
      request.add_entries(entries[next].data(), entries[next].size());
      ++next;
    }
    told = heartbeat && next == entries.size();
    if (told) request.set_complete_until_us(absl::ToUnixMicros(complete_until));
    v1::AppendEntriesResponse response;
    RETURN_IF_ERROR(outgoing_.Invoke(state->stub, &v1::LedgerService::Stub::AppendEntries, request,
                                     &response, OptionsOf(call)));
    if (response.log_indexes_size() != request.entries_size()) {
      return Error("INTERNAL", absl::StrCat("the ledger answered ", response.log_indexes_size(),
                                            " indexes for ", request.entries_size(), " entries"));
    }
    indexes.insert(indexes.end(), response.log_indexes().begin(), response.log_indexes().end());
  }
  return indexes;
}

absl::Status LedgerClient::OpenAccounts(const v1::OpenAccountsRequest& request,
                                        v1::OpenAccountsResponse* response,
                                        const LedgerCall& call) {
  ASSIGN_OR_RETURN(State* const state, Ready());
  return outgoing_.Invoke(state->stub, &v1::LedgerService::Stub::OpenAccounts, request, response,
                          OptionsOf(call));
}

absl::Status LedgerClient::PostTransfers(const v1::PostTransfersRequest& request,
                                         v1::PostTransfersResponse* response,
                                         const LedgerCall& call) {
  ASSIGN_OR_RETURN(State* const state, Ready());
  return outgoing_.Invoke(state->stub, &v1::LedgerService::Stub::PostTransfers, request, response,
                          OptionsOf(call));
}

absl::Status LedgerClient::GetTransfer(const v1::GetTransferRequest& request,
                                       v1::GetTransferResponse* response, const LedgerCall& call) {
  ASSIGN_OR_RETURN(State* const state, Ready());
  return outgoing_.Invoke(state->stub, &v1::LedgerService::Stub::GetTransfer, request, response,
                          OptionsOf(call));
}

absl::Status LedgerClient::GetEntry(const v1::GetEntryRequest& request,
                                    v1::GetEntryResponse* response, const LedgerCall& call) {
  ASSIGN_OR_RETURN(State* const state, Ready());
  return outgoing_.Invoke(state->stub, &v1::LedgerService::Stub::GetEntry, request, response,
                          OptionsOf(call));
}

}  // namespace rochdale::rpc
