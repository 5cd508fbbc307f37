// Whole bundles: the honest one verifies, and neither a changed bit nor an operator's lie does.
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/learning/exact_evaluator.h"
#include "nlohmann/json.hpp"
#include "services/verify/receipt.h"
#include "services/verify/rounds.h"
#include "services/verify/verify.h"
#include "tests/integration/verify/sample_cooperative.h"

namespace rochdale::verify {
namespace {

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/rochdale-verify-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return absl::StrCat(path_, "/", name); }

 private:
  std::string path_;
};

void WriteFile(const std::string& path, const std::string& bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

Report VerifyFolder(const std::string& path, const SampleCooperative& sample,
                    int64_t recomputed = 1) {
  Request request;
  request.bundle = path;
  request.origin = sample.origin();
  request.recomputed_rounds = recomputed;
  return Verify(request);
}

Report VerifySample(const SampleCooperative& sample, int64_t recomputed = kEveryRound) {
  const Folder folder;
  sample.Write(folder.path());
  return VerifyFolder(folder.path(), sample, recomputed);
}

const Check* Find(const Report& report, const std::string& name) {
  for (const Check& check : report.checks()) {
    if (check.name() == name) return &check;
  }
  return nullptr;
}

const SampleCooperative& Honest() {
  static const auto* sample = new SampleCooperative();
  return *sample;
}

}  // namespace

TEST_CASE("An honest bundle verifies", "[verify]") {
  learning::UseOneThread();
  const Report report = VerifySample(Honest());
  INFO(report.ToText());
  REQUIRE(report.ok());
  for (const char* name :
       {"files", "origin-key", "manifest-signature", "manifest", "log-checkpoint", "log-tree",
        "log-consistency", "log-entries", "authority", "documents", "contents", "decisions",
        "refused-unpaid", "rounds", "draw", "estimates", "credits", "recomputation",
        "comparisons", "transfers", "epochs", "payments", "statements"}) {
    INFO(name);
    REQUIRE(Find(report, name) != nullptr);
    CHECK_FALSE(Find(report, name)->Detail().empty());
  }
  CHECK(report.checks().size() == 23);
  // Something was looked at in every one of them.
  CHECK(absl::StartsWith(Find(report, "recomputation")->Detail(), "2 of 2 rounds"));
  CHECK(absl::StartsWith(Find(report, "decisions")->Detail(), "6 decisions made again, 0 not"));
  CHECK(absl::StartsWith(Find(report, "refused-unpaid")->Detail(), "1 of 6 updates refused"));
  CHECK(absl::StartsWith(Find(report, "credits")->Detail(), "5 credits"));
  CHECK(absl::StartsWith(Find(report, "comparisons")->Detail(), "1 A/B tests, 1 ended"));
  CHECK(absl::StartsWith(Find(report, "epochs")->Detail(), "2 epochs share 1500003"));
  CHECK(absl::StartsWith(Find(report, "statements")->Detail(), "5 statements"));
  const auto json = nlohmann::json::parse(report.ToJson(false));
  CHECK(json["ok"] == true);
  CHECK(json["checks"].size() == 23);
  CHECK(json["checks"][0].size() == 3);
}

TEST_CASE("A bundle of twelve members, paid by sampled Shapley, verifies", "[verify]") {
  const Report report = VerifySample(SampleCooperative(Fault::kNone, 12));
  INFO(report.ToText());
  CHECK(report.ok());
  for (const Fault fault : {Fault::kWrongSums, Fault::kWrongCredit, Fault::kWrongNext}) {
    CHECK_FALSE(VerifySample(SampleCooperative(fault, 12)).ok());
  }
}

TEST_CASE("Who is of one owner has one update, and a bundle that says otherwise is found",
          "[verify]") {
  const Report report = VerifySample(SampleCooperative(Fault::kNone, 5));
  INFO(report.ToText());
  CHECK(report.ok());
  CHECK(absl::StartsWith(Find(report, "refused-unpaid")->Detail(), "3 of 10 updates refused"));
  for (const Fault fault : {Fault::kOwnersSecond, Fault::kAttestationHidden, Fault::kOwnersApart,
                            Fault::kOwnerOfNobody, Fault::kOtherLineages}) {
    const Report lie = VerifySample(SampleCooperative(fault, 5), 0);
    INFO(static_cast<int>(fault) << "\n" << lie.ToText());
    CHECK_FALSE(lie.ok());
    CHECK_FALSE(Find(lie, "rounds")->ok());
  }
}

TEST_CASE("A bundle of a log that was restarted openly verifies", "[verify]") {
  const SampleCooperative sample(Fault::kNone, 3, /*restarted=*/true);
  const Report report = VerifySample(sample);
  INFO(report.ToText());
  CHECK(report.ok());
  CHECK(report.checks().size() == 23);
  CHECK(sample.origin().name != Honest().origin().name);
}

TEST_CASE("Bundles of every aggregation rule verify, and false ones do not", "[verify]") {
  using enum learning::AggregationRule;
  const learning::ModelSpec mlp{learning::ModelKind::kMlp, {16, 8, 4}};
  for (const auto rule :
       {kSampleWeighted, kCreditWeighted, kTrimmedMean, kMedian, kMultiKrum}) {
    INFO(learning::AggregationRuleName(rule));
    const Report report = VerifySample(SampleCooperative(Fault::kNone, 6, false, mlp, rule));
    INFO(report.ToText());
    CHECK(report.ok());
    for (const Fault fault : {Fault::kWrongNext, Fault::kOtherShare}) {
      if (fault == Fault::kOtherShare && !learning::IsWeighted(rule)) continue;
      CHECK_FALSE(VerifySample(SampleCooperative(fault, 6, false, mlp, rule)).ok());
    }
    // The bytes say one rule, the evidence another.
    const std::string name(learning::AggregationRuleName(rule));
    SampleCooperative other(Fault::kNone, 6, false, mlp, rule);
    for (const auto& [path, bytes] : std::map(other.files())) {
      if (!absl::StartsWith(path, "rounds/")) continue;
      std::string changed = bytes;
      changed.replace(changed.find("\"rule\":\"" + name), 8 + name.size(), "\"rule\":\"mean");
      other.Replace(path, changed);
    }
    CHECK_FALSE(VerifySample(other).ok());
  }
}

TEST_CASE("A bundle verifies as an archive, too", "[verify]") {
  const Folder folder;
  WriteFile(folder.File("bundle.tar"), Honest().Archive());
  const Report report = VerifyFolder(folder.File("bundle.tar"), Honest());
  INFO(report.ToText());
  CHECK(report.ok());
  std::string changed = Honest().Archive();
  changed[512 + 40] = static_cast<char>(changed[512 + 40] ^ 1);
  WriteFile(folder.File("bundle.tar"), changed);
  CHECK_FALSE(VerifyFolder(folder.File("bundle.tar"), Honest()).ok());
  for (const size_t cut : {size_t{0}, size_t{100}, changed.size() / 2}) {
    WriteFile(folder.File("bundle.tar"), Honest().Archive().substr(0, cut));
    CHECK_FALSE(VerifyFolder(folder.File("bundle.tar"), Honest()).ok());
  }
}

TEST_CASE("Any changed bit is found and its file named", "[verify]") {
  const uint64_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937_64 engine(seed);
  const Folder folder;
  Honest().Write(folder.path());
  REQUIRE(VerifyFolder(folder.path(), Honest(), 0).ok());
  for (const auto& [path, bytes] : Honest().files()) {
    for (int i = 0; i < 4; ++i) {
      // The first byte, the last one, and two at random.
      const size_t at = i == 0 ? 0 : i == 1 ? bytes.size() - 1 : engine() % bytes.size();
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ 1 << engine() % 8);
      WriteFile(folder.File(path), changed);
      const Report report = VerifyFolder(folder.path(), Honest(), 0);
      INFO(path << " at byte " << at);
      CHECK_FALSE(report.ok());
      const bool manifest = absl::StartsWith(path, "manifest.");
      CHECK(absl::StrContains(report.ToText(), manifest ? "manifest." : path));
    }
    WriteFile(folder.File(path), bytes);
  }
  CHECK(VerifyFolder(folder.path(), Honest()).ok());
}

TEST_CASE("A changed bit is found even where the operator signs the manifest again", "[verify]") {
  const uint64_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937_64 engine(seed);
  for (const auto& [path, bytes] : Honest().files()) {
    if (absl::StartsWith(path, "manifest.")) continue;
    SampleCooperative sample = Honest();
    std::string changed = bytes;
    const size_t at = engine() % bytes.size();
    changed[at] = static_cast<char>(changed[at] ^ 1 << engine() % 8);
    sample.Replace(path, changed);
    INFO(path << " at byte " << at);
    CHECK_FALSE(VerifySample(sample, 0).ok());
  }
}

TEST_CASE("Files that were mangled and signed again are refused without a crash",
          "[verify][long]") {
  const uint64_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937_64 engine(seed);
  std::vector<std::string> paths;
  for (const auto& [path, bytes] : Honest().files()) {
    if (!absl::StartsWith(path, "manifest.") && path != "log/origin.vkey") paths.push_back(path);
  }
  for (int i = 0; i < 600; ++i) {
    const std::string& path = paths[engine() % paths.size()];
    const std::string original = Honest().files().at(path);
    std::string bytes = original;
    for (int n = static_cast<int>(engine() % 3); n >= 0; --n) {
      const size_t at = bytes.empty() ? 0 : engine() % bytes.size();
      const size_t length = engine() % 20;
      switch (engine() % 5) {
        case 0: bytes = bytes.substr(0, at); break;
        case 1: bytes.erase(at, length); break;
        case 2: bytes.insert(at, std::string(length, static_cast<char>(engine()))); break;
        case 3: bytes.insert(at, bytes.substr(engine() % (bytes.size() + 1), length)); break;
        default:
          if (!bytes.empty()) bytes[at] = "0123456789-\"{}[],:.e"[engine() % 20];
      }
    }
    if (bytes == original) continue;
    SampleCooperative sample = Honest();
    sample.Replace(path, bytes);
    INFO(path << " of " << bytes.size() << " bytes");
    CHECK_FALSE(VerifySample(sample, engine() % 2).ok());
  }
}

TEST_CASE("Files that are missing, surplus or no files are refused", "[verify]") {
  const Folder folder;
  for (const auto& [path, bytes] : Honest().files()) {
    Honest().Write(folder.path());
    std::filesystem::remove(folder.File(path));
    INFO(path);
    CHECK_FALSE(VerifyFolder(folder.path(), Honest(), 0).ok());
  }
  Honest().Write(folder.path());
  for (const char* extra : {"blobs/x", "README", "log/tile/0/002", "rounds/a.json"}) {
    INFO(extra);
    WriteFile(folder.File(extra), "more");
    const Report report = VerifyFolder(folder.path(), Honest(), 0);
    CHECK_FALSE(report.ok());
    CHECK(absl::StrContains(report.ToText(), extra));
    std::filesystem::remove(folder.File(extra));
  }
  const std::string link = folder.File("blobs/link");
  SECTION("a link to a file") {
    std::filesystem::create_symlink("/etc/passwd", link);
    CHECK_FALSE(VerifyFolder(folder.path(), Honest(), 0).ok());
  }
  SECTION("a link to a folder") {
    std::filesystem::create_directory_symlink("/etc", link);
    CHECK_FALSE(VerifyFolder(folder.path(), Honest(), 0).ok());
  }
  SECTION("a pipe") {
    REQUIRE(::mkfifo(link.c_str(), 0600) == 0);
    CHECK_FALSE(VerifyFolder(folder.path(), Honest(), 0).ok());
  }
  SECTION("a name that is none") {
    WriteFile(folder.File("blobs/a b"), "x");
    CHECK_FALSE(VerifyFolder(folder.path(), Honest(), 0).ok());
  }
  SECTION("nothing at all") {
    CHECK_FALSE(VerifyFolder(folder.File("nowhere"), Honest(), 0).ok());
    CHECK_FALSE(VerifyFolder("/dev/null", Honest(), 0).ok());
  }
  SECTION("surplus in a place of its own, signed") {
    SampleCooperative sample = Honest();
    sample.Replace("notes.txt", "hello");
    CHECK_FALSE(VerifySample(sample, 0).ok());
  }
}

TEST_CASE("Whatever an operator signs, a lie is found", "[verify]") {
  struct Case {
    Fault fault;
    const char* check;  // that has to fail
  };
  const Case cases[] = {
      {Fault::kRefusedIsCredited, "refused-unpaid"},
      {Fault::kRefusedIsApplied, "refused-unpaid"},
      {Fault::kMildVerdict, "decisions"},
      {Fault::kVerdictAgainstNumbers, "decisions"},
      {Fault::kFloorStopsEarly, "decisions"},
      {Fault::kEarlyBeyondHalf, "decisions"},
      {Fault::kOtherProbeRows, "decisions"},
      {Fault::kUnsignedCommitment, "authority"},
      {Fault::kNoAuthority, "authority"},
      {Fault::kWrongSeed, "rounds"},
      {Fault::kChosenRows, "draw"},
      {Fault::kWrongSums, "recomputation"},
      {Fault::kWrongCredit, "estimates"},
      {Fault::kWrongCredit, "recomputation"},
      {Fault::kWrongNext, "recomputation"},
      {Fault::kWrongBlob, "recomputation"},
      {Fault::kWrongBlob, "manifest"},
      {Fault::kWrongShare, "epochs"},
      {Fault::kPaidTwice, "payments"},
      {Fault::kPaidNothing, "payments"},
      {Fault::kCreditCountedTwice, "epochs"},
      {Fault::kCreditLeftOut, "epochs"},
      {Fault::kOverdraft, "transfers"},
      {Fault::kMintedLater, "transfers"},
      {Fault::kOtherOrder, "transfers"},
      {Fault::kNotSettled, "epochs"},
      {Fault::kWrongStatement, "statements"},
      {Fault::kOtherTolerance, "statements"},
      {Fault::kWrongCreditFile, "credits"},
      {Fault::kOtherVerdict, "comparisons"},
      {Fault::kLateStop, "comparisons"},
      {Fault::kOtherRefusal, "estimates"},
      {Fault::kRefusedIsKept, "estimates"},
      {Fault::kValuesDropped, "estimates"},
      {Fault::kValuesDropped, "rounds"},
      {Fault::kValuesNeverTested, "rounds"},
      {Fault::kBoundDropped, "rounds"},
      {Fault::kBoundLifted, "rounds"},
      {Fault::kOtherValueSums, "estimates"},
      {Fault::kOtherReason, "rounds"},
      {Fault::kForgedHead, "log-consistency"},
      {Fault::kExpiredMandate, "contents"},
      {Fault::kOtherMandate, "contents"},
      {Fault::kStrangersPlan, "contents"},
      {Fault::kOtherBudget, "contents"},
      {Fault::kOtherKyc, "contents"},
      {Fault::kOtherParameter, "contents"},
      {Fault::kOtherOwner, "contents"},
      {Fault::kOtherLineages, "rounds"},
      {Fault::kTwoOfALineage, "rounds"},
      {Fault::kRestartByStranger, "contents"},
      {Fault::kRestartOfNothing, "contents"},
      {Fault::kRestartOfAnother, "log-entries"},
      {Fault::kRestartToldOtherwise, "contents"},
  };
  for (const Case& c : cases) {
    const Report report = VerifySample(SampleCooperative(c.fault));
    INFO(c.check << "\n" << report.ToText());
    const Check* check = Find(report, c.check);
    CHECK_FALSE(report.ok());
    REQUIRE(check != nullptr);
    CHECK_FALSE(check->ok());
  }
}

TEST_CASE("A key from outside decides whose log it is", "[verify]") {
  const Folder folder;
  Honest().Write(folder.path());
  Request request;
  request.bundle = folder.path();
  request.recomputed_rounds = 0;
  CHECK(Verify(request).ok());  // agrees with itself
  request.origin = Honest().origin();
  request.origin->key.bytes[0] ^= 1;
  CHECK_FALSE(Verify(request).ok());
  request.origin = Honest().origin();
  request.origin->name = "another.example.org";
  CHECK_FALSE(Verify(request).ok());
}

TEST_CASE("A witness's cosignature is checked where its key is in the bundle", "[verify]") {
  const auto witness = crypto::KeyPair::FromSeed({7});
  const crypto::NoteKey key{"witness.example.org", crypto::NoteAlgorithm::kCosignatureV1,
                            witness.public_key()};
  SampleCooperative sample = Honest();
  crypto::Note note = *crypto::ParseNote(sample.files().at("log/checkpoint"));
  sample.Replace("log/witness.vkey", key.ToString() + "\n");
  CHECK_FALSE(VerifySample(sample, 0).ok());  // it has not signed
  note.signatures.push_back(*crypto::CosignNote(key.name, witness, note.text, 1'760'000'000));
  sample.Replace("log/checkpoint", crypto::FormatNote(note));
  CHECK(VerifySample(sample, 0).ok());
  note.signatures.back() = *crypto::CosignNote(key.name, crypto::KeyPair::FromSeed({8}), note.text,
                                               1'760'000'000);
  sample.Replace("log/checkpoint", crypto::FormatNote(note));
  const Report report = VerifySample(sample, 0);
  CHECK_FALSE(Find(report, "log-checkpoint")->ok());
}

TEST_CASE("One update's credit and decision are checked alone", "[verify]") {
  const Folder folder;
  Honest().Write(folder.path());
  Request request;
  request.bundle = folder.path();
  request.origin = Honest().origin();
  request.part = Part::kCredit;
  request.update = Honest().credited_update();
  Report report = Verify(request);
  INFO(report.ToText());
  CHECK(report.ok());
  CHECK(absl::StartsWith(Find(report, "recomputation")->Detail(), "1 of 1"));
  request.part = Part::kDecision;
  request.update = Honest().refused_update();
  report = Verify(request);
  CHECK(report.ok());
  CHECK(absl::StartsWith(Find(report, "decisions")->Detail(), "1 decisions"));
  request.update = UpdateId{Uuid{{1, 2, 3}}};
  CHECK_FALSE(Verify(request).ok());
  request.part = Part::kCredit;
  CHECK_FALSE(Verify(request).ok());
}

TEST_CASE("A round whose blobs are not there is said not to be replayable", "[verify]") {
  const Folder folder;
  SampleCooperative sample = Honest();
  const auto blob = std::find_if(sample.files().begin(), sample.files().end(), [](const auto& f) {
    return absl::StartsWith(f.first, "blobs/");
  });
  sample.Write(folder.path());
  std::filesystem::remove(folder.File(blob->first));
  const Report report = VerifyFolder(folder.path(), sample, kEveryRound);
  CHECK(absl::StrContains(report.ToText(), "is missing"));
  CHECK_FALSE(Find(report, "manifest")->ok());
}

TEST_CASE("Receipts are checked by themselves", "[verify]") {
  const std::string text = Honest().Receipt(17);
  Report good;
  CheckReceipt(text, Honest().origin(), {}, good);
  INFO(good.ToText());
  CHECK(good.ok());
  crypto::NoteKey other = Honest().origin();
  other.key.bytes[3] ^= 1;
  Report wrong_key;
  CheckReceipt(text, other, {}, wrong_key);
  CHECK_FALSE(wrong_key.ok());
  for (size_t at = 0; at < text.size(); at += 7) {
    std::string changed = text;
    changed[at] = static_cast<char>(changed[at] ^ 2);
    Report report;
    CheckReceipt(changed, Honest().origin(), {}, report);
    INFO("byte " << at);
    CHECK_FALSE(report.ok());
  }
}

TEST_CASE("The program's exit status and first line", "[verify]") {
  const Folder folder;
  Honest().Write(folder.File("bundle"));
  WriteFile(folder.File("receipt"), Honest().Receipt(3));
  WriteFile(folder.File("key"), Honest().origin().ToString() + "\n");
  const auto run = [&](const std::string& arguments) {
    const int status = std::system(absl::StrCat(ROCHDALE_VERIFY_PROGRAM, " ", arguments, " > ",
                                                folder.File("out"), " 2>&1")
                                       .c_str());
    return WEXITSTATUS(status);
  };
  const auto output = [&] {
    std::ifstream in(folder.File("out"));
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const std::string bundle = folder.File("bundle");
  CHECK(run("bundle " + bundle) == 0);
  CHECK(absl::StartsWith(output(), "self-consistent only\n"));
  CHECK(run("bundle " + bundle + " --credits all --origin-key " + folder.File("key")) == 0);
  CHECK_FALSE(absl::StrContains(output(), "self-consistent only"));
  CHECK(run("bundle " + bundle + " --json --origin-key " + Honest().origin().ToString()) == 0);
  CHECK(nlohmann::json::parse(output())["ok"] == true);
  for (const char* part : {"log", "credit", "decision", "replay"}) {
    INFO(part);
    CHECK(run(absl::StrCat(part, " ", bundle)) == 0);
  }
  CHECK(run("receipt " + folder.File("receipt") + " --origin-key " + folder.File("key")) == 0);
  CHECK(run("receipt " + folder.File("receipt")) == 2);
  CHECK(run("") == 2);
  CHECK(run("bundle") == 2);
  CHECK(run("bundle " + bundle + " --credits few") == 2);
  CHECK(run("bundle " + bundle + " --origin-key nonsense") == 2);
  CHECK(run("bundle " + folder.File("nowhere")) == 1);
  WriteFile(bundle + "/log/checkpoint", "forged\n");
  CHECK(run("bundle " + bundle) == 1);
  CHECK(absl::StrContains(output(), "log/checkpoint"));
}

}  // namespace rochdale::verify
