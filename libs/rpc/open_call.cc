#include "libs/rpc/open_call.h"

#include <grpcpp/server_context.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/rpc/calls_state.h"

namespace rochdale::rpc {
namespace {

constexpr absl::Duration kRecheckEvery = absl::Seconds(15);

}  // namespace

OpenCall::OpenCall(Calls& calls, Hooks hooks)
    : calls_(calls), record_(std::make_unique<Calls::Record>()), hooks_(std::move(hooks)) {}

OpenCall::~OpenCall() = default;

std::shared_ptr<OpenCall> OpenCall::Begin(Calls& calls,
                                          const grpc::CallbackServerContext& context,
                                          Hooks hooks) {
  std::shared_ptr<OpenCall> call(new OpenCall(calls, std::move(hooks)));
  call->method_ = &calls.Begin(context, call->call_, *call->record_);
  calls.state_->open.fetch_add(1);
  calls.state_->running.With({"open"}).Add(1);
  {
    std::lock_guard lock(calls.state_->mutex);
    calls.state_->open_calls[call.get()] = call;
  }
  // The registry of keys may have to be asked, which takes as long as it takes.
  calls.patient().Run([call] { call->Open(); });
  return call;
}

absl::Status OpenCall::Enter() {
  Calls::State& state = *calls_.state_;
  RETURN_IF_ERROR(calls_.Enter(*method_, call_, state.open.load(), calls_.limits_.open_max));
  checked_ = absl::Now();
  if (!call_.identity.IsPerson()) return absl::OkStatus();
  std::lock_guard lock(state.mutex);
  int& open = state.open_of_person[call_.identity.ToString()];
  ++open;
  counted_as_person_ = true;
  if (open > calls_.limits_.open_per_person_max) {
    return RetryableError("OVERLOADED", "too many streams of this caller are open",
                          calls_.limits_.retry_after);
  }
  return absl::OkStatus();
}

void OpenCall::Open() {
  const absl::Status status = Enter();
  if (status.ok()) SetAlarm();
  std::function<void(const absl::Status&)> opened;
  {
    std::lock_guard lock(mutex_);
    opened = std::move(hooks_.opened);
  }
  if (opened) opened(status);
}

void OpenCall::SetAlarm() {
  // The token's time is the clock's, the alarm's the system's.
  const absl::Time expiry = absl::Now() + (call_.identity.until - calls_.clock_.Now());
  const bool expires = expiry < call_.deadline;
  std::lock_guard lock(mutex_);
  if (closed_) return;
  alarm_.Set(absl::ToChronoTime(std::min(expiry, call_.deadline)),
             [weak = weak_from_this(), expires](bool rang) {
               const auto call = rang ? weak.lock() : nullptr;
               if (call == nullptr) return;
               call->End(expires
                             ? Error("TOKEN_EXPIRED", "the token has expired; open a new stream")
                             : Error("DEADLINE_EXCEEDED", "the stream's deadline has passed"));
             });
}

absl::Status OpenCall::Recheck() {
  const absl::Time now = absl::Now();
  if (now - checked_ < kRecheckEvery) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Identity identity,
                   calls_.authenticator_.Authenticate(Calls::CredentialsOf(call_),
                                                      calls_.clock_.Now()));
  if (identity.ToString() != call_.identity.ToString()) {
    return Error("UNAUTHENTICATED", "the key is another caller's by now");
  }
  checked_ = now;
  return absl::OkStatus();
}

void OpenCall::End(const absl::Status& why) {
  std::function<void(const absl::Status&)> ended;
  {
    std::lock_guard lock(mutex_);
    if (ended_ || closed_) return;
    ended_ = true;
    ended = std::move(hooks_.ended);
  }
  if (ended) ended(why);
}

grpc::Status OpenCall::Close(absl::Status status) {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    alarm_.Cancel();
  }
  Calls::State& state = *calls_.state_;
  {
    std::lock_guard lock(state.mutex);
    state.open_calls.erase(this);
    if (counted_as_person_) {
      const auto open = state.open_of_person.find(call_.identity.ToString());
      if (--open->second == 0) state.open_of_person.erase(open);
    }
  }
  state.running.With({"open"}).Add(-1);
  const grpc::Status shown = calls_.End(*method_, call_, std::move(status), *record_);
  state.open.fetch_sub(1);
  return shown;
}

}  // namespace rochdale::rpc
