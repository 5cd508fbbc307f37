// The one writer of the ledger: handlers queue commands, and two lanes take turns at what waits. A
// lane decides in order (batch.h), writes the rows that the next batch may write, too, hands on the
// turn, writes everything else in the same transaction and answers after the commit. So one batch
// is decided while the one before it is being written; they commit in order, and a batch that does
// not commit takes the one after it along.
//
// Among replicas pg::Leadership says who writes; the epoch and batch number in `tree_state` fence
// out a writer that does not know yet that it lost. Everything in memory (books.h) is then read
// anew.
//
// Where a COMMIT gets no answer, the batch number that the database then shows says whether it was
// made, and the commands get the answers that were computed for it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
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

// The name under which pg::Leadership knows who writes.
inline constexpr char kWriterLease[] = "ledger.writer";

struct WriterOptions {
  // Of this replica, for the lease row; asked in Start. "": others cannot call it.
  std::function<std::string()> address;
  int queue_items_max = 8 * kItemsMax;  // beyond it: OVERLOADED
  absl::Duration due_every = absl::Milliseconds(200);  // looks for holds that expire
  absl::Duration commit_timeout = absl::Seconds(15);
  absl::Duration leadership_check_every = absl::Seconds(1);
};

struct WriterMetrics {
  obs::Counter batches, entries, retries;
  obs::CounterFamily transfers;  // by result
  obs::Histogram batch_items, commit_seconds;
  obs::Gauge queue_items, leading, log_size, imbalanced_assets, open_holds;
};
WriterMetrics DeclareWriterMetrics(obs::Metrics& metrics);

class Writer {
 public:
  // What must hold of the database before this process writes to it, for example that it is not
  // behind a checkpoint that was signed. Runs in the transaction that takes the tree.
  using Guard = std::function<absl::Status(pg::Transaction&, const TreeState&)>;

  // `db` has the ledger's role and schema; the writer opens sessions of its own on it.
  Writer(pg::Database& db, const Clock& clock, const obs::Logger& logger, WriterMetrics metrics,
         ledger::StartLog log, Guard guard, WriterOptions options);
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

  // As Submit, without a thread that waits: `answer` is called once, from a lane's thread, that of
  // leadership or this one, without locks, and must return soon. What still waits at `deadline` is
  // not run.
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
  struct InFlight;
  using PendingPtr = std::shared_ptr<Pending>;
  using Lock = std::unique_lock<std::mutex>;

  static constexpr int kLanes = 2;

  void Gained(int64_t epoch);
  void Lost();
  // Unlocks while it answers.
  void RefuseAll(const absl::Status& status, Lock& lock);

  // A lane's life: one batch after another.
  void Loop(int lane);
  // True where there is something to do now: commands, or holds that are due.
  bool HasWork(Lock& lock) const;
  // Those that wait, at most kItemsMax items; those whose deadline has passed go to `late`.
  std::vector<PendingPtr> TakeBatch(std::vector<PendingPtr>& late, Lock& lock);
  // Decides and commits; the turn to decide is held on entry and given up on the way.
  void RunBatch(int lane, std::vector<PendingPtr> commands, Lock& lock);
  absl::Status Transact(int lane, InFlight& batch, Lock& lock);
  absl::Status OpenSession(int lane);
  absl::Status Decide(pg::Transaction& tx, InFlight& batch);
  // Until the batch of this number is committed. ABORTED: it will not be.
  absl::Status AwaitCommitted(InFlight& batch, int64_t number, absl::Time deadline, Lock& lock);
  void GiveUpTurn(Lock& lock);
  bool SomethingDue() const;
  // After a failure, once no batch is under way: what is in memory is worth nothing and is read
  // anew; commands whose fate is known are answered, the others try again.
  void Recover(Lock& lock);
  // Commands that have another chance go to `again`; the others are to be answered.
  using Answers = std::vector<std::pair<PendingPtr, absl::StatusOr<Reply>>>;
  void TryAgain(InFlight& batch, std::vector<PendingPtr>& again, Answers& answers);

  // Reads the tree state and checks it; then the log is started where it is empty.
  absl::Status Load(int64_t epoch);
  absl::Status StartLog();
  absl::Status Reload();
  absl::Status ReloadPatiently();
  void Report(const Changes& changes, const std::vector<absl::StatusOr<Reply>>& replies,
              absl::Duration took);

  pg::Database& db_;
  const Clock& clock_;
  const obs::Logger& logger_;
  const WriterMetrics metrics_;
  const ledger::StartLog log_;
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

  bool deciding_ = false;           // a lane has the turn
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  int64_t failed_from_ = kNone;     // the first batch that was not committed: Recover
  bool one_by_one_ = false;         // something in one command breaks a rule of the database
  int under_way_ = 0;               // batches decided and not committed
  std::vector<std::unique_ptr<InFlight>> lost_;  // those that were not, in order

  TreeState state_;   // as committed
  // Of who has the turn.
  int64_t decided_ = 0;  // batch number of the last batch that was decided
  bool settle_first_ = false;  // the next batch reads once the last is committed
  Books books_;

  std::unique_ptr<pg::Session> sessions_[kLanes];  // each of its lane
  std::vector<std::thread> threads_;
  std::unique_ptr<pg::Leadership> leadership_;
};

}  // namespace rochdale::ledger
