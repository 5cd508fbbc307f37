#include "libs/crypto/entry.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "libs/base/errors.h"
#include "libs/crypto/entry_kinds.h"
#include "tests/unit/crypto/sample_entries.h"

namespace rochdale::crypto {
namespace {

Entry Minimal() {
  Entry entry;
  entry.event_id = {SampleUuid(1)};
  entry.service = Service::kLedger;
  entry.kind = 7;
  entry.link = ChainLink::kPay;
  return entry;
}

std::string ReasonOfEncoding(const Entry& entry) { return ReasonOf(EncodeEntry(entry).status()); }
std::string ReasonOfDecoding(absl::string_view bytes) {
  return ReasonOf(DecodeEntry(bytes).status());
}

// Decoding either refuses, or what it accepts encodes to the same bytes.
void CheckInjective(const std::string& bytes) {
  const auto entry = DecodeEntry(bytes);
  if (!entry.ok()) {
    REQUIRE(ReasonOf(entry.status()) == "ENTRY_INVALID");
    return;
  }
  const auto again = EncodeEntry(*entry);
  REQUIRE(again.ok());
  REQUIRE(*again == bytes);
}

TEST_CASE("The layout is that of the specification") {
  Entry entry;
  entry.event_id = {SampleUuid(0x11)};
  entry.time_us = 0x0102030405060708;
  entry.service = Service::kFilter;
  entry.kind = 0x00cd;
  entry.link = ChainLink::kPath;
  entry.cooperative = {SampleUuid(0x22)};
  entry.subject = SampleUuid(0x33);
  entry.authorised_by = {SampleUuid(0x44)};
  entry.fields = {Field::U64(1, 5), Field::I64(2, -1), Field::Bytes(3, "ab"),
                  Field::Text(0x0400, "\xc3\xa9")};
  const auto repeat = [](const char* byte) {
    std::string text;
    for (int i = 0; i < 16; ++i) text += byte;
    return text;
  };
  CHECK(HexEncode(*EncodeEntry(entry)) ==
        "0001" + repeat("11") + "0102030405060708" + "02" + "00cd" + "03" + repeat("22") +
            repeat("33") + repeat("44") + "0004" +          //
            "0001" "01" "0000000000000005"                  //
            "0002" "02" "ffffffffffffffff"                  //
            "0003" "03" "00000002" "6162"                   //
            "0400" "04" "00000002" "c3a9");
  CHECK(*DecodeEntry(*EncodeEntry(entry)) == entry);
  CHECK(EncodeEntry(Minimal())->size() == 80);
}

TEST_CASE("What the decoder would refuse is never encoded") {
  REQUIRE(ReasonOfEncoding(Minimal()) == "");
  const std::map<std::string, std::function<void(Entry&)>> spoilers = {
      {"zero event id", [](Entry& e) { e.event_id = {}; }},
      {"negative time", [](Entry& e) { e.time_us = -1; }},
      {"service 0", [](Entry& e) { e.service = Service{}; }},
      {"service 6", [](Entry& e) { e.service = static_cast<Service>(6); }},
      {"link 0", [](Entry& e) { e.link = ChainLink{}; }},
      {"link 6", [](Entry& e) { e.link = static_cast<ChainLink>(6); }},
      {"doubled tag", [](Entry& e) { e.fields = {Field::U64(1, 1), Field::U64(1, 2)}; }},
      {"falling tags", [](Entry& e) { e.fields = {Field::U64(2, 1), Field::U64(1, 2)}; }},
      {"type 0", [](Entry& e) { e.fields = {{1, static_cast<FieldType>(0), 0, ""}}; }},
      {"type 5", [](Entry& e) { e.fields = {{1, static_cast<FieldType>(5), 0, ""}}; }},
      {"number with data", [](Entry& e) { e.fields = {{1, FieldType::kU64, 0, "x"}}; }},
      {"bytes with number", [](Entry& e) { e.fields = {{1, FieldType::kBytes, 1, "x"}}; }},
      {"text with number", [](Entry& e) { e.fields = {{1, FieldType::kText, 1, "x"}}; }},
      {"not UTF-8", [](Entry& e) { e.fields = {Field::Text(1, "\xff")}; }},
      {"too long", [](Entry& e) { e.fields = {Field::Bytes(1, std::string(65'449, 'x'))}; }},
  };
  for (const auto& [name, spoil] : spoilers) {
    Entry entry = Minimal();
    spoil(entry);
    INFO(name);
    CHECK(ReasonOfEncoding(entry) == "ENTRY_INVALID");
  }
  Entry longest = Minimal();
  longest.fields = {Field::Bytes(1, std::string(65'535 - 80 - 7, 'x'))};
  REQUIRE(EncodeEntry(longest).ok());
  CHECK(EncodeEntry(longest)->size() == kEntryMaxBytes);
  CHECK(*DecodeEntry(*EncodeEntry(longest)) == longest);
}

TEST_CASE("Malformed bytes are refused") {
  Entry entry = Minimal();
  entry.fields = {Field::U64(1, 5), Field::Text(2, "text"), Field::Bytes(3, "bytes")};
  const std::string bytes = *EncodeEntry(entry);
  for (size_t size = 0; size < bytes.size(); ++size) {
    CHECK(ReasonOfDecoding(bytes.substr(0, size)) == "ENTRY_INVALID");
  }
  CHECK(ReasonOfDecoding(bytes + '\0') == "ENTRY_INVALID");
  CHECK(ReasonOfDecoding(std::string(kEntryMaxBytes + 1, '\0')) == "ENTRY_INVALID");
  const auto with = [&](size_t at, uint8_t value) {
    std::string changed = bytes;
    changed[at] = static_cast<char>(value);
    return changed;
  };
  CHECK(ReasonOfDecoding(with(1, 2)) == "ENTRY_INVALID");      // version 2
  CHECK(ReasonOfDecoding(with(18, 0x80)) == "ENTRY_INVALID");  // negative time
  CHECK(ReasonOfDecoding(with(78, 0xff)) == "ENTRY_INVALID");  // 65,283 fields
  CHECK(ReasonOfDecoding(with(79, 2)) == "ENTRY_INVALID");     // fewer fields than there are
  CHECK(ReasonOfDecoding(with(79, 4)) == "ENTRY_INVALID");     // more
  CHECK(ReasonOfDecoding(with(82, 9)) == "ENTRY_INVALID");     // type 9
  CHECK(ReasonOfDecoding(with(94, 0xff)) == "ENTRY_INVALID");  // a length of 4 GiB
}

TEST_CASE("Fields are found by tag and type") {
  Entry entry = Minimal();
  const Digest digest = Sha256("x");
  entry.fields = {Field::U64(1, 5), Field::I64(2, -5), Field::Text(3, "t"),
                  Field::Bytes(4, digest.AsBytes()), Field::Bytes(5, SampleUuid(9).AsBytes())};
  CHECK(*entry.U64(1) == 5);
  CHECK(*entry.I64(2) == -5);
  CHECK(*entry.Text(3) == "t");
  CHECK(*entry.DigestAt(4) == digest);
  CHECK(*entry.IdAt(5) == SampleUuid(9));
  CHECK(ReasonOf(entry.U64(2).status()) == "ENTRY_INVALID");
  CHECK(ReasonOf(entry.I64(1).status()) == "ENTRY_INVALID");
  CHECK(ReasonOf(entry.Text(4).status()) == "ENTRY_INVALID");
  CHECK(ReasonOf(entry.Bytes(3).status()) == "ENTRY_INVALID");
  CHECK(ReasonOf(entry.DigestAt(5).status()) == "ENTRY_INVALID");
  CHECK(ReasonOf(entry.IdAt(4).status()) == "ENTRY_INVALID");
  CHECK(ReasonOf(entry.U64(6).status()) == "ENTRY_INVALID");
  CHECK(entry.Find(0) == nullptr);
}

TEST_CASE("The tables are consistent") {
  std::set<std::string> names;
  for (const TagInfo& info : Tags()) {
    CHECK(names.insert(std::string(info.name)).second);
    CHECK(FindTag(info.tag) == &info);
    const bool sized = info.type == FieldType::kBytes;
    CHECK((sized || info.size == 0));
  }
  for (const KindInfo& info : Kinds()) {
    INFO(info.name);
    CHECK(names.insert(std::string(info.name)).second);
    CHECK(FindKind(info.number) == &info);
    CHECK(FindKindByName(info.name) == &info);
    CHECK_FALSE(info.subject.empty());
    CHECK(info.number / 100 == static_cast<int>(info.service));
    std::set<uint16_t> tags = {1, 2, 3, 4, 5};
    for (const auto* list : {&info.required, &info.optional}) {
      bool ended = false;
      for (const uint16_t number : *list) {
        CHECK_FALSE((ended && number != 0));  // a zero ends the list
        ended = number == 0;
        if (ended) continue;
        CHECK(FindTag(number) != nullptr);
        CHECK(tags.insert(number).second);
      }
    }
  }
  CHECK(Kinds().size() == 47);
  CHECK(FindKind(0) == nullptr);
  CHECK(FindKind(9999) == nullptr);
  CHECK(FindTag(0) == nullptr);
  CHECK(FindKindByName("") == nullptr);
}

TEST_CASE("Every kind asks for its required fields") {
  for (const KindInfo& info : Kinds()) {
    INFO(info.name);
    const auto entry = SampleBuilder(info, false).Build();
    REQUIRE(entry.status() == absl::OkStatus());
    CHECK(entry->service == info.service);
    CHECK(entry->link == info.link);
    CHECK(SampleBuilder(info, true).Build().status() == absl::OkStatus());
    for (size_t i = 0; i < entry->fields.size(); ++i) {
      Entry without = *entry;
      without.fields.erase(without.fields.begin() + static_cast<long>(i));
      CHECK(ReasonOf(CheckKind(without)) == "ENTRY_INVALID");
      Entry other_type = *entry;
      Field& field = other_type.fields[i];
      field = field.type == FieldType::kU64 ? Field::I64(field.tag, 1) : Field::U64(field.tag, 1);
      CHECK(ReasonOf(CheckKind(other_type)) == "ENTRY_INVALID");
    }
    Entry other = *entry;
    other.fields.push_back(Field::U64(60'000, 1));
    CHECK(ReasonOf(CheckKind(other)) == "ENTRY_INVALID");
    other = *entry;
    other.service = info.service == Service::kLedger ? Service::kPayout : Service::kLedger;
    CHECK(ReasonOf(CheckKind(other)) == "ENTRY_INVALID");
    other = *entry;
    other.link = info.link == ChainLink::kPay ? ChainLink::kPath : ChainLink::kPay;
    CHECK(ReasonOf(CheckKind(other)) == "ENTRY_INVALID");
    other = *entry;
    other.kind = 9999;
    CHECK(ReasonOf(CheckKind(other)) == "ENTRY_INVALID");
  }
}

TEST_CASE("Sizes of fields are checked") {
  const auto reason = [](uint16_t tag, absl::string_view bytes) {
    return ReasonOf(EntryBuilder(kind::kTransferPosted, EventId{SampleUuid(1)}, absl::UnixEpoch())
                        .Id(tag::kDebitAccount, SampleUuid(2))
                        .Id(tag::kCreditAccount, SampleUuid(3))
                        .U64(tag::kAmount, 1)
                        .U64(tag::kTransferKind, 1)
                        .Bytes(tag, bytes)
                        .Build()
                        .status());
  };
  CHECK(reason(tag::kCorrects, std::string(16, 'a')) == "");
  CHECK(reason(tag::kCorrects, std::string(15, 'a')) == "ENTRY_INVALID");
  CHECK(reason(tag::kReference, std::string(64, 'a')) == "");
  CHECK(reason(tag::kReference, std::string(65, 'a')) == "ENTRY_INVALID");
  CHECK(reason(tag::kDebitAccount, std::string(16, 'a')) == "ENTRY_INVALID");  // set twice
  CHECK(reason(tag::kPublicKey, std::string(32, 'a')) == "ENTRY_INVALID");  // a quarter document
  const auto statement = [](size_t bytes) {
    return ReasonOf(
        EntryBuilder(kind::kStatementIssued, EventId{SampleUuid(1)}, absl::UnixEpoch())
            .Id(tag::kPrincipal, SampleUuid(2))
            .Id(tag::kEpoch, SampleUuid(3))
            .U64(tag::kAmount, 1)
            .Bytes(tag::kCreditEntries, std::string(bytes, 'e'))
            .Build()
            .status());
  };
  CHECK(statement(0) == "");
  CHECK(statement(16 * 1000) == "");
  CHECK(statement(17) == "ENTRY_INVALID");
  CHECK(statement(16 * 4096) == "ENTRY_INVALID");  // the whole entry would be too long
}

TEST_CASE("A private document shows neither its digest nor its signature") {
  const SignedDocument document = *SignDocument(KeyPair::FromSeed({5}), "t.Profile", "{}");
  EntryBuilder builder(kind::kProfileSet, EventId{SampleUuid(1)}, absl::UnixEpoch());
  const Salt salt{{9}};
  const Entry entry = *builder.PrivateDocument(document, salt).U64(tag::kVersion, 1).Build();
  const std::string bytes = *EncodeEntry(entry);
  const auto contains = [&](absl::string_view part) {
    return bytes.find(std::string(part)) != std::string::npos;
  };
  CHECK_FALSE(contains(DocumentDigest(document).AsBytes()));
  CHECK_FALSE(contains(document.signature.AsBytes()));
  CHECK(*entry.DigestAt(tag::kDocumentCommitment) == PrivateDocumentCommitment(document, salt));
  CHECK(PrivateDocumentCommitment(document, Salt{}) != PrivateDocumentCommitment(document, salt));
  // A public document has no place in a private kind.
  CHECK(ReasonOf(EntryBuilder(kind::kProfileSet, EventId{SampleUuid(1)}, absl::UnixEpoch())
                     .Document(document)
                     .Digest(tag::kDocumentCommitment, Sha256("x"))
                     .U64(tag::kVersion, 1)
                     .Build()
                     .status()) == "ENTRY_INVALID");
  CHECK(Commitment(salt, "v") ==
        Sha256("ROCHDALEcommit1" + std::string("\x09", 1) + std::string(31, '\0') + "v"));
}

// Stored history must stay readable: these bytes never change. After adding a kind, run with
// ROCHDALE_UPDATE_GOLDEN=1 and look at the difference: lines are added; a line "all" grows by the
// optional fields that its kind was given; none changes otherwise.
TEST_CASE("Golden bytes of one entry of every kind") {
  const std::string path = std::string(ROCHDALE_GOLDEN_DIR) + "/entries.txt";
  std::ostringstream lines;
  for (const KindInfo& info : Kinds()) {
    for (const bool everything : {false, true}) {
      EntryBuilder builder = SampleBuilder(info, everything);
      lines << info.number << " " << info.name << (everything ? " all " : " required ")
            << HexEncode(*builder.BuildBytes()) << "\n";
    }
  }
  if (std::getenv("ROCHDALE_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << lines.str();
  std::ifstream file(path);
  std::ostringstream stored;
  stored << file.rdbuf();
  REQUIRE_FALSE(stored.str().empty());
  CHECK(lines.str() == stored.str());
}

TEST_CASE("Mutated entries are refused or are injective") {
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 engine(seed);
  std::vector<std::string> corpus;
  for (const KindInfo& info : Kinds()) corpus.push_back(*SampleBuilder(info, true).BuildBytes());
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(engine);
  };
  for (int round = 0; round < 60'000; ++round) {
    std::string bytes = corpus[below(corpus.size())];
    for (size_t edits = 1 + below(3); edits > 0 && !bytes.empty(); --edits) {
      const size_t at = below(bytes.size());
      switch (below(5)) {
        case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8))); break;
        case 1: bytes[at] = static_cast<char>(below(256)); break;
        case 2: bytes.erase(at, 1 + below(8)); break;
        case 3: bytes.insert(at, std::string(1 + below(4), static_cast<char>(below(256)))); break;
        case 4: bytes += corpus[below(corpus.size())].substr(below(80)); break;
      }
    }
    CheckInjective(bytes);
  }
}

TEST_CASE("Random entries survive the way there and back, and differ if they differ") {
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937_64 engine(seed);
  std::map<std::string, Entry> seen;
  for (int round = 0; round < 5'000; ++round) {
    Entry entry = Minimal();
    // Few values each, so that neighbours are near collisions.
    entry.time_us = static_cast<int64_t>(engine() % 2);
    entry.kind = static_cast<uint16_t>(engine() % 2);
    uint16_t tag = 0;
    for (size_t n = engine() % 4; n > 0; --n) {
      tag = static_cast<uint16_t>(tag + 1 + engine() % 2);
      const std::string data(engine() % 3, static_cast<char>(engine() % 2));
      switch (engine() % 4) {
        case 0: entry.fields.push_back(Field::U64(tag, engine() % 2)); break;
        case 1: entry.fields.push_back(Field::I64(tag, static_cast<int64_t>(engine() % 2))); break;
        case 2: entry.fields.push_back(Field::Bytes(tag, data)); break;
        case 3: entry.fields.push_back(Field::Text(tag, data)); break;
      }
    }
    const auto bytes = EncodeEntry(entry);
    REQUIRE(bytes.ok());
    REQUIRE(*DecodeEntry(*bytes) == entry);
    const auto [known, fresh] = seen.emplace(*bytes, entry);
    REQUIRE(known->second == entry);
  }
}

}  // namespace
}  // namespace rochdale::crypto
