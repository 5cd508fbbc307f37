// rochdale-ledger-admin: what an operator does to a ledger's database: audit it, export the tables
// that follow from its log, and let a log that was restored to an earlier point go on openly.
// Exit status 0: done, or nothing is wrong; 1: something is wrong or failed; 2: used wrongly.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "libs/base/clock.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/base64.h"
#include "libs/crypto/note.h"
#include "libs/crypto/sha256.h"
#include "libs/pg/database.h"
#include "libs/service/process.h"
#include "nlohmann/json.hpp"
#include "services/ledger/audit.h"
#include "services/ledger/restart.h"

namespace rochdale::ledger {
namespace {

constexpr int kDone = 0, kWrong = 1, kUsage = 2;
constexpr char kLastCheckpoint[] = "last-checkpoint";

struct Arguments {
  std::string database;
  std::string data_dir;
  std::string origin_key;
  std::string origin;
  std::string reason;
  std::string key_file;
  std::string in;
  std::string out;
  bool json = false;
};

int Failed(const absl::Status& status) {
  std::fprintf(stderr, "rochdale-ledger-admin: %s\n", std::string(status.message()).c_str());
  return kWrong;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in.is_open()) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  return std::string(std::istreambuf_iterator<char>(in), {});
}

absl::Status WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  out.flush();
  return out.good() ? absl::OkStatus()
                    : absl::UnavailableError(absl::StrCat("cannot write ", path));
}

absl::StatusOr<crypto::KeyPair> ReadKey(const std::string& path) {
  // A key that is missing must not be made here.
  if (!std::filesystem::exists(path)) {
    return absl::NotFoundError(absl::StrCat("there is no key ", path));
  }
  return service::LoadOrMakeKey(path);
}

// Empty where there is none.
absl::StatusOr<std::string> LastCheckpoint(const Arguments& arguments) {
  if (arguments.data_dir.empty()) return std::string();
  const std::string path = absl::StrCat(arguments.data_dir, "/", kLastCheckpoint);
  if (!std::filesystem::exists(path)) return std::string();
  return ReadFile(path);
}

pg::DatabaseOptions OptionsOf(const Arguments& arguments) {
  pg::DatabaseOptions options;
  options.connection = arguments.database;
  options.schema = "ledger";
  options.connections_max = 1;
  options.statement_timeout_max = absl::Hours(12);
  return options;
}

// Everything is one look at one state.
template <typename Fn>
auto InOneState(const Arguments& arguments, bool read_only, Fn&& fn) {
  pg::Database db(OptionsOf(arguments));
  return db.Transact(absl::Hours(24), fn,
                     {.isolation = pg::Isolation::kRepeatableRead,
                      .read_only = read_only,
                      .statement_timeout_max = absl::Hours(12)});
}

int Show(const Audit& audit, bool json) {
  if (json) {
    const nlohmann::json all = {{"ok", audit.problem_count == 0},
                                {"entries", audit.entries},
                                {"transfers", audit.transfers},
                                {"accounts", audit.accounts},
                                {"rows", audit.rows},
                                {"tree_heads", audit.heads},
                                {"problem_count", audit.problem_count},
                                {"problems", audit.problems}};
    std::printf("%s\n", all.dump().c_str());
  } else {
    for (const std::string& problem : audit.problems) std::printf("WRONG %s\n", problem.c_str());
    std::printf("%lld entries hashed again, %lld tree heads, %lld transfers between %lld accounts "
                "rebuilt, %lld rows compared: %lld problems\n",
                static_cast<long long>(audit.entries), static_cast<long long>(audit.heads),
                static_cast<long long>(audit.transfers), static_cast<long long>(audit.accounts),
                static_cast<long long>(audit.rows), static_cast<long long>(audit.problem_count));
  }
  return audit.problem_count == 0 ? kDone : kWrong;
}

int Check(const Arguments& arguments) {
  AuditOptions options;
  if (!arguments.origin_key.empty()) {
    const auto key = crypto::NoteKey::Parse(arguments.origin_key);
    if (!key.ok()) {
      Failed(key.status());
      return kUsage;
    }
    options.origin = *key;
  }
  const auto last = LastCheckpoint(arguments);
  if (!last.ok()) return Failed(last.status());
  options.last_checkpoint = *last;
  if (!arguments.json) {
    options.progress = [](int64_t entries) {
      std::fprintf(stderr, "%lld entries\n", static_cast<long long>(entries));
    };
  }
  const auto audit = InOneState(arguments, true, [&](pg::Transaction& tx) {
    return AuditDatabase(tx, options);
  });
  return audit.ok() ? Show(*audit, arguments.json) : Failed(audit.status());
}

int Export(const Arguments& arguments) {
  std::FILE* const out =
      arguments.out.empty() ? stdout : std::fopen(arguments.out.c_str(), "wb");
  if (out == nullptr) return Failed(absl::UnavailableError("cannot write the file"));
  absl::Status status = InOneState(arguments, true, [&](pg::Transaction& tx) {
    return ExportTables(tx, [out](const std::string& line) -> absl::Status {
      const bool written = std::fputs(line.c_str(), out) >= 0 && std::fputc('\n', out) != EOF;
      return written ? absl::OkStatus() : absl::UnavailableError("cannot write");
    });
  });
  const bool closed = out == stdout ? std::fflush(out) == 0 : std::fclose(out) == 0;
  if (status.ok() && !closed) status = absl::UnavailableError("cannot write");
  return status.ok() ? kDone : Failed(status);
}

int Plan(const Arguments& arguments) {
  const auto last = LastCheckpoint(arguments);
  if (!last.ok()) return Failed(last.status());
  const absl::Time now = SystemClock().Now();
  const auto body = InOneState(arguments, true, [&](pg::Transaction& tx) {
    return PlanRestart(tx, arguments.origin, *last, arguments.reason, now);
  });
  const absl::Status status = body.ok() ? WriteFile(arguments.out, *body) : body.status();
  if (!status.ok()) return Failed(status);
  std::printf("%s\n", body->c_str());
  return kDone;
}

absl::Status Sign(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::string body, ReadFile(arguments.in));
  ASSIGN_OR_RETURN(const crypto::KeyPair key, ReadKey(arguments.key_file));
  ASSIGN_OR_RETURN(const crypto::SignedDocument document,
                   crypto::SignDocument(key, kLogRestartType, body));
  const nlohmann::json json = {
      {"type", document.type},
      {"body", crypto::Base64Encode(crypto::Base64::kStandard, document.body)},
      {"public_key", document.public_key.ToString()},
      {"signature", crypto::HexEncode(document.signature.AsBytes())}};
  return WriteFile(arguments.out, json.dump());
}

absl::StatusOr<crypto::SignedDocument> ReadSigned(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto member = [&](const char* name) {
    return json.is_object() && json.contains(name) && json[name].is_string()
               ? json[name].get<std::string>()
               : std::string();
  };
  ASSIGN_OR_RETURN(const std::string body,
                   crypto::Base64Decode(crypto::Base64::kStandard, member("body")));
  ASSIGN_OR_RETURN(const std::string key, crypto::HexDecode(member("public_key")));
  ASSIGN_OR_RETURN(const std::string signature, crypto::HexDecode(member("signature")));
  return crypto::MakeSignedDocument(member("type"), body, key, signature);
}

// The checkpoint of the old origin would stop the ledger from starting under the new one.
absl::Status PutAside(const Arguments& arguments) {
  const std::string path = absl::StrCat(arguments.data_dir, "/", kLastCheckpoint);
  if (!std::filesystem::exists(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  const std::string aside =
      absl::StrCat(path, ".", crypto::Sha256(bytes).ToString().substr(0, 16));
  std::error_code error;
  std::filesystem::rename(path, aside, error);
  if (error) return absl::UnavailableError(absl::StrCat("cannot rename ", path));
  std::printf("the last checkpoint of the old origin is in %s\n", aside.c_str());
  return absl::OkStatus();
}

absl::Status Restart(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const crypto::SignedDocument by_governor, ReadSigned(arguments.in));
  ASSIGN_OR_RETURN(const crypto::KeyPair key, ReadKey(arguments.key_file));
  ASSIGN_OR_RETURN(const crypto::SignedDocument by_operator,
                   crypto::SignDocument(key, kLogRestartType, by_governor.body));
  const absl::Time now = SystemClock().Now();
  ASSIGN_OR_RETURN(const RestartDone done, InOneState(arguments, false, [&](pg::Transaction& tx) {
                     return RestartLog(tx, key.public_key(), by_operator, by_governor, now);
                   }));
  RETURN_IF_ERROR(PutAside(arguments));
  std::printf("%s: the log goes on with %lld entries%s%s\n",
              done.was_done ? "it was done before" : "done", static_cast<long long>(done.size),
              done.archive.empty() ? "" : "; the old tables are in the schema ",
              done.archive.c_str());
  return absl::OkStatus();
}

}  // namespace

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"Audits a ledger's database, exports it, and restarts a restored log openly."};
  app.require_subcommand(1);
  CLI::App* check = app.add_subcommand(
      "check", "Hash every leaf again, rebuild every account, compare every table");
  CLI::App* tables = app.add_subcommand(
      "export-tables", "Write what follows from the log as JSON lines, for rochdale-verify replay");
  CLI::App* plan = app.add_subcommand(
      "plan-restart", "Write the statement of what a restored database has lost");
  CLI::App* sign = app.add_subcommand("sign-restart", "Sign the statement as a governor");
  CLI::App* restart = app.add_subcommand(
      "restart-log", "Let the restored log go on under the statement's new origin");
  for (CLI::App* part : {check, tables, plan, restart}) {
    part->add_option("--database", arguments.database, "libpq connection string or URI")
        ->envname("ROCHDALE_DATABASE")
        ->required();
  }
  for (CLI::App* part : {check, plan, restart}) {
    part->add_option("--data-dir", arguments.data_dir,
                     "The ledger's data directory, with its file last-checkpoint")
        ->required(part != check);
  }
  check->add_option("--origin-key", arguments.origin_key, "The log's verifier key");
  check->add_flag("--json", arguments.json, "Print JSON");
  tables->add_option("--out", arguments.out, "File to write; default: standard output");
  plan->add_option("--origin", arguments.origin, "Name of the log from now on")->required();
  plan->add_option("--reason", arguments.reason, "Why it was restored, in words")->required();
  plan->add_option("--out", arguments.out, "File to write the statement to")->required();
  sign->add_option("--statement", arguments.in, "The statement")->required();
  sign->add_option("--key-file", arguments.key_file, "The governor's key")->required();
  sign->add_option("--out", arguments.out, "File to write the signed statement to")->required();
  restart->add_option("--statement", arguments.in, "The statement, signed by the governor")
      ->required();
  restart->add_option("--log-key-file", arguments.key_file, "The log's key: the operator signs")
      ->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  }
  if (check->parsed()) return Check(arguments);
  if (tables->parsed()) return Export(arguments);
  if (plan->parsed()) return Plan(arguments);
  const absl::Status status = sign->parsed() ? Sign(arguments) : Restart(arguments);
  return status.ok() ? kDone : Failed(status);
}

}  // namespace rochdale::ledger

int main(int argc, char** argv) { return rochdale::ledger::Main(argc, argv); }
