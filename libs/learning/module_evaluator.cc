#include "libs/learning/module_evaluator.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/base/program.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/sha256.h"
#include "libs/learning/candidate_checks.h"
#include "libs/learning/module_wire.h"

namespace rochdale::learning {
namespace {

using wire::Operation;

absl::Status Unfit(absl::string_view what) { return Error("DEVICE_UNFIT", what); }

// What the spec pins, and nothing of ours but where libraries lie.
std::vector<std::string> EnvironmentOf(const TorchScriptSpec& spec) {
  std::vector<std::string> environment = {
      "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1", "LC_ALL=C",
      spec.blas_kernel == "MKL" ? "MKL_CBWR=COMPATIBLE"  // one branch on every processor
                                : absl::StrCat("OPENBLAS_CORETYPE=", spec.blas_kernel),
      absl::StrCat("ATEN_CPU_CAPABILITY=", spec.aten_capability)};
  const char* libraries = std::getenv("LD_LIBRARY_PATH");
  if (libraries != nullptr) environment.push_back(absl::StrCat("LD_LIBRARY_PATH=", libraries));
  return environment;
}

// The child's standard input is the socket; it has no other descriptor but /dev/null.
absl::StatusOr<pid_t> Spawn(std::vector<std::string> arguments,
                            std::vector<std::string> environment, int socket) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, socket, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  const std::vector<char*> argv = ArgumentPointers(arguments);
  const std::vector<char*> envp = ArgumentPointers(environment);
  pid_t pid = -1;
  const int failed = posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), envp.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return Unfit("modules need the program rochdale-module-evaluator");
  return pid;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModuleProcess>> ModuleProcess::Start(
    const ModelSpec& spec, absl::string_view module, const ModuleProcessOptions& options) {
  RETURN_IF_ERROR(ValidateModelSpec(spec));
  if (spec.exact()) return Error("BAD_REQUEST", "the spec is not that of a module");
  if (crypto::Sha256(module) != spec.torchscript.module) {
    return Error("MODULE_UNREGISTERED", "the module is not the one that the model names");
  }
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    return Unfit("there is no socket left for a module's process");
  }
  const std::string program =
      options.program.empty() ? ProgramBesideThis("rochdale-module-evaluator") : options.program;
  const auto pid = Spawn({program, absl::StrCat(options.memory_bytes)},
                         EnvironmentOf(spec.torchscript), sockets[1]);
  close(sockets[1]);
  if (!pid.ok()) {
    close(sockets[0]);
    return pid.status();
  }
  std::unique_ptr<ModuleProcess> process(new ModuleProcess(sockets[0], *pid, options));
  const std::string json = ModelSpecToJson(spec);
  const uint32_t json_size = static_cast<uint32_t>(json.size());
  ASSIGN_OR_RETURN(
      const std::string initial,
      process->Ask(static_cast<uint8_t>(Operation::kModule),
                   absl::StrCat(absl::string_view(reinterpret_cast<const char*>(&json_size), 4),
                                json, module)));
  ASSIGN_OR_RETURN(process->initial_, wire::ValuesOf<int32_t>(initial));
  if (static_cast<int64_t>(process->initial_.size()) != ParameterCount(spec)) {
    return Unfit("the module's process has other parameters");
  }
  RETURN_IF_ERROR(CheckOnGridBounds(process->initial_));
  return process;
}

ModuleProcess::~ModuleProcess() {
  close(socket_);
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

absl::StatusOr<std::string> ModuleProcess::Ask(uint8_t operation, absl::string_view bytes) {
  const absl::Time until = absl::Now() + options_.answer_max;
  const absl::Status sent = wire::Send(socket_, operation, bytes, until);
  if (absl::IsDeadlineExceeded(sent)) return sent;
  // One that has ended may have said why.
  absl::StatusOr<wire::Message> answer = wire::Receive(socket_, wire::kMessageBytesMax, until);
  if (absl::IsDeadlineExceeded(answer.status())) return answer.status();
  if (!answer.ok()) {
    return Unfit("the module's process ended: it may need more memory or time than it has");
  }
  if (answer->kind == 0) return std::move(answer->bytes);
  const std::pair<std::string, std::string> why =
      absl::StrSplit(answer->bytes, absl::MaxSplits('\n', 1));
  for (const absl::string_view known : {"BAD_REQUEST", "DEVICE_UNFIT", "EVALUATION_RANGE",
                                        "MODULE_UNREGISTERED", "PROBE_INVALID"}) {
    if (why.first == known) return Error(known, why.second.substr(0, 1'000));
  }
  return Error("MODULE_INVALID", why.second.substr(0, 1'000));
}

absl::Status ModuleProcess::CheckPerSample() {
  return Ask(static_cast<uint8_t>(Operation::kPerSample), "").status();
}

absl::Status ModuleProcess::SetRows(Rows rows) {
  RETURN_IF_ERROR(
      Ask(static_cast<uint8_t>(Operation::kRows), wire::PackRows(rows)).status());
  rows_ = rows.count();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> ModuleProcess::Losses(GridSpan parameters) {
  ASSIGN_OR_RETURN(const std::string bytes, Ask(static_cast<uint8_t>(Operation::kLosses),
                                                wire::BytesOf(parameters)));
  ASSIGN_OR_RETURN(std::vector<int64_t> losses, wire::ValuesOf<int64_t>(bytes));
  if (static_cast<int64_t>(losses.size()) != rows_) {
    return Error("MODULE_INVALID", "there are not as many losses as rows");
  }
  return losses;
}

absl::StatusOr<std::vector<float>> ModuleProcess::Gradient(GridSpan parameters) {
  ASSIGN_OR_RETURN(const std::string bytes, Ask(static_cast<uint8_t>(Operation::kGradient),
                                                wire::BytesOf(parameters)));
  ASSIGN_OR_RETURN(std::vector<float> gradient, wire::ValuesOf<float>(bytes));
  if (gradient.size() != parameters.size()) {
    return Error("MODULE_INVALID", "the gradient is not one of the parameters");
  }
  return gradient;
}

absl::Status ModuleEvaluator::UseModule(const ModelSpec& spec, ModuleBytes read) {
  if (process_ != nullptr && spec_ == spec) return absl::OkStatus();
  process_.reset();
  ASSIGN_OR_RETURN(const std::string module, read());
  ASSIGN_OR_RETURN(process_, ModuleProcess::Start(spec, module, options_));
  spec_ = spec;
  return absl::OkStatus();
}

absl::Status ModuleEvaluator::Ready(const ModelSpec& spec, Rows rows) {
  if (process_ == nullptr || spec_ != spec) {
    return Error("BAD_REQUEST", "the model's module was not given");
  }
  RETURN_IF_ERROR(CheckRows(rows, spec));
  return process_->SetRows(rows);
}

absl::Status ModuleEvaluator::Evaluate(GridSpan parameters, int64_t candidate,
                                       const EvaluationOptions& options, LossMatrix& matrix) {
  const absl::StatusOr<std::vector<int64_t>> losses = process_->Losses(parameters);
  if (ReasonOf(losses.status()) == "EVALUATION_RANGE" && options.violation != nullptr) {
    *options.violation = RangeViolation{candidate, "loss"};
  }
  if (!losses.ok()) {
    // One that ended or did not answer is started again for the next shard.
    if (ReasonOf(losses.status()) != "EVALUATION_RANGE") process_.reset();
    return losses.status();
  }
  std::copy(losses->begin(), losses->end(), matrix.losses.begin() + candidate * matrix.rows);
  return absl::OkStatus();
}

absl::StatusOr<LossMatrix> ModuleEvaluator::EvaluateCoalitions(
    const ModelSpec& spec, GridSpan base, absl::Span<const GridSpan> updates,
    absl::Span<const uint64_t> masks, Rows rows, const EvaluationOptions& options) {
  if (spec.exact()) return others_.EvaluateCoalitions(spec, base, updates, masks, rows, options);
  RETURN_IF_ERROR(CheckCoalitions(spec, base, updates, masks));
  RETURN_IF_ERROR(Ready(spec, rows));
  LossMatrix matrix = LossMatrix::OfZeros(masks.size(), rows.count());
  for (int64_t c = 0; c < matrix.candidates; ++c) {
    RETURN_IF_ERROR(Evaluate(ApplyUpdates(base, updates, masks[c]), c, options, matrix));
  }
  return matrix;
}

absl::StatusOr<LossMatrix> ModuleEvaluator::EvaluateCheckpoints(
    const ModelSpec& spec, absl::Span<const GridSpan> candidates, Rows rows,
    const EvaluationOptions& options) {
  if (spec.exact()) return others_.EvaluateCheckpoints(spec, candidates, rows, options);
  RETURN_IF_ERROR(CheckCheckpoints(spec, candidates));
  RETURN_IF_ERROR(Ready(spec, rows));
  LossMatrix matrix = LossMatrix::OfZeros(candidates.size(), rows.count());
  for (int64_t c = 0; c < matrix.candidates; ++c) {
    RETURN_IF_ERROR(Evaluate(candidates[c], c, options, matrix));
  }
  return matrix;
}

}  // namespace rochdale::learning
