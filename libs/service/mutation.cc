#include "libs/service/mutation.h"

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/message.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/database.h"
#include "libs/pg/requests.h"
#include "libs/rpc/call.h"

namespace rochdale::service {
namespace {

std::string DeterministicBytes(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream sink(&bytes);
  google::protobuf::io::CodedOutputStream coded(&sink);
  coded.SetSerializationDeterministic(true);
  message.SerializePartialToCodedStream(&coded);
  return bytes;
}

absl::StatusOr<pg::RequestKey> KeyOf(const rpc::Call& call,
                                     const google::protobuf::Message& request) {
  const auto* field = request.GetDescriptor()->FindFieldByName("request_id");
  std::unique_ptr<google::protobuf::Message> body(request.New());
  body->CopyFrom(request);
  const std::string text = body->GetReflection()->GetString(*body, field);
  body->GetReflection()->ClearField(body.get(), field);
  auto id = Uuid::Parse(text);
  if (!id.ok() || id->IsZero()) {
    FieldErrors errors;
    errors.Add("request_id", "must be a UUID made by the client");
    return errors.ToStatus();
  }
  return pg::RequestKey{*id, request.GetDescriptor()->full_name(),
                        pg::RequestDigest(call.identity.ToString(), DeterministicBytes(*body))};
}

}  // namespace

absl::Status Mutate(pg::Database& db, const rpc::Call& call,
                    const google::protobuf::Message& request, google::protobuf::Message* response,
                    absl::FunctionRef<absl::Status(pg::Transaction&)> change) {
  ASSIGN_OR_RETURN(const pg::RequestKey key, KeyOf(call, request));
  absl::StatusOr<std::string> bytes =
      db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::StatusOr<std::string> {
        return pg::RunOnce(tx, key, call.now, [&]() -> absl::StatusOr<std::string> {
          response->Clear();
          RETURN_IF_ERROR(change(tx));
          return DeterministicBytes(*response);
        });
      });
  RETURN_IF_ERROR(bytes.status());
  if (!response->ParseFromString(*bytes)) {
    return absl::InternalError("a stored response does not parse");
  }
  return absl::OkStatus();
}

}  // namespace rochdale::service
