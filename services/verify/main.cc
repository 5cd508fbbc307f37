// rochdale-verify: checks an evidence bundle, or a part of one, without server or network.
// Exit status 0: everything holds; 1: something does not; 2: used wrongly.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "libs/crypto/note.h"
#include "libs/learning/exact_evaluator.h"
#include "services/verify/json.h"
#include "services/verify/manifest.h"
#include "services/verify/receipt.h"
#include "services/verify/rounds.h"
#include "services/verify/verify.h"

namespace rochdale::verify {
namespace {

constexpr int kHolds = 0, kFails = 1, kUsage = 2;

struct Arguments {
  std::string path;
  std::string origin_key;
  std::string credits = "1";
  std::string update;
  bool json = false;
};

int Misused(absl::string_view why) {
  std::fprintf(stderr, "rochdale-verify: %s\n", std::string(why).c_str());
  return kUsage;
}

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t bytes_max) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes(bytes_max + 1, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!in.is_open() || in.bad()) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  bytes.resize(static_cast<size_t>(in.gcount()));
  if (bytes.size() > bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is too long"));
  }
  return bytes;
}

// A verifier key, or the file that holds one.
absl::StatusOr<crypto::NoteKey> ReadKey(const std::string& text) {
  const auto key = crypto::NoteKey::Parse(text);
  if (key.ok()) return key;
  const auto bytes = ReadFile(text, 4096);
  if (!bytes.ok()) return absl::InvalidArgumentError("--origin-key is neither a key nor a file");
  return ParseKeyFile(*bytes);
}

int Show(const Report& report, bool self_consistent_only, bool json) {
  if (self_consistent_only && !json) std::printf("self-consistent only\n");
  std::printf("%s\n", json ? report.ToJson(self_consistent_only).c_str()
                           : report.ToText().c_str());
  return report.ok() ? kHolds : kFails;
}

int RunPart(Part part, const Arguments& arguments) {
  Request request;
  request.part = part;
  request.bundle = arguments.path;
  if (!arguments.origin_key.empty()) {
    const auto key = ReadKey(arguments.origin_key);
    if (!key.ok()) return Misused(key.status().message());
    request.origin = *key;
  }
  const auto count = ParseDecimal(arguments.credits);
  if (arguments.credits != "all" && (!count.ok() || *count < 0)) {
    return Misused("--credits takes a number of rounds or all");
  }
  request.recomputed_rounds = count.ok() ? *count : kEveryRound;
  if (!arguments.update.empty()) {
    const auto update = UpdateId::Parse(arguments.update);
    if (!update.ok()) return Misused("an update is named by its id (UUID)");
    request.update = *update;
  }
  return Show(Verify(request), !request.origin, arguments.json);
}

int RunReceipt(const Arguments& arguments) {
  if (arguments.origin_key.empty()) {
    return Misused("a receipt says nothing without the key of the log: --origin-key");
  }
  const auto key = ReadKey(arguments.origin_key);
  if (!key.ok()) return Misused(key.status().message());
  const auto text = ReadFile(arguments.path, 2 * crypto::kNoteMaxBytes);
  if (!text.ok()) return Misused(text.status().message());
  Report report;
  CheckReceipt(*text, *key, report);
  return Show(report, false, arguments.json);
}

CLI::App* AddPart(CLI::App& app, const char* name, const char* what, Arguments& arguments) {
  CLI::App* part = app.add_subcommand(name, what);
  part->add_option("path", arguments.path, "Directory (or ustar archive) of the bundle")
      ->required();
  part->add_option("--origin-key", arguments.origin_key,
                   "The log's verifier key, or the file that holds it, from a source you trust");
  part->add_flag("--json", arguments.json, "Print {\"ok\":..,\"checks\":[..]}");
  return part;
}

}  // namespace

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"Verifies what a cooperative did, from its evidence alone."};
  app.require_subcommand(1);
  CLI::App* bundle = AddPart(app, "bundle", "Everything", arguments);
  CLI::App* log = AddPart(app, "log", "Manifest, log, authority and documents", arguments);
  CLI::App* receipt = AddPart(app, "receipt", "One receipt (path: its file)", arguments);
  CLI::App* credit = AddPart(app, "credit", "Rounds and credits, evaluated again", arguments);
  CLI::App* decision = AddPart(app, "decision", "Decisions, made again", arguments);
  CLI::App* replay = AddPart(app, "replay", "Balances and payments, from leaves", arguments);
  for (CLI::App* part : {bundle, credit}) {
    part->add_option("--credits", arguments.credits,
                     "Evaluate this many rounds again, the last ones first, or all");
  }
  for (CLI::App* part : {credit, decision}) {
    part->add_option("update", arguments.update, "Only this update (UUID)");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kHolds : kUsage;
  }
  if (receipt->parsed()) return RunReceipt(arguments);
  learning::UseOneThread();
  if (log->parsed()) return RunPart(Part::kLog, arguments);
  if (credit->parsed()) return RunPart(Part::kCredit, arguments);
  if (decision->parsed()) return RunPart(Part::kDecision, arguments);
  if (replay->parsed()) return RunPart(Part::kReplay, arguments);
  return RunPart(Part::kBundle, arguments);
}

}  // namespace rochdale::verify

// What a hostile bundle makes too large for this machine is not verified.
int main(int argc, char** argv) {
  try {
    return rochdale::verify::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rochdale-verify: %s\n", error.what());
    return 1;
  }
}
