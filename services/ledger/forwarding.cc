#include "services/ledger/forwarding.h"

#include <grpcpp/channel.h>

#include <utility>

#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/leader.h"

namespace rochdale::ledger {
namespace {

constexpr absl::Duration kLeaseFresh = absl::Milliseconds(100);
constexpr absl::Duration kTryAgain = absl::Milliseconds(300);

}  // namespace

absl::StatusOr<std::string> Forwarding::OthersAddress(absl::Time deadline) {
  if (writer_.Writing()) return "";
  {
    std::lock_guard lock(mutex_);
    if (absl::Now() - read_at_ < kLeaseFresh) return lease_address_;
  }
  ASSIGN_OR_RETURN(
      const std::optional<pg::Lease> lease,
      db_.Transact(deadline, [](pg::Transaction& tx) { return pg::FindLease(tx, kWriterLease); },
                   {pg::Isolation::kReadCommitted, /*read_only=*/true}));
  std::string address = lease.has_value() ? lease->address : "";
  if (address == own_address_()) address.clear();
  std::lock_guard lock(mutex_);
  read_at_ = absl::Now();
  lease_address_ = address;
  return address;
}

absl::StatusOr<std::shared_ptr<Forwarding::Stub>> Forwarding::Leader(const rpc::Call& call) {
  if (!connect_) return nullptr;
  ASSIGN_OR_RETURN(const std::string address, OthersAddress(call.deadline));
  if (address.empty()) return nullptr;
  if (!call.Metadata(kForwarded).empty()) {
    return RetryableError("NOT_LEADER", "the call was forwarded here, but another replica writes",
                          kTryAgain);
  }
  std::lock_guard lock(mutex_);
  if (stub_ == nullptr || stub_address_ != address) {
    ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, connect_(address));
    stub_ = v1::LedgerService::NewStub(std::move(channel));
    stub_address_ = address;
  }
  return stub_;
}

absl::Status Forwarding::CheckHere(absl::Time deadline) {
  ASSIGN_OR_RETURN(const std::string address, OthersAddress(deadline));
  if (address.empty()) return absl::OkStatus();
  return WithDetail(RetryableError("NOT_LEADER", "another replica writes; open the stream there",
                                   kTryAgain),
                    kLeaderAddress, address);
}

absl::Status Forwarding::Understood(const grpc::Status& status) {
  absl::Status understood = rpc::FromAnswer(status);
  // The connection's own words name addresses.
  if (absl::IsUnavailable(understood) && ReasonOf(understood).empty()) {
    return RetryableError("UNAVAILABLE", "the replica that writes does not answer", kTryAgain);
  }
  return understood;
}

}  // namespace rochdale::ledger
