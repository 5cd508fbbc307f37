#include "services/witness/witness.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/crypto/add_checkpoint.h"
#include "libs/crypto/merkle.h"
#include "services/witness/witness_http.h"

namespace rochdale::witness {
namespace {

using crypto::Digest;

constexpr char kOrigin[] = "test.example/log";

crypto::KeyPair LogKey() { return crypto::KeyPair::FromSeed({1}); }
crypto::NoteKey LogName(const std::string& origin = kOrigin) {
  return {origin, crypto::NoteAlgorithm::kEd25519, LogKey().public_key()};
}

// A log in memory; `salt` makes another history.
class Log {
 public:
  explicit Log(std::string salt = "") : salt_(std::move(salt)) {}

  crypto::NodeReader Nodes() const {
    return [this](int level, uint64_t index) -> absl::StatusOr<Digest> {
      if (level == 0) return crypto::LeafHash(absl::StrCat(salt_, index));
      return crypto::NodeHash(Nodes()(level - 1, 2 * index).value(),
                              Nodes()(level - 1, 2 * index + 1).value());
    };
  }
  std::string Note(uint64_t size, const std::string& origin = kOrigin,
                   const crypto::KeyPair& key = LogKey()) const {
    return crypto::FormatNote(
        crypto::SignCheckpoint({origin, size, crypto::TreeRoot(size, Nodes()).value()}, key)
            .value());
  }
  std::string Request(uint64_t old_size, uint64_t size) const {
    crypto::AddCheckpoint request{old_size, {}, Note(size)};
    if (old_size > 0 && old_size < size) {
      request.proof = crypto::ConsistencyProof(old_size, size, Nodes()).value();
    }
    return request.ToText();
  }

 private:
  const std::string salt_;
};

class Folder {
 public:
  Folder() {
    std::string pattern = "/tmp/witness-test-XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct World {
  Folder folder;
  ManualClock clock{absl::FromUnixSeconds(1'700'000'000)};
  std::unique_ptr<Witness> witness = Open().value();

  absl::StatusOr<std::unique_ptr<Witness>> Open(uint8_t seed = 2) {
    return Witness::Open("witness.example/w", crypto::KeyPair::FromSeed({seed}), {LogName()},
                         folder.path() + "/state", clock);
  }
  std::string StateFile() const { return folder.path() + "/state/" + OriginName(kOrigin); }
};

TEST_CASE("a witness cosigns a log that only grows", "[witness]") {
  World world;
  const Log log;
  uint64_t old_size = 0;
  for (const uint64_t size : {1, 2, 3, 8, 8, 13, 300}) {
    CAPTURE(size);
    world.clock.Advance(absl::Seconds(1));
    const Answer answer = world.witness->Add(log.Request(old_size, size));
    CAPTURE(answer.text);
    REQUIRE(answer.verdict == Verdict::kCosigned);
    const crypto::Note note = crypto::ParseNote(log.Note(size) + answer.text).value();
    CHECK(crypto::VerifyCosignature(note, world.witness->verifier_key()).value() ==
          absl::ToUnixSeconds(world.clock.Now()));
    CHECK(crypto::OpenCheckpoint(*world.witness->Last(OriginName(kOrigin)), LogName())->size ==
          size);
    old_size = size;
  }
}

TEST_CASE("a witness refuses everything else", "[witness]") {
  World world;
  const Log log, fork("fork");
  REQUIRE(world.witness->Add(log.Request(0, 10)).verdict == Verdict::kCosigned);
  const std::string remembered = *world.witness->Last(OriginName(kOrigin));
  const crypto::AddCheckpoint good = crypto::AddCheckpoint::Parse(log.Request(10, 20)).value();
  const auto with = [&good](auto change) {
    crypto::AddCheckpoint request = good;
    change(request);
    return request.ToText();
  };
  struct Case {
    const char* what;
    std::string request;
    Verdict verdict;
    int code;
  };
  const std::vector<Case> cases = {
      {"a smaller checkpoint", log.Request(0, 5), Verdict::kOtherSize, 409},
      {"a smaller one, the old size below", log.Request(5, 9), Verdict::kOtherSize, 409},
      {"the old size above the new one", log.Request(10, 9), Verdict::kMalformed, 400},
      {"the old size unknown", log.Request(0, 20), Verdict::kOtherSize, 409},
      {"the old size wrong", log.Request(9, 20), Verdict::kOtherSize, 409},
      {"another root at the same size", fork.Request(10, 10), Verdict::kOtherSize, 409},
      {"another history", fork.Request(10, 20), Verdict::kInconsistent, 422},
      {"no proof", with([](auto& r) { r.proof.clear(); }), Verdict::kInconsistent, 422},
      {"a hash too many", with([](auto& r) { r.proof.push_back(r.proof[0]); }),
       Verdict::kInconsistent, 422},
      {"a hash changed", with([](auto& r) { r.proof[0].bytes[3] ^= 1; }), Verdict::kInconsistent,
       422},
      {"a proof at the same size",
       with([&](auto& r) { r.checkpoint = log.Note(10); }), Verdict::kInconsistent, 422},
      {"another log", with([&](auto& r) { r.checkpoint = log.Note(20, "other.example/log"); }),
       Verdict::kUnknownLog, 404},
      {"another key",
       with([&](auto& r) {
         r.checkpoint = log.Note(20, kOrigin, crypto::KeyPair::FromSeed({3}));
       }),
       Verdict::kNotSigned, 403},
      {"a size changed",
       with([](auto& r) { r.checkpoint.replace(r.checkpoint.find("\n20\n"), 4, "\n21\n"); }),
       Verdict::kNotSigned, 403},
      {"no checkpoint", "old 10\n\n", Verdict::kMalformed, 400},
      {"nonsense", "nonsense", Verdict::kMalformed, 400},
      {"nothing", "", Verdict::kMalformed, 400}};
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const Answer answer = world.witness->Add(c.request);
    CHECK(answer.verdict == c.verdict);
    const http::Response response =
        AnswerWitnessRequest(*world.witness, {http::Method::kPost, "/add-checkpoint", c.request});
    CHECK(response.code == c.code);
    if (c.verdict == Verdict::kOtherSize) {
      CHECK(response.body == "10\n");
      CHECK(response.type == "text/x.tlog.size");
    }
    CHECK(*world.witness->Last(OriginName(kOrigin)) == remembered);
  }
  CHECK(world.witness->Add(good.ToText()).verdict == Verdict::kCosigned);
}

TEST_CASE("a proof from the empty tree is no proof", "[witness]") {
  World world;
  const Log log;
  crypto::AddCheckpoint request{0, {Digest{}}, log.Note(5)};
  CHECK(world.witness->Add(request.ToText()).verdict == Verdict::kInconsistent);
  request.proof.clear();
  CHECK(world.witness->Add(request.ToText()).verdict == Verdict::kCosigned);
}

TEST_CASE("what a witness remembers outlives it", "[witness]") {
  World world;
  const Log log, fork("fork");
  REQUIRE(world.witness->Add(log.Request(0, 10)).verdict == Verdict::kCosigned);
  SECTION("and binds the next one") {
    CHECK(absl::IsFailedPrecondition(world.Open().status()));  // the first still has the folder
    world.witness.reset();
    world.witness = world.Open().value();
    CHECK(world.witness->Add(log.Request(0, 20)).known_size == 10);
    CHECK(world.witness->Add(fork.Request(10, 20)).verdict == Verdict::kInconsistent);
    CHECK(world.witness->Add(log.Request(10, 20)).verdict == Verdict::kCosigned);
  }
  SECTION("a witness with another key does not take it for its own") {
    world.witness.reset();
    CHECK(absl::IsFailedPrecondition(world.Open(9).status()));
  }
  SECTION("a changed file is found, not ignored") {
    world.witness.reset();
    std::string note;
    {
      std::ifstream in(world.StateFile());
      note.assign(std::istreambuf_iterator<char>(in), {});
    }
    for (size_t at = 0; at < note.size(); at += 7) {
      CAPTURE(at);
      std::string changed = note;
      changed[at] ^= 1;
      std::ofstream(world.StateFile()) << changed;
      CHECK(absl::IsFailedPrecondition(world.Open().status()));
    }
    std::ofstream(world.StateFile()) << "";
    CHECK(absl::IsFailedPrecondition(world.Open().status()));
    std::ofstream(world.StateFile()) << note;
    CHECK(world.Open().ok());
  }
  SECTION("what cannot be written is not cosigned") {
    // In the place of the file that is written first.
    std::filesystem::create_directory(world.StateFile() + ".next");
    const Answer answer = world.witness->Add(log.Request(10, 20));
    CHECK(answer.verdict == Verdict::kNotRemembered);
    CHECK(crypto::OpenCheckpoint(*world.witness->Last(OriginName(kOrigin)), LogName())->size == 10);
    std::filesystem::remove(world.StateFile() + ".next");
    CHECK(world.witness->Add(log.Request(10, 20)).verdict == Verdict::kCosigned);
  }
}

TEST_CASE("a witness answers two paths and nothing else", "[witness]") {
  World world;
  const Log log;
  const auto answer = [&](http::Method method, const std::string& path) {
    return AnswerWitnessRequest(*world.witness, {method, path, ""});
  };
  const std::string last = "/last-checkpoint/" + OriginName(kOrigin);
  CHECK(answer(http::Method::kGet, last).code == 404);
  REQUIRE(world.witness->Add(log.Request(0, 3)).verdict == Verdict::kCosigned);
  const http::Response note = answer(http::Method::kGet, last);
  CHECK(note.code == 200);
  CHECK(crypto::OpenCheckpoint(note.body, LogName())->size == 3);
  CHECK(answer(http::Method::kPost, last).code == 405);
  CHECK(answer(http::Method::kGet, "/add-checkpoint").code == 405);
  for (const char* path : {"/", "/last-checkpoint/", "/last-checkpoint/../state",
                           "/last-checkpoint/test.example/log", "/add-checkpoint/"}) {
    CAPTURE(path);
    CHECK(answer(http::Method::kGet, path).code == 404);
  }
}

TEST_CASE("a witness takes one key for each log, and a name that can be one", "[witness]") {
  Folder folder;
  const ManualClock clock(absl::UnixEpoch());
  const auto open = [&](const std::string& name, std::vector<crypto::NoteKey> logs) {
    return Witness::Open(name, crypto::KeyPair::FromSeed({2}), std::move(logs), folder.path(),
                         clock)
        .status();
  };
  CHECK(absl::IsInvalidArgument(open("a b", {LogName()})));
  CHECK(absl::IsInvalidArgument(open("", {LogName()})));
  CHECK(absl::IsInvalidArgument(open("w", {LogName(), LogName()})));
  crypto::NoteKey witness = LogName();
  witness.algorithm = crypto::NoteAlgorithm::kCosignatureV1;
  CHECK(absl::IsInvalidArgument(open("w", {witness})));
  CHECK(open("w", {LogName(), LogName("other")}).ok());
}

}  // namespace
}  // namespace rochdale::witness
