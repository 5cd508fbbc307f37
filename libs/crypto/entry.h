// A log entry and its canonical bytes: what the Merkle tree's leaves are.
//
// Layout, all integers big-endian, at most 65,535 bytes in all:
//   version u16 = 1 | event_id 16 | time_us i64 | service u8 | kind u16 | link u8 |
//   cooperative 16 | subject 16 | authorised_by 16 | field count u16 |
//   fields in strictly increasing order of tag:
//     tag u16 | type u8 | u64, i64: 8 bytes; bytes, text: length u32, data
// The encoding is injective: DecodeEntry accepts exactly what EncodeEntry writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"

namespace rochdale::crypto {

inline constexpr uint16_t kEntryVersion = 1;
inline constexpr size_t kEntryMaxBytes = 65'535;

enum class Service : uint8_t {
  kGovernance = 1,
  kFilter = 2,
  kAttribution = 3,
  kLedger = 4,
  kPayout = 5,
};

// The entry's place in the responsibility chain.
enum class ChainLink : uint8_t {
  kAuthorise = 1,  // a person allows
  kSubmit = 2,     // an agent filters and submits
  kPath = 3,       // the cooperative records the path
  kPay = 4,        // contribution is measured and paid
  kAudit = 5,      // somebody looks, or must look
};

// "GOVERNANCE", "AUTHORISE", ...
absl::string_view ServiceName(Service service);
absl::string_view ChainLinkName(ChainLink link);

enum class FieldType : uint8_t { kU64 = 1, kI64 = 2, kBytes = 3, kText = 4 };

struct Field {
  uint16_t tag = 0;
  FieldType type = FieldType::kU64;
  uint64_t number = 0;  // kU64, and kI64 as its two's complement; 0 otherwise
  std::string data;     // kBytes, and kText as UTF-8; empty otherwise

  static Field U64(uint16_t tag, uint64_t value);
  static Field I64(uint16_t tag, int64_t value);
  static Field Bytes(uint16_t tag, absl::string_view value);
  static Field Text(uint16_t tag, absl::string_view value);

  bool operator==(const Field&) const = default;
};

struct Entry {
  EventId event_id;  // never zero
  int64_t time_us = 0;  // microseconds since 1970 UTC, >= 0
  Service service{};
  uint16_t kind = 0;  // entry_kinds.h
  ChainLink link{};
  CooperativeId cooperative;  // zero where the entry belongs to no cooperative
  Uuid subject;               // what the entry is about; entry_kinds.h says what for each kind
  EventId authorised_by;      // event id of the entry that allowed this; zero for roots
  std::vector<Field> fields;  // strictly increasing tags

  // Null where there is no such field.
  const Field* Find(uint16_t tag) const;
  // The value of a field. ENTRY_INVALID where it is absent or of another type or size.
  absl::StatusOr<uint64_t> U64(uint16_t tag) const;
  absl::StatusOr<int64_t> I64(uint16_t tag) const;
  absl::StatusOr<absl::string_view> Bytes(uint16_t tag) const;  // lives as long as the entry
  absl::StatusOr<absl::string_view> Text(uint16_t tag) const;
  absl::StatusOr<Digest> DigestAt(uint16_t tag) const;
  absl::StatusOr<Uuid> IdAt(uint16_t tag) const;

  bool operator==(const Entry&) const = default;
};

// The canonical bytes. ENTRY_INVALID for whatever DecodeEntry would refuse: a zero event id, a
// negative time, an unknown service, link or field type, tags that do not increase, a value in
// the wrong member, text that is not UTF-8, more than 65,535 bytes.
// Whether the fields fit the kind is CheckKind's business (entry_kinds.h).
absl::StatusOr<std::string> EncodeEntry(const Entry& entry);

// The inverse. ENTRY_INVALID for any other bytes. Memory is bounded by the input.
absl::StatusOr<Entry> DecodeEntry(absl::string_view bytes);

}  // namespace rochdale::crypto
