#include "libs/config/flags.h"

#include <stdlib.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"

namespace rochdale::config {
namespace {

// A variable of the environment for the life of a test.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }

 private:
  const char* name_;
};

class File {
 public:
  explicit File(const std::string& content) {
    char path[] = "/tmp/rochdale_flags_XXXXXX";
    const int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    close(fd);
    path_ = path;
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~File() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Config {
  int64_t port = 7443;
  std::string name = "here";
  bool plaintext = false;
  absl::Duration grace = absl::Seconds(20);
  std::string level = "info";
  std::vector<std::string> peers;
  Secret key;
};

struct Parsed {
  Config config;
  absl::StatusOr<Outcome> outcome = Outcome::kRun;
};

Parsed Parse(const std::vector<std::string>& arguments) {
  Parsed parsed;
  Config& c = parsed.config;
  Flags flags("rochdale-test", "A test.");
  flags.Int("port", "The port.", 0, 65'535, &c.port);
  flags.Text("name", "The name.", &c.name);
  flags.Bool("plaintext", "No TLS.", &c.plaintext);
  flags.Duration("stop-grace", "Grace.", absl::ZeroDuration(), absl::Hours(1), &c.grace);
  flags.Choice("log-level", "Level.", {"debug", "info"}, &c.level);
  flags.List("peers", "Peers.", &c.peers);
  flags.SecretFile("key", "The key.", &c.key);
  std::vector<const char*> argv = {"rochdale-test"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  parsed.outcome = flags.Parse(static_cast<int>(argv.size()), argv.data());
  return parsed;
}

TEST_CASE("without anything the defaults stand", "[config]") {
  const Parsed parsed = Parse({});
  REQUIRE(parsed.outcome.ok());
  CHECK(*parsed.outcome == Outcome::kRun);
  CHECK(parsed.config.port == 7443);
  CHECK(parsed.config.grace == absl::Seconds(20));
  CHECK_FALSE(parsed.config.plaintext);
  CHECK(parsed.config.key.empty());
}

TEST_CASE("flags set fields of every type", "[config]") {
  const File secret("s3cret\n\n");
  const Parsed parsed =
      Parse({"--port", "0", "--name=x y", "--plaintext", "--stop-grace", "1m30s", "--log-level",
             "debug", "--peers", "a:1, b:2", "--key-file", secret.path()});
  REQUIRE(parsed.outcome.ok());
  CHECK(parsed.config.port == 0);
  CHECK(parsed.config.name == "x y");
  CHECK(parsed.config.plaintext);
  CHECK(parsed.config.grace == absl::Seconds(90));
  CHECK(parsed.config.level == "debug");
  CHECK(parsed.config.peers == std::vector<std::string>{"a:1", "b:2"});
  CHECK(parsed.config.key.Reveal() == "s3cret");
}

TEST_CASE("the environment is read, a flag wins over it", "[config]") {
  const Variable port("ROCHDALE_PORT", "1234"), grace("ROCHDALE_STOP_GRACE", "5s"),
      plain("ROCHDALE_PLAINTEXT", "true");
  Parsed parsed = Parse({});
  REQUIRE(parsed.outcome.ok());
  CHECK(parsed.config.port == 1234);
  CHECK(parsed.config.grace == absl::Seconds(5));
  CHECK(parsed.config.plaintext);
  parsed = Parse({"--port", "99", "--plaintext", "false"});
  REQUIRE(parsed.outcome.ok());
  CHECK(parsed.config.port == 99);
  CHECK_FALSE(parsed.config.plaintext);
}

TEST_CASE("every problem is reported at once", "[config]") {
  const Variable grace("ROCHDALE_STOP_GRACE", "soon");
  const Parsed parsed = Parse({"--port", "65536", "--log-level", "loud", "--plaintext", "maybe",
                               "--unknown", "--key-file", "/nonexistent"});
  REQUIRE_FALSE(parsed.outcome.ok());
  CHECK(parsed.outcome.status().code() == absl::StatusCode::kInvalidArgument);
  const std::string message(parsed.outcome.status().message());
  for (const char* part :
       {"--port", "--log-level", "--plaintext", "--unknown", "--key-file", "ROCHDALE_STOP_GRACE"}) {
    INFO(part << " in " << message);
    CHECK(absl::StrContains(message, part));
  }
  CHECK(parsed.config.port == 7443);
}

TEST_CASE("bad numbers are refused", "[config]") {
  for (const std::string text : {"-1", "x", "1.5", "", "99999999999999999999"}) {
    INFO("'" << text << "'");
    CHECK_FALSE(Parse({"--port=" + text}).outcome.ok());
  }
}

TEST_CASE("a flag given twice is refused", "[config]") {
  CHECK_FALSE(Parse({"--port", "1", "--port", "2"}).outcome.ok());
}

TEST_CASE("secrets come from files only", "[config]") {
  CHECK_FALSE(Parse({"--key", "s3cret"}).outcome.ok());
  const File empty("\n"), big(std::string((64 << 10) + 1, 'x'));
  CHECK_FALSE(Parse({"--key-file", empty.path()}).outcome.ok());
  CHECK_FALSE(Parse({"--key-file", big.path()}).outcome.ok());
  const File secret("abc");
  const Variable variable("ROCHDALE_KEY_FILE", secret.path().c_str());
  const Parsed parsed = Parse({});
  REQUIRE(parsed.outcome.ok());
  CHECK(parsed.config.key.Reveal() == "abc");
}

TEST_CASE("help exits", "[config]") {
  const Parsed parsed = Parse({"--help"});
  REQUIRE(parsed.outcome.ok());
  CHECK(*parsed.outcome == Outcome::kExit);
}

}  // namespace
}  // namespace rochdale::config
