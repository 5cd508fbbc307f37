#include <catch2/catch.hpp>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>

#include "services/attribution/config.h"
#include "services/attribution/run_tokens.h"

namespace rochdale::attribution {
namespace {

RunId Run(uint8_t n) {
  RunId run;
  run.value.bytes.fill(n);
  return run;
}

SessionId Session(uint8_t n) {
  SessionId session;
  session.value.bytes.fill(n);
  return session;
}

TEST_CASE("tokens open for their run and session only") {
  const Secrets secrets(config::Secret(std::string(32, 'k')));
  const auto run = secrets.Open(secrets.RunToken(Run(1)));
  REQUIRE(run.has_value());
  CHECK(run->run == Run(1));
  CHECK(run->worker.empty());
  const auto session = secrets.Open(secrets.SessionToken(Run(1), Session(2)));
  REQUIRE(session.has_value());
  CHECK(session->run == Run(1));
  CHECK(session->worker == Session(2).ToString());
  // The same inputs give the same token: a repeated job has the same spec.
  CHECK(secrets.RunToken(Run(1)) == secrets.RunToken(Run(1)));
  CHECK(secrets.RoundSeed({}) != secrets.SplitSeed({}, {}));
}

TEST_CASE("a token that is changed anywhere does not open") {
  const Secrets secrets(config::Secret(std::string(32, 'k')));
  for (const std::string& token :
       {secrets.RunToken(Run(1)), secrets.SessionToken(Run(1), Session(2))}) {
    for (size_t i = 0; i < token.size(); ++i) {
      std::string changed = token;
      changed[i] = changed[i] == '0' ? '1' : '0';
      CHECK_FALSE(secrets.Open(changed).has_value());
      CHECK_FALSE(secrets.Open(token.substr(0, i)).has_value());
    }
    CHECK_FALSE(secrets.Open(token + "0").has_value());
  }
  const Secrets others(config::Secret(std::string(32, 'j')));
  CHECK_FALSE(others.Open(secrets.RunToken(Run(1))).has_value());
}

TEST_CASE("the server secret is made once, for its owner only") {
  const std::string path =
      "/tmp/rochdale-secret-" + std::to_string(static_cast<long>(std::rand())) + ".test";
  std::remove(path.c_str());
  const auto made = LoadOrCreateServerSecret(path);
  REQUIRE(made.ok());
  CHECK(made->Reveal().size() == 64);
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  CHECK(LoadOrCreateServerSecret(path)->Reveal() == made->Reveal());
  std::ofstream(path) << "short";
  CHECK_FALSE(LoadOrCreateServerSecret(path).ok());
  std::remove(path.c_str());
}

}  // namespace
}  // namespace rochdale::attribution
