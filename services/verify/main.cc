// rochdale-verify: checks an evidence bundle, or a part of one, without server or network.
// Exit status 0: everything holds; 1: something does not; 2: used wrongly.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/note.h"
#include "libs/learning/exact_evaluator.h"
#include "services/verify/balance_sheet.h"
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
  std::vector<std::string> witness_keys;
  std::vector<std::string> checkpoints;
  std::string tables;
  uint64_t entries_max = kEntriesMax;
  bool run_modules = false;
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
  if (!bytes.ok()) return absl::InvalidArgumentError(absl::StrCat(text, ": no key and no file"));
  return ParseKeyFile(*bytes);
}

// The keys that were given, of the log and of witnesses.
absl::Status ReadKeys(const Arguments& arguments, std::optional<crypto::NoteKey>& origin,
                      std::vector<crypto::NoteKey>& witnesses) {
  if (!arguments.origin_key.empty()) {
    ASSIGN_OR_RETURN(origin, ReadKey(arguments.origin_key));
  }
  for (const std::string& text : arguments.witness_keys) {
    ASSIGN_OR_RETURN(crypto::NoteKey key, ReadKey(text));
    if (key.algorithm != crypto::NoteAlgorithm::kCosignatureV1) {
      return absl::InvalidArgumentError(absl::StrCat(text, ": not the key of a witness"));
    }
    witnesses.push_back(std::move(key));
  }
  return absl::OkStatus();
}

// `books`: accounts are shown with the report, where it is not null.
int Show(const Report& report, bool self_consistent_only, bool json,
         const replay::Books* books = nullptr) {
  if (json) {
    auto all = nlohmann::json::parse(report.ToJson(self_consistent_only));
    if (books != nullptr) {
      all["accounts"] = BalanceSheetJson(*books);
      all["sums"] = books->Sums();
    }
    std::printf("%s\n", all.dump().c_str());
  } else {
    if (self_consistent_only) std::printf("self-consistent only\n");
    std::printf("%s\n", report.ToText().c_str());
    if (books != nullptr) std::printf("%s", BalanceSheetText(*books).c_str());
  }
  return report.ok() ? kHolds : kFails;
}

int RunPart(Part part, const Arguments& arguments) {
  Request request;
  request.part = part;
  request.tables = arguments.tables;
  request.entries_max = arguments.entries_max;
  request.bundle = arguments.path;
  request.run_modules = arguments.run_modules;
  const absl::Status keys = ReadKeys(arguments, request.origin, request.witnesses);
  if (!keys.ok()) return Misused(keys.message());
  for (const std::string& path : arguments.checkpoints) {
    const auto note = ReadFile(path, crypto::kNoteMaxBytes);
    if (!note.ok()) return Misused(note.status().message());
    request.heads.push_back(*note);
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
  replay::Books books;
  const Report report = Verify(request, &books);
  return Show(report, !request.origin, arguments.json,
              part == Part::kReplay ? &books : nullptr);
}

int RunReceipt(const Arguments& arguments) {
  if (arguments.origin_key.empty()) {
    return Misused("a receipt says nothing without the key of the log: --origin-key");
  }
  std::optional<crypto::NoteKey> origin;
  std::vector<crypto::NoteKey> witnesses;
  const absl::Status keys = ReadKeys(arguments, origin, witnesses);
  if (!keys.ok()) return Misused(keys.message());
  const auto text = ReadFile(arguments.path, 2 * crypto::kNoteMaxBytes);
  if (!text.ok()) return Misused(text.status().message());
  Report report;
  CheckReceipt(*text, *origin, witnesses, report);
  return Show(report, false, arguments.json);
}

CLI::App* AddPart(CLI::App& app, const char* name, const char* what, Arguments& arguments) {
  CLI::App* part = app.add_subcommand(name, what);
  part->add_option("path", arguments.path, "Directory (or ustar archive) of the bundle")
      ->required();
  part->add_option("--origin-key", arguments.origin_key,
                   "The log's verifier key, or the file that holds it, from a source you trust");
  part->add_option("--witness-key", arguments.witness_keys,
                   "Key of a witness that has to have cosigned the checkpoint; repeatable")
      ->take_all();
  part->add_flag("--json", arguments.json, "Print {\"ok\":..,\"checks\":[..]}");
  return part;
}

}  // namespace

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"Verifies what a cooperative did, from its evidence alone."};
  app.require_subcommand(1);
  CLI::App* bundle = AddPart(app, "bundle", "Everything", arguments);
  CLI::App* log = AddPart(app, "log", "Every hash and entry of the log, of a bundle or of a "
                                      "tlog-tiles directory by itself", arguments);
  CLI::App* receipt = AddPart(app, "receipt", "One receipt (path: its file)", arguments);
  CLI::App* credit = AddPart(app, "credit", "Rounds and credits, evaluated again", arguments);
  CLI::App* decision = AddPart(app, "decision", "Decisions, made again", arguments);
  CLI::App* replay = AddPart(app, "replay", "Every account's balance, from leaves; of a bundle "
                                            "or of a tlog-tiles directory", arguments);
  for (CLI::App* part : {bundle, credit}) {
    part->add_option("--credits", arguments.credits,
                     "Evaluate this many rounds again, the last ones first, or all");
    part->add_flag("--run-modules", arguments.run_modules,
                   "Also run TorchScript modules, which are the cooperative's programs, shut in "
                   "processes of their own, and hold their losses against those recorded");
  }
  for (CLI::App* part : {bundle, log, replay}) {
    part->add_option("--checkpoint", arguments.checkpoints,
                     "An earlier signed checkpoint (file) that this log has to continue; "
                     "repeatable")
        ->take_all();
  }
  for (CLI::App* part : {bundle, log, replay, credit, decision}) {
    part->add_option("--entries-max", arguments.entries_max,
                     absl::StrCat("Refuse a log of more entries, since memory grows with them (",
                                  kEntriesMax, ")"));
  }
  replay->add_option("--tables", arguments.tables,
                     "What rochdale-ledger-admin export-tables wrote: compare it with the log");
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
