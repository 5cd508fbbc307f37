// Flags and environment -> plain fields of one config struct, read once at start.
//
//   struct LedgerConfig {
//     int64_t port = 7443;
//     absl::Duration grace = absl::Seconds(20);
//     Secret key;
//   };
//   config::Flags flags("rochdale-ledger", "The ledger service.");
//   LedgerConfig c;
//   flags.Int("port", "gRPC port; 0: any free port", 0, 65535, &c.port);
//   ...
//   ASSIGN_OR_RETURN(const config::Outcome outcome, flags.Parse(argc, argv));
//   if (outcome == config::Outcome::kExit) return ...;   // --help or --version was printed
//
// Each option is `--name VALUE` and the variable ROCHDALE_NAME (upper case, dashes as underscores).
// A flag wins over the environment, which wins over the default (the value the field has when it
// is declared). Every bad option is reported at once. Names are lower-case words with dashes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace rochdale::config {

// A value that must not appear in logs or messages: it has no stream operator and no formatter.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  const std::string& Reveal() const { return value_; }
  bool empty() const { return value_.empty(); }

 private:
  std::string value_;
};

enum class Outcome {
  kRun,   // every field is set
  kExit,  // --help or --version was given and answered on standard output: exit with 0
};

// What one option is: for the documentation.
struct OptionInfo {
  std::string flag;         // "--grpc-port"
  std::string variable;     // "ROCHDALE_GRPC_PORT"
  std::string type;         // "TEXT", "INT in [0, 65535]", ...
  std::string default_text;
  std::string help;
};

// Not thread-safe. Fields must outlive Parse.
class Flags {
 public:
  Flags(absl::string_view program, absl::string_view description);
  ~Flags();

  void Text(absl::string_view name, absl::string_view help, std::string* field);
  void Int(absl::string_view name, absl::string_view help, int64_t min, int64_t max,
           int64_t* field);
  // "true" / "false"; a bare flag means true.
  void Bool(absl::string_view name, absl::string_view help, bool* field);
  // As Go writes them: "250ms", "15m", "1h30m".
  void Duration(absl::string_view name, absl::string_view help, absl::Duration min,
                absl::Duration max, absl::Duration* field);
  // One of `allowed`.
  void Choice(absl::string_view name, absl::string_view help, std::vector<std::string> allowed,
              std::string* field);
  // Comma-separated.
  void List(absl::string_view name, absl::string_view help, std::vector<std::string>* field);
  // `--name-file PATH` / ROCHDALE_NAME_FILE: the content of the file less trailing line feeds, at
  // most 64 KiB. There is no way to give a secret on the command line or in the environment.
  void SecretFile(absl::string_view name, absl::string_view help, Secret* field);

  // INVALID_ARGUMENT with every problem: unknown flag, malformed or out-of-bounds value, secret
  // file that cannot be read. A field whose option is bad keeps its default.
  absl::StatusOr<Outcome> Parse(int argc, const char* const* argv);

  std::vector<OptionInfo> Options() const;
  std::string Help() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rochdale::config
