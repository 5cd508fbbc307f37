// From a replica that does not write to the one that does: calls that change the ledger go on to
// the address in the lease row, as their caller's (rpc::Outgoing::PrepareForward), within its
// deadline and at most once.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/database.h"
#include "libs/rpc/call.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status.h"
#include "rochdale/ledger/v1/ledger.grpc.pb.h"
#include "services/ledger/writer.h"

namespace rochdale::ledger {

// Metadata key of a call that another replica forwarded; it is not forwarded again. Set by anybody
// else it only keeps the call here.
inline constexpr char kForwarded[] = "rochdale-forwarded";
// Key of the error detail that names the writer's address.
inline constexpr char kLeaderAddress[] = "leader_address";

// Thread-safe.
class Forwarding {
 public:
  using Stub = v1::LedgerService::Stub;
  using Connect = std::function<absl::StatusOr<std::shared_ptr<grpc::Channel>>(const std::string&)>;

  // `own_address`: of this replica, "" where others cannot call it. `connect` may be empty: nothing
  // is forwarded then. All outlive it.
  Forwarding(pg::Database& db, const Writer& writer, const rpc::Outgoing& outgoing,
             std::function<std::string()> own_address, Connect connect)
      : db_(db), writer_(writer), outgoing_(outgoing), own_address_(std::move(own_address)),
        connect_(std::move(connect)) {}

  // What another replica answered, or why it did not (UNAVAILABLE: it is not known whether the
  // call was made). Nothing: no other replica is known to write, and this one is to try itself.
  template <typename Base, typename Request, typename Response>
  std::optional<absl::Status> Forward(const rpc::Call& call,
                                      grpc::Status (Base::*method)(grpc::ClientContext*,
                                                                   const Request&, Response*),
                                      const Request& request, Response* response) {
    const absl::StatusOr<std::shared_ptr<Stub>> leader = Leader(call);
    if (!leader.ok()) return leader.status();
    if (*leader == nullptr) return std::nullopt;
    grpc::ClientContext context;
    outgoing_.PrepareForward(context, call);
    context.AddMetadata(kForwarded, "1");
    return Understood(((**leader).*method)(&context, request, response));
  }

  // OK where this replica may write itself, as far as it knows; else NOT_LEADER with
  // kLeaderAddress. For what is not forwarded.
  absl::Status CheckHere(absl::Time deadline);

 private:
  // Null: none but, perhaps, this one.
  absl::StatusOr<std::shared_ptr<Stub>> Leader(const rpc::Call& call);
  // "": this replica, or nobody.
  absl::StatusOr<std::string> OthersAddress(absl::Time deadline);
  static absl::Status Understood(const grpc::Status& status);

  pg::Database& db_;
  const Writer& writer_;
  const rpc::Outgoing& outgoing_;
  const std::function<std::string()> own_address_;
  const Connect connect_;

  std::mutex mutex_;
  absl::Time read_at_ = absl::InfinitePast();
  std::string lease_address_;       // as of read_at_
  std::string stub_address_;        // of stub_
  std::shared_ptr<Stub> stub_;      // to the last leader
};

}  // namespace rochdale::ledger
