// The one writer of the ledger: handlers queue commands, one thread takes what waits, decides in
// order (batch.h), writes everything in one transaction and answers after the commit.
//
// Among replicas pg::Leadership says who writes; the epoch and batch number in `tree_state` fence
// out a writer that does not know yet that it lost. What the writer keeps in memory is the growing
// end of the tree only; accounts, transfers and events are read, and locked, in each transaction.
//
// Where a COMMIT gets no answer, the batch number that the database then shows says whether it was
// made, and the commands get the answers that were computed for it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"
#include "libs/obs/metrics.h"
#include "libs/pg/database.h"
#include "libs/pg/leader.h"
#include "services/ledger/batch.h"

namespace rochdale::obs {
class Logger;
}

namespace rochdale::ledger {

struct WriterOptions {
  std::string address = "127.0.0.1:0";  // of this replica, for the lease row
  int queue_items_max = 8 * kItemsMax;  // beyond it: OVERLOADED
  absl::Duration commit_timeout = absl::Seconds(15);
  absl::Duration leadership_check_every = absl::Seconds(1);
};

struct WriterMetrics {
  obs::Counter batches, entries, retries;
  obs::CounterFamily transfers;  // by result
  obs::Histogram batch_items, commit_seconds;
  obs::Gauge queue_items, leading, log_size, imbalanced_assets;
};
WriterMetrics DeclareWriterMetrics(obs::Metrics& metrics);

class Writer {
 public:
  // What must hold of the database before this process writes to it, for example that it is not
  // behind a checkpoint that was signed. Runs in the transaction that takes the tree.
  using Guard = std::function<absl::Status(pg::Transaction&, const TreeState&)>;

  // `db` has the ledger's role and schema and is the writer's alone: two connections.
  Writer(pg::Database& db, const Clock& clock, const obs::Logger& logger, WriterMetrics metrics,
         StartLog log, Guard guard, WriterOptions options);
  ~Writer();  // stops
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void Start();
  // Commands that wait are answered UNAVAILABLE. Idempotent.
  void Stop();

  // Runs the command and returns its reply once it is committed. The command's own errors, or
  //   NOT_LEADER (with RetryInfo)   this replica does not write
  //   OVERLOADED (with RetryInfo)   too many wait
  //   UNAVAILABLE, DEADLINE_EXCEEDED  it is not known whether it was made: repeat it as it is
  // Thread-safe; blocks, at most until `deadline` (system clock).
  absl::StatusOr<Reply> Submit(Command command, absl::Time deadline);

  // As Submit, without a thread that waits: `answer` is called once, from the writer's thread, that
  // of leadership or this one, without locks, and must return soon. What still waits at `deadline`
  // is not run.
  using Answerer = std::function<void(absl::StatusOr<Reply>)>;
  void SubmitAsync(Command command, absl::Time deadline, Answerer answer);

  // True once this replica leads, and its state is read and found in order.
  bool Writing() const;
  // OK: Writing(). Otherwise what is wrong or not yet done.
  absl::Status Ready() const;
  // DATA_LOSS where the balances of an asset do not sum up to 0; sets the metric.
  absl::Status CheckBalances();

 private:
  struct Pending;
  using PendingPtr = std::shared_ptr<Pending>;

  void Loop();
  void Gained(int64_t epoch);
  void Lost();
  // Those that wait, at most kItemsMax items. Unlocks.
  std::vector<PendingPtr> TakeBatch(std::unique_lock<std::mutex>& lock);
  // Unlocks while it answers.
  void RefuseAll(const absl::Status& status, std::unique_lock<std::mutex>& lock);

  // Reads the tree state and checks it; then the log is started where it is empty.
  absl::Status Load(int64_t epoch);
  absl::Status Reload();
  absl::Status ReloadPatiently();
  void Process(const std::vector<PendingPtr>& commands);
  // Answers every command, or says that the batch can be tried again.
  absl::Status TryBatch(const std::vector<PendingPtr>& commands);
  absl::Status Commit(const std::vector<PendingPtr>& commands, std::optional<Batch>& batch,
                      std::vector<absl::StatusOr<Reply>>& replies);
  void Report(const Batch& batch, const std::vector<absl::StatusOr<Reply>>& replies,
              absl::Duration took);

  pg::Database& db_;
  const Clock& clock_;
  const obs::Logger& logger_;
  const WriterMetrics metrics_;
  const StartLog log_;
  const Guard guard_;
  const WriterOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool loaded_ = false;            // the tree is in memory, as of epoch_
  std::optional<int64_t> epoch_;   // while leading
  absl::Status trouble_;           // why it is not loaded
  std::deque<PendingPtr> queue_;
  int queue_items_ = 0;

  // Of the writer's thread alone.
  TreeState state_;
  TreeEnd end_;

  std::thread thread_;
  std::unique_ptr<pg::Leadership> leadership_;
};

}  // namespace rochdale::ledger
