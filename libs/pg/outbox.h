// Log entries that leave a service with its change: the entry is written to the table `outbox` of
// the service's schema in the same transaction, and a relay sends it to the ledger afterwards.
//
// Order: the entries of one schema get sequence numbers in the order in which their transactions
// commit, so that the log never shows an effect before its cause. For this EnqueueEntry only
// remembers the entry; Transact writes all of them just before COMMIT, under a lock of the schema's
// outbox that is held for that moment (never before another lock, so it adds no deadlocks).
// The ledger deduplicates by event id, so sending twice is harmless and sending is repeated until
// it is acknowledged. Several replicas may relay at once: a batch is always the head of the unsent.
//
// Heartbeat: a relay may also tell the log until when it is complete. The time is taken before the
// relay looks for unsent entries. A transaction that was committed by then is visible to the look,
// with its entries, since a COMMIT is visible before it is answered; so where the look found
// nothing else unsent, everything committed until that time is in the log. What commits between the
// time and the look is sent, or waits for the next time; a transaction that is still open, whatever
// the times of its entries, was not committed by then. This needs no lock, and holds for every
// replica by itself, since an entry counts as sent only once the log acknowledged it to one of
// them. The time is that of the replica's clock: replicas and the ledger must agree on it to well
// within the age that the ledger allows.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/pg/database.h"

namespace rochdale::crypto {
struct Entry;
}

namespace rochdale::pg {

struct OutboxEntry {
  Uuid event_id;       // the entry's own; unique
  int64_t time_us = 0;  // the entry's own
  std::string leaf;    // the entry's canonical bytes (libs/crypto/entry.h), at most 65,535
};

struct OutboxRow {
  int64_t sequence = 0;
  Uuid event_id;
  int64_t time_us = 0;
  std::string leaf;
};

// Encodes the entry and enqueues it. ENTRY_INVALID where it does not encode or does not fit its
// kind (crypto::EncodeEntry, crypto::CheckKind), which loses `tx`.
absl::Status EnqueueEntry(Transaction& tx, const crypto::Entry& entry);

// Remembers the entry for the outbox of this connection's schema; written when `tx` commits.
// INVALID_ARGUMENT (ENTRY_INVALID) for bytes that are empty or too long, which loses `tx`.
// An event id that is there already makes the commit fail with ALREADY_EXISTS.
absl::Status EnqueueEncodedEntry(Transaction& tx, OutboxEntry entry);

// The oldest unsent entries, in order.
absl::StatusOr<std::vector<OutboxRow>> ListUnsent(Transaction& tx, int limit);
// Notes where the log put them. `log_indexes` has one index per row.
absl::Status MarkSent(Transaction& tx, const std::vector<OutboxRow>& rows,
                      const std::vector<int64_t>& log_indexes, absl::Time now);
// Where the log put this event; nothing while it is unsent. NOT_FOUND if there is no such entry.
absl::StatusOr<std::optional<int64_t>> FindLogIndex(Transaction& tx, const Uuid& event_id);

struct OutboxRelayOptions {
  int batch_max = 256;         // entries per call, 1 to 10,000
  int64_t batch_bytes_max = 2 << 20;  // leaf bytes per call; one entry always goes
  absl::Duration poll_every = absl::Seconds(1);  // for entries of other replicas
  absl::Duration backoff_min = absl::Milliseconds(50);
  absl::Duration backoff_max = absl::Seconds(10);
  absl::Duration call_timeout = absl::Seconds(10);  // database steps; `send` bounds itself
  // Says at least so often until when the log is complete; 0: never.
  absl::Duration heartbeat_every = absl::ZeroDuration();
};

struct OutboxRelayStats {
  int64_t sent = 0;
  int64_t heartbeats = 0;       // acknowledged calls that said until when the log is complete
  int64_t failures = 0;         // of `send` and of the database
  int64_t consecutive_failures = 0;
  std::string last_error;       // empty after a success
};

// A thread that sends what is unsent. An entry that the ledger refuses stops the queue there (the
// order is the law): consecutive_failures grows and is what to alarm on.
class OutboxRelay {
 public:
  // Sends the rows in order as one call and returns their log indexes, one per row; bounded in
  // time by itself. Called from the relay's thread only. With these rows the log has everything
  // that was committed until `complete_until`; the infinite past: it says nothing about that.
  // Without rows it is a heartbeat only.
  using Send = std::function<absl::StatusOr<std::vector<int64_t>>(
      const std::vector<OutboxRow>& rows, absl::Time complete_until)>;

  // Starts at once. `db` (with the service's schema) and `clock` must outlive it.
  OutboxRelay(Database& db, const Clock& clock, Send send, OutboxRelayOptions options = {});
  // Stops; waits for a running `send`.
  ~OutboxRelay();
  OutboxRelay(const OutboxRelay&) = delete;
  OutboxRelay& operator=(const OutboxRelay&) = delete;

  // Looks now. Called by the database after each commit with entries; harmless at any time.
  void Wake();
  // Idempotent.
  void Stop();
  // True once nothing is unsent; false if that is not so within `timeout`.
  bool WaitUntilEmpty(absl::Duration timeout);
  OutboxRelayStats stats() const;

 private:
  // What one look came to.
  struct Look {
    int sent = 0;                                      // entries
    absl::Time complete_until = absl::InfinitePast();  // where nothing else was unsent
  };

  void Loop();
  // Sends one batch, if anything is unsent, and says with it whether that was all.
  absl::StatusOr<Look> SendBatch();
  bool Beats() const { return options_.heartbeat_every > absl::ZeroDuration(); }
  // Says until when the log is complete, where that is due and was not said with entries.
  absl::Status Beat(const Look& look);
  std::vector<OutboxRow> TrimToBytes(std::vector<OutboxRow> rows) const;

  Database& db_;
  const Clock& clock_;
  const Send send_;
  const OutboxRelayOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool woken_ = true;
  int64_t looks_ = 0;            // for unsent entries, the running one included
  int64_t last_empty_look_ = 0;  // the number of the last that found none
  OutboxRelayStats stats_;
  std::chrono::steady_clock::time_point next_beat_;  // of the thread
  std::thread thread_;
};

}  // namespace rochdale::pg
