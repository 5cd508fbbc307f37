// The log of a bundle: the tree rebuilt from its entries, and the entries decoded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/hash/hash.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/note.h"
#include "services/verify/bundle.h"
#include "services/verify/report.h"
#include "services/verify/tree.h"

namespace rochdale::verify {

class Log {
 public:
  explicit Log(std::vector<crypto::Entry> entries);

  const std::vector<crypto::Entry>& entries() const { return entries_; }
  const crypto::Entry& at(size_t index) const { return entries_[index]; }
  size_t IndexOf(const crypto::Entry& entry) const { return &entry - entries_.data(); }
  // Null where there is none.
  const crypto::Entry* Find(const EventId& event) const;
  // Indices of the entries of one kind, and of those about one subject, in order of the log.
  const std::vector<size_t>& OfKind(uint16_t kind) const;
  std::vector<const crypto::Entry*> About(uint16_t kind, const Uuid& subject) const;
  // Null unless there is exactly one.
  const crypto::Entry* Only(uint16_t kind, const Uuid& subject) const;

 private:
  std::vector<crypto::Entry> entries_;
  std::unordered_map<EventId, size_t, absl::Hash<EventId>> by_event_;
  std::unordered_map<uint16_t, std::vector<size_t>> by_kind_;
  std::unordered_map<Uuid, std::vector<size_t>, absl::Hash<Uuid>> by_subject_;
};

// "entry 12 (DECISION_MADE)".
std::string NameOf(const Log& log, const crypto::Entry& entry);

// All entries of a log are held in memory; how much that takes was measured, docs/evidence.md,
// section 9.
inline constexpr uint64_t kMebibytesPerMillion = 1'800;
inline constexpr uint64_t kEntriesMax = 4'000'000;

// What a log is held against.
struct LogKeys {
  crypto::NoteKey origin;
  std::vector<crypto::NoteKey> witnesses;  // given from outside: each has cosigned the checkpoint
  std::vector<std::string> heads;          // earlier signed tree heads (notes), kept outside
  uint64_t entries_max = kEntriesMax;      // a longer log is refused before its tiles are read
};

// Checks "log-checkpoint", "log-tree", "log-consistency" and "log-entries". Nothing where the
// entries cannot be read, so that nothing can be said of them; the report says why.
std::optional<Log> CheckLog(const Bundle& bundle, const TreePlace& place, const LogKeys& keys,
                            Report& report);

// Check "authority": every entry names the entry that allowed it, or is of a kind that may begin a
// chain; and signatures are by the keys that are registered for who acts.
void CheckAuthority(const Log& log, Report& report);

}  // namespace rochdale::verify
