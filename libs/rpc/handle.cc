#include "libs/rpc/handle.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <algorithm>
#include <chrono>
#include <exception>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/obs/log.h"
#include "libs/obs/metrics.h"
#include "libs/rpc/access.h"
#include "libs/rpc/calls_state.h"
#include "libs/rpc/method_tag.h"
#include "libs/rpc/status.h"

namespace rochdale::rpc {
namespace {

// The names under which dashboards for gRPC know the codes.
const char* CodeName(absl::StatusCode code) {
  static constexpr const char* kNames[] = {
      "OK",           "Canceled",           "Unknown",       "InvalidArgument",
      "DeadlineExceeded", "NotFound",       "AlreadyExists", "PermissionDenied",
      "ResourceExhausted", "FailedPrecondition", "Aborted",  "OutOfRange",
      "Unimplemented", "Internal",          "Unavailable",   "DataLoss",
      "Unauthenticated"};
  const auto i = static_cast<size_t>(code);
  return i < std::size(kNames) ? kNames[i] : "Unknown";
}

// The trace id of a W3C traceparent, or "".
std::string TraceIdOf(const std::string& traceparent) {
  const std::vector<absl::string_view> parts = absl::StrSplit(traceparent, '-');
  if (parts.size() < 4 || parts[0].size() != 2 || parts[1].size() != 32) return "";
  const auto is_hex = [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); };
  if (!std::all_of(parts[1].begin(), parts[1].end(), is_hex)) return "";
  if (parts[1].find_first_not_of('0') == absl::string_view::npos) return "";
  return std::string(parts[1]);
}

}  // namespace

Calls::Calls(const Clock& clock, IdSource& ids, const Authenticator& authenticator,
             const obs::Logger& logger, obs::Metrics& metrics, CallLimits limits)
    : clock_(clock),
      ids_(ids),
      authenticator_(authenticator),
      logger_(logger),
      limits_(limits),
      state_(std::make_unique<State>()) {
  state_->started = metrics.Counters("grpc_server_started_total", "Calls that were started.",
                                     {"grpc_type", "grpc_service", "grpc_method"});
  state_->handled =
      metrics.Counters("grpc_server_handled_total", "Calls that were answered, by code.",
                       {"grpc_type", "grpc_service", "grpc_method", "grpc_code"});
  state_->seconds = metrics.Histograms("grpc_server_handling_seconds", "Duration of calls.",
                                       {"grpc_type", "grpc_service", "grpc_method"},
                                       obs::LatencyBuckets());
  state_->running =
      metrics.Gauges("rochdale_rpc_running", "Calls that run now, by kind.", {"kind"});
}

Calls::~Calls() = default;

const Calls::Method& Calls::FindOrAddMethod(const std::string& path) {
  std::lock_guard lock(state_->mutex);
  // Paths come from registered methods, so that the map is as small as the API.
  std::unique_ptr<Method>& method = state_->methods[path];
  if (method == nullptr) {
    method = std::make_unique<Method>();
    method->path = path;
    const std::optional<MethodInfo> info = FindMethod(path);
    method->known = info.has_value();
    method->info = info.value_or(MethodInfo{"unknown", "unknown"});
    method->started = state_->started.With({std::string(MethodTypeName(method->info.type)),
                                            method->info.service, method->info.method});
  }
  return *method;
}

Credentials Calls::CredentialsOf(const Call& call) {
  return {call.Metadata("authorization"), call.Metadata(kOnBehalfOf), PeerOf(*call.context)};
}

absl::Status Calls::Enter(const Method& method, Call& call, int running, int running_max) {
  if (draining_.load()) {
    return RetryableError("UNAVAILABLE", "the server is stopping", limits_.retry_after);
  }
  if (running > running_max) {
    return RetryableError("OVERLOADED", "too many calls run at once", limits_.retry_after);
  }
  ASSIGN_OR_RETURN(call.identity, authenticator_.Authenticate(CredentialsOf(call), call.now));
  call.identity.roles = RolesOf(call.identity);
  if (!method.known || !MayCall(call.identity, method.info.roles)) {
    if (call.identity.IsAnonymous()) {
      return Error("UNAUTHENTICATED", "this call needs a token or a service's certificate");
    }
    return Error("PERMISSION_DENIED", absl::StrCat("not for ", call.identity.ToString()));
  }
  const absl::Time now = absl::Now();
  const absl::Duration longest =
      method.streams() ? limits_.stream_deadline_max : limits_.unary_deadline_max;
  if (call.context->deadline() == std::chrono::system_clock::time_point::max()) {
    call.deadline = now + (method.streams() ? longest : limits_.deadline_default);
  } else {
    call.deadline = std::min(absl::FromChrono(call.context->deadline()), now + longest);
  }
  if (call.deadline <= now) {
    return Error("DEADLINE_EXCEEDED", "the deadline passed before the call began");
  }
  return absl::OkStatus();
}

absl::Status Calls::RunBody(const Call& call,
                            absl::FunctionRef<absl::Status(const Call&)> body) {
  try {
    return body(call);
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("exception: ", error.what()));
  } catch (...) {
    return absl::InternalError("exception of an unknown type");
  }
}

void Calls::Report(const Method& method, const Call& call, const absl::Status& status,
                   const Record& record) {
  const absl::Duration took = absl::Now() - record.started;
  const std::string type(MethodTypeName(method.info.type));
  state_->handled
      .With({type, method.info.service, method.info.method, CodeName(status.code())})
      .Add();
  state_->seconds.With({type, method.info.service, method.info.method})
      .Observe(absl::ToDoubleSeconds(took));
  obs::Fields fields;
  fields.Text("method", method.path)
      .Text("trace_id", call.trace_id)
      .Text("caller", call.identity.ToString())
      .Text("code", CodeName(status.code()))
      .Number("latency_ms", absl::ToDoubleMilliseconds(took));
  if (!status.ok()) fields.Text("reason", ReasonOf(status));
  if (!record.error_id.empty()) fields.Text("error_id", record.error_id);
  if (!record.detail.empty()) fields.Text("detail", record.detail);
  logger_.Log(status.code() == absl::StatusCode::kInternal ? obs::LogLevel::kError
                                                           : obs::LogLevel::kInfo,
              "call", fields);
}

const Calls::Method& Calls::Begin(const grpc::ServerContextBase& context, Call& call,
                                  Record& record) {
  const Method& method = FindOrAddMethod(MethodPath(context));
  method.started.Add();
  call.now = clock_.Now();
  call.deadline = record.started;
  call.context = &context;
  call.draining = &draining_;
  call.trace_id = TraceIdOf(call.Metadata("traceparent"));
  if (call.trace_id.empty()) {
    call.trace_id = absl::StrReplaceAll(ids_.New(call.now).ToString(), {{"-", ""}});
  }
  return method;
}

grpc::Status Calls::End(const Method& method, const Call& call, absl::Status status,
                        Record& record) {
  if (!status.ok()) record.error_id = ids_.New(call.now).ToString();
  const absl::Status shown = Presentable(status, record.error_id);
  if (shown != status) record.detail = status.ToString();
  if (shown.code() != absl::StatusCode::kInternal) record.error_id.clear();
  Report(method, call, shown, record);
  return ToGrpc(shown);
}

grpc::Status Calls::Run(grpc::ServerContext* context,
                        absl::FunctionRef<absl::Status(const Call&)> body) {
  Record record;
  Call call;
  const Method& method = Begin(*context, call, record);
  std::atomic<int>& running = method.streams() ? state_->streams : state_->unary;
  const int running_max = method.streams() ? limits_.streams_max : limits_.unary_max;
  absl::Status status = Enter(method, call, running.fetch_add(1) + 1, running_max);
  if (status.ok()) {
    state_->running.With({method.streams() ? "stream" : "unary"}).Add(1);
    status = RunBody(call, body);
    state_->running.With({method.streams() ? "stream" : "unary"}).Add(-1);
  }
  running.fetch_sub(1);
  return End(method, call, std::move(status), record);
}

void Calls::Drain() {
  draining_.store(true);
  state_->EndAll(RetryableError("UNAVAILABLE", "the server is stopping", limits_.retry_after));
}

int Calls::running() const {
  return state_->unary.load() + state_->streams.load() + state_->open.load();
}

TaskThreads& Calls::patient() { return state_->patient; }
TaskThreads& Calls::prompt() { return state_->prompt; }

}  // namespace rochdale::rpc
