#include "libs/pg/outbox.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/pg/connection.h"
#include "libs/pg/failure.h"

namespace rochdale::pg {
namespace {

constexpr size_t kLeafMax = 65'535;

std::chrono::microseconds Chrono(absl::Duration duration) {
  return absl::ToChronoMicroseconds(duration);
}

}  // namespace

absl::Status EnqueueEntry(Transaction& tx, const crypto::Entry& entry) {
  absl::Status fits = crypto::CheckKind(entry);
  absl::StatusOr<std::string> leaf = crypto::EncodeEntry(entry);
  if (!fits.ok() || !leaf.ok()) {
    Failure failure;
    failure.status = fits.ok() ? leaf.status() : std::move(fits);
    return tx.Fail(std::move(failure));
  }
  return EnqueueEncodedEntry(tx, {entry.event_id.value, entry.time_us, *std::move(leaf)});
}

absl::Status EnqueueEncodedEntry(Transaction& tx, OutboxEntry entry) {
  if (entry.event_id.IsZero() || entry.leaf.empty() || entry.leaf.size() > kLeafMax) {
    Failure failure;
    failure.status = Error("ENTRY_INVALID", "an entry needs an event id and 1 to 65,535 bytes");
    return tx.Fail(std::move(failure));
  }
  tx.outbox_.push_back(std::move(entry));
  return absl::OkStatus();
}

// Sequence numbers are drawn in the order of the array.
constexpr char kInsertEntries[] =
    "INSERT INTO outbox (event_id, time_us, leaf) "
    "SELECT event_id, time_us, leaf "
    "FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) "
    "WITH ORDINALITY AS entry(event_id, time_us, leaf, place) ORDER BY place";

// Called by Connection just before COMMIT.
absl::Status FlushOutbox(Transaction& tx) {
  if (tx.outbox_.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(
      tx.AdvisoryLock(AdvisoryKey(absl::StrCat(tx.connection_->options().schema, ".outbox"))));
  std::vector<Uuid> ids;
  std::vector<int64_t> times;
  std::vector<Bytes> leaves;
  for (const OutboxEntry& entry : tx.outbox_) {
    ids.push_back(entry.event_id);
    times.push_back(entry.time_us);
    leaves.push_back(Bytes{entry.leaf});
  }
  return tx.Exec(kInsertEntries, ids, times, leaves).status();
}

constexpr char kListUnsent[] =
    "SELECT sequence, event_id, time_us, leaf FROM outbox WHERE sent_us IS NULL "
    "ORDER BY sequence LIMIT $1";

absl::StatusOr<std::vector<OutboxRow>> ListUnsent(Transaction& tx, int limit) {
  ASSIGN_OR_RETURN(const Rows rows, tx.Exec(kListUnsent, limit));
  std::vector<OutboxRow> unsent;
  unsent.reserve(rows.size());
  for (const Row& row : rows) {
    unsent.push_back({row.Get<int64_t>(0), row.Get<Uuid>(1), row.Get<int64_t>(2), row.GetBytes(3)});
  }
  return unsent;
}

constexpr char kMarkSent[] =
    "UPDATE outbox SET log_index = sent.log_index, sent_us = $3 "
    "FROM unnest($1::bigint[], $2::bigint[]) AS sent(sequence, log_index) "
    "WHERE outbox.sequence = sent.sequence AND outbox.sent_us IS NULL";

absl::Status MarkSent(Transaction& tx, const std::vector<OutboxRow>& rows,
                      const std::vector<int64_t>& log_indexes, absl::Time now) {
  if (rows.size() != log_indexes.size()) {
    return tx.InternalError(absl::StrCat("the log acknowledged ", log_indexes.size(), " of ",
                                         rows.size(), " entries"));
  }
  std::vector<int64_t> sequences;
  for (const OutboxRow& row : rows) sequences.push_back(row.sequence);
  return tx.Exec(kMarkSent, sequences, log_indexes, now).status();
}

constexpr char kFindLogIndex[] = "SELECT log_index FROM outbox WHERE event_id = $1";

absl::StatusOr<std::optional<int64_t>> FindLogIndex(Transaction& tx, const Uuid& event_id) {
  ASSIGN_OR_RETURN(const std::optional<Row> row, tx.ExecOptional(kFindLogIndex, event_id));
  if (!row.has_value()) return Error("NOT_FOUND", "no entry has this event id");
  return row->Get<std::optional<int64_t>>(0);
}

OutboxRelay::OutboxRelay(Database& db, const Clock& clock, Send send, OutboxRelayOptions options)
    : db_(db), clock_(clock), send_(std::move(send)), options_(std::move(options)) {
  db_.SetOutboxListener([this] { Wake(); });
  thread_ = std::thread([this] { Loop(); });
}

OutboxRelay::~OutboxRelay() { Stop(); }

void OutboxRelay::Wake() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

void OutboxRelay::Stop() {
  db_.SetOutboxListener(nullptr);
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

bool OutboxRelay::WaitUntilEmpty(absl::Duration timeout) {
  std::unique_lock lock(mutex_);
  // A look that runs already may have missed what was committed since it began.
  const int64_t next_look = looks_ + 1;
  woken_ = true;
  changed_.notify_all();
  return changed_.wait_for(lock, Chrono(timeout),
                           [&] { return stopping_ || last_empty_look_ >= next_look; }) &&
         last_empty_look_ >= next_look;
}

OutboxRelayStats OutboxRelay::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void OutboxRelay::Loop() {
  absl::Duration backoff = options_.backoff_min;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    woken_ = false;
    const int64_t look = ++looks_;
    lock.unlock();
    const absl::StatusOr<Look> found = SendBatch();
    const absl::Status status = found.ok() ? Beat(*found) : found.status();
    lock.lock();
    // Even where the heartbeat failed: nothing is unsent.
    if (found.ok() && found->sent == 0) last_empty_look_ = look;
    changed_.notify_all();
    if (found.ok()) stats_.sent += found->sent;
    if (!status.ok()) {
      ++stats_.failures;
      ++stats_.consecutive_failures;
      stats_.last_error = std::string(status.message());
      // A new entry is no reason to try again sooner.
      changed_.wait_for(lock, Chrono(backoff), [this] { return stopping_; });
      backoff = std::min(2 * backoff, options_.backoff_max);
      continue;
    }
    backoff = options_.backoff_min;
    stats_.consecutive_failures = 0;
    stats_.last_error.clear();
    if (found->sent > 0) continue;
    auto until = std::chrono::steady_clock::now() + Chrono(options_.poll_every);
    if (Beats()) until = std::min(until, next_beat_);
    changed_.wait_until(lock, until, [this] { return stopping_ || woken_; });
  }
}

std::vector<OutboxRow> OutboxRelay::TrimToBytes(std::vector<OutboxRow> rows) const {
  int64_t bytes = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    bytes += static_cast<int64_t>(rows[i].leaf.size());
    if (i > 0 && bytes > options_.batch_bytes_max) {
      rows.resize(i);
      break;
    }
  }
  return rows;
}

absl::Status OutboxRelay::Beat(const Look& look) {
  if (look.complete_until == absl::InfinitePast()) return absl::OkStatus();
  // Where entries were sent it has been said with them.
  if (look.sent == 0) {
    if (std::chrono::steady_clock::now() < next_beat_) return absl::OkStatus();
    RETURN_IF_ERROR(send_({}, look.complete_until).status());
  }
  next_beat_ = std::chrono::steady_clock::now() + Chrono(options_.heartbeat_every);
  std::lock_guard lock(mutex_);
  ++stats_.heartbeats;
  return absl::OkStatus();
}

absl::StatusOr<OutboxRelay::Look> OutboxRelay::SendBatch() {
  // Before the look, and outside of what the database may run again: see the head of outbox.h.
  const absl::Time before = clock_.Now();
  ASSIGN_OR_RETURN(std::vector<OutboxRow> rows,
                   db_.Transact(options_.call_timeout, [&](Transaction& tx) {
                     return ListUnsent(tx, options_.batch_max);
                   }));
  const size_t found = rows.size();
  rows = TrimToBytes(std::move(rows));
  const bool all = rows.size() == found && found < static_cast<size_t>(options_.batch_max);
  const Look look{static_cast<int>(rows.size()),
                  all && Beats() ? before : absl::InfinitePast()};
  if (rows.empty()) return look;
  // No connection is held meanwhile.
  ASSIGN_OR_RETURN(const std::vector<int64_t> log_indexes, send_(rows, look.complete_until));
  const absl::Time now = clock_.Now();
  RETURN_IF_ERROR(db_.Transact(options_.call_timeout, [&](Transaction& tx) {
    return MarkSent(tx, rows, log_indexes, now);
  }));
  return look;
}

}  // namespace rochdale::pg
