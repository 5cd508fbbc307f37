// A stream of the callback API: admission, identity, access, deadline, metrics and log line as
// every call has them (handle.h), without a thread that waits. For streams of which there are many.
//
//   call_ = rpc::OpenCall::Begin(calls, context, {
//       [weak = weak_from_this()](const absl::Status& status) { ... },   // opened
//       [weak = weak_from_this()](const absl::Status& why) { ... }});    // ended
//   ...
//   Finish(call_->Close(status));
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/support/status.h>

#include <functional>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "libs/rpc/call.h"
#include "libs/rpc/handle.h"

namespace grpc {
class CallbackServerContext;
}  // namespace grpc

namespace rochdale::rpc {

// Thread-safe. Server::Stop waits until it is closed.
class OpenCall : public std::enable_shared_from_this<OpenCall> {
 public:
  // Called without locks, each at most once; the stream may have gone by then.
  struct Hooks {
    // OK: the caller is admitted, and call() is complete. Otherwise what the stream ends with. From
    // a thread that may wait.
    std::function<void(const absl::Status&)> opened;
    // Nothing more may begin, what is under way may end: the server stops (UNAVAILABLE), the token
    // expired (TOKEN_EXPIRED), the deadline passed. May come before `opened`.
    std::function<void(const absl::Status&)> ended;
  };

  // `calls` outlives it; `context` lives until the stream is done.
  static std::shared_ptr<OpenCall> Begin(Calls& calls, const grpc::CallbackServerContext& context,
                                         Hooks hooks);
  ~OpenCall();

  const Call& call() const { return call_; }
  // Asks again, at most every 15 s, whether the caller's key is still registered: a stream must not
  // outlive it by more than a unary caller's cached key does. May wait; one at a time.
  absl::Status Recheck();
  // Logs and counts; the status as the wire shows it. Once.
  grpc::Status Close(absl::Status status);

  // Says that the call shall end.
  void End(const absl::Status& why);

 private:
  OpenCall(Calls& calls, Hooks hooks);
  void Open();
  absl::Status Enter();
  void SetAlarm();

  Calls& calls_;
  std::unique_ptr<Calls::Record> record_;
  const Calls::Method* method_ = nullptr;
  Call call_;
  absl::Time checked_;
  bool counted_as_person_ = false;  // set before `opened`
  grpc::Alarm alarm_;

  std::mutex mutex_;
  Hooks hooks_;
  bool ended_ = false, closed_ = false;
};

}  // namespace rochdale::rpc
