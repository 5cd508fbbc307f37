// A mutation that may be repeated: the request's request_id decides, in the transaction of the
// change, whether this is the first time or a repetition.
#pragma once

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace google::protobuf {
class Message;
}
namespace rochdale::pg {
class Database;
class Transaction;
}  // namespace rochdale::pg
namespace rochdale::rpc {
struct Call;
}

namespace rochdale::service {

// Runs `change`, which fills `response`, in one transaction together with the record of the
// request; a repetition gets the response of the first time. `request` has a field `request_id`
// (BAD_REQUEST where it is no UUID); everything else in it, and the caller, must be the same as the
// first time (REQUEST_ID_REUSED). An error of `change` is not recorded: the id is free again.
absl::Status Mutate(pg::Database& db, const rpc::Call& call,
                    const google::protobuf::Message& request, google::protobuf::Message* response,
                    absl::FunctionRef<absl::Status(pg::Transaction&)> change);

}  // namespace rochdale::service
