#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "libs/http/server.h"
#include "services/ledger/log_http.h"
#include "tests/integration/ledger/log_reader.h"

namespace rochdale::ledger::testing {
namespace {

struct Verdict {
  int exit_code = 0;
  std::string said;
};

// What log_verifier/main.go, which shares no code with us, says of the log at `url`.
Verdict Verify(const std::string& url, const std::string& key, const std::string& earlier = "") {
  if (!std::filesystem::exists(LOG_VERIFIER)) {
    FAIL(LOG_VERIFIER " was not built: scripts/install-deps installs golang-go and "
                      "golang-golang-x-mod-dev for it");
  }
  FILE* out = ::popen(
      absl::StrCat(LOG_VERIFIER " '", url, "' '", key, "' ", earlier, " 2>&1").c_str(), "r");
  REQUIRE(out != nullptr);
  Verdict verdict;
  char part[1024];
  for (size_t n; (n = std::fread(part, 1, sizeof part, out)) > 0;) verdict.said.append(part, n);
  const int status = ::pclose(out);
  verdict.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return verdict;
}

// Serves the log, with one bit of one file changed.
std::unique_ptr<http::Server> ServeFlipped(const PublishedLog& log, std::string path, size_t at) {
  return http::Server::Start({},
                             [&log, path = std::move(path), at](const http::Request& request) {
                               http::Response response = AnswerLogRequest(log, request.path);
                               if (request.path == path) response.body.at(at) ^= 1;
                               return response;
                             })
      .value();
}

TEST_CASE("a verifier that shares no code with ours accepts the log", "[ledger][http]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database, Silent());
  Reader reader(ledger);
  const std::string key = ledger.module->VerifierKey();
  TempDir folder;
  std::string earlier;
  for (const int more : {2, 253, 1, 400}) {
    Append(ledger, more);
    const int64_t size = Sign(ledger);
    CAPTURE(size);
    const Verdict verdict = Verify(reader.url(), key, earlier);
    CAPTURE(verdict.said);
    CHECK(verdict.exit_code == 0);
    CHECK(absl::StrContains(verdict.said, absl::StrCat(size, " entries verified")));
    CHECK(absl::StrContains(verdict.said, "consistent with") == !earlier.empty());
    earlier = absl::StrCat(folder.path(), "/", size);
    std::ofstream(earlier) << reader.Get("/checkpoint").body;
  }
}

TEST_CASE("a verifier that shares no code with ours refuses any change", "[ledger][http]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database, Silent());
  const std::string key = ledger.module->VerifierKey();
  const PublishedLog log(ledger.db());
  Append(ledger, 299);
  REQUIRE(Sign(ledger) == 300);
  TempDir folder;
  const std::string earlier = folder.path() + "/earlier";
  struct Case {
    std::string path;
    size_t at;
  };
  const std::vector<Case> cases = {{"/checkpoint", 30},          // size
                                   {"/checkpoint", 40},          // root
                                   {"/checkpoint", 130},         // signature
                                   {"/tile/0/000", 0},
                                   {"/tile/0/000", 8'191},
                                   {"/tile/0/001.p/44", 44 * 32 - 1},
                                   {"/tile/1/000.p/1", 5},
                                   {"/tile/entries/000", 1},     // a length
                                   {"/tile/entries/000", 2},     // the first entry
                                   {"/tile/entries/001.p/44", 100}};
  {
    const auto untouched = ServeFlipped(log, "/nothing", 0);
    const Verdict verdict = Verify(absl::StrCat("http://127.0.0.1:", untouched->port()), key);
    CAPTURE(verdict.said);
    REQUIRE(verdict.exit_code == 0);
  }
  for (const Case& c : cases) {
    CAPTURE(c.path, c.at);
    const auto flipped = ServeFlipped(log, c.path, c.at);
    const Verdict verdict = Verify(absl::StrCat("http://127.0.0.1:", flipped->port()), key);
    CAPTURE(verdict.said);
    CHECK(verdict.exit_code > 0);
  }
  // A checkpoint of the same log and key, but of another history.
  TestDatabase other_database({Migrations()});
  Ledger other(other_database, Silent());
  Append(other, 100);
  Sign(other);
  std::ofstream(earlier) << Reader(other).Get("/checkpoint").body;
  const auto whole = ServeFlipped(log, "/nothing", 0);
  const Verdict verdict = Verify(absl::StrCat("http://127.0.0.1:", whole->port()), key, earlier);
  CAPTURE(verdict.said);
  CHECK(verdict.exit_code > 0);
  const std::string strange = crypto::NoteKey{"test.rochdale.local/log",
                                              crypto::NoteAlgorithm::kEd25519,
                                              crypto::KeyPair::FromSeed({9}).public_key()}
                                  .ToString();
  CHECK(Verify(absl::StrCat("http://127.0.0.1:", whole->port()), strange).exit_code > 0);
}

}  // namespace
}  // namespace rochdale::ledger::testing
