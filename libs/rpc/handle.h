// The one way in which every rpc of every service is run.
//
//   grpc::Status LedgerService::OpenAccount(grpc::ServerContext* context,
//                                           const v1::OpenAccountRequest* request,
//                                           v1::OpenAccountResponse* response) {
//     return rpc::Handle(context, calls_, [&](const rpc::Call& call) -> absl::Status { ... });
//   }
//
// In this order: admission (else OVERLOADED with RetryInfo, or UNAVAILABLE while the server
// stops), identity from token or certificate, the access table, the deadline, the handler; then one
// log line, the metrics, and the status on the wire with its details (status.h). An exception of
// the handler becomes INTERNAL with an error id that stands in the log line too; its text stays in
// the log.
// The same for streams: the handler captures the reader or writer.
#pragma once

#include <grpcpp/support/status.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/call.h"

namespace grpc {
class ServerContext;
class ServerContextBase;
}  // namespace grpc

namespace rochdale::obs {
class Logger;
class Metrics;
}  // namespace rochdale::obs

namespace rochdale::rpc {

struct CallLimits {
  int unary_max = 64;    // unary calls that run at once: about twice the database pool
  int streams_max = 64;  // streams that run at once, each holds a thread
  int open_max = 2'048;  // streams that hold none (open_call.h)
  int open_per_person_max = 32;  // of them, of one principal or agent
  absl::Duration deadline_default = absl::Seconds(30);  // of a call that names none
  absl::Duration unary_deadline_max = absl::Minutes(5);
  absl::Duration stream_deadline_max = absl::Hours(1);  // a watch ends then; the client reopens it
  absl::Duration retry_after = absl::Milliseconds(200);  // in RetryInfo of OVERLOADED
};

class TaskThreads;

// What all calls of one server share. Thread-safe. The references must outlive it.
class Calls {
 public:
  Calls(const Clock& clock, IdSource& ids, const Authenticator& authenticator,
        const obs::Logger& logger, obs::Metrics& metrics, CallLimits limits = {});
  ~Calls();
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  grpc::Status Run(grpc::ServerContext* context,
                   absl::FunctionRef<absl::Status(const Call&)> body);

  // From here on new calls are UNAVAILABLE and Call::Ended() is true. Server::Stop calls it.
  void Drain();
  bool draining() const { return draining_.load(); }
  // Calls that run now, unary and streams.
  int running() const;

  // For open calls: threads for what may wait for another service or takes long to compute, and
  // threads for what never waits. An open call has at most one task of a kind at a time.
  TaskThreads& patient();
  TaskThreads& prompt();

  const CallLimits& limits() const { return limits_; }

 private:
  friend class OpenCall;
  struct State;
  struct Method;
  struct Record;
  const Method& FindOrAddMethod(const std::string& path);
  const Method& Begin(const grpc::ServerContextBase& context, Call& call, Record& record);
  static Credentials CredentialsOf(const Call& call);
  absl::Status Enter(const Method& method, Call& call, int running, int running_max);
  // Logs, counts, and says what the wire shows.
  grpc::Status End(const Method& method, const Call& call, absl::Status status, Record& record);
  absl::Status RunBody(const Call& call, absl::FunctionRef<absl::Status(const Call&)> body);
  void Report(const Method& method, const Call& call, const absl::Status& status,
              const Record& record);

  const Clock& clock_;
  IdSource& ids_;
  const Authenticator& authenticator_;
  const obs::Logger& logger_;
  const CallLimits limits_;
  std::atomic<bool> draining_{false};
  std::unique_ptr<State> state_;
};

// `body`: absl::Status(const Call&). Unary calls and every kind of stream.
template <typename Body>
grpc::Status Handle(grpc::ServerContext* context, Calls& calls, Body&& body) {
  return calls.Run(context, body);
}

// Streams that hold a thread, with the reader, writer or stream handed on:
// absl::Status(const Call&, Stream&).
template <typename Stream, typename Body>
grpc::Status HandleStream(grpc::ServerContext* context, Calls& calls, Stream* stream,
                          Body&& body) {
  return calls.Run(context, [&](const Call& call) -> absl::Status { return body(call, *stream); });
}

}  // namespace rochdale::rpc
