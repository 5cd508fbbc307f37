#include "services/ledger/writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/obs/log.h"

namespace rochdale::ledger {
namespace {

constexpr int kAttemptsMax = 4;
constexpr int kReloadsMax = 6;  // over 3 seconds: a restart of the database may take as long

absl::Status NotLeader() {
  return RetryableError("NOT_LEADER", "this replica does not write the log",
                        absl::Milliseconds(200));
}

absl::Status CannotWrite() {
  return RetryableError("UNAVAILABLE", "the log cannot be written now", absl::Seconds(1));
}

absl::Status TooLate() {
  return Error("DEADLINE_EXCEEDED", "the writer did not answer in time; repeat the call");
}

bool IsNotLeader(const absl::Status& status) { return ReasonOf(status) == "NOT_LEADER"; }

// Failures of the moment, after which the state in memory is in doubt.
bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsResourceExhausted(status) || absl::IsAborted(status);
}

// Rows that the batch after this one may write, too. They are written before the turn is given up,
// so that a later batch waits for the locks of an earlier one and never the other way round: a
// batch commits after the one before it, and both would wait for ever.
absl::Status WriteShared(pg::Transaction& tx, const Changes& changes) {
  RETURN_IF_ERROR(InsertDocuments(tx, changes.documents));
  RETURN_IF_ERROR(SaveHolds(tx, changes.holds));
  RETURN_IF_ERROR(AddCorrections(tx, changes.corrections));
  return AddSpent(tx, changes.spent);
}

// Rows that no other batch writes, beside another batch. (What bears on authority is committed
// before the next batch is decided: Batch::settle_first.)
absl::Status WriteOwn(pg::Transaction& tx, const Changes& changes) {
  RETURN_IF_ERROR(InsertEntries(tx, changes.entries, changes.posted_us));
  RETURN_IF_ERROR(InsertIds(tx, changes.ids));
  RETURN_IF_ERROR(InsertHistory(tx, changes.touched));
  RETURN_IF_ERROR(InsertTiles(tx, changes.tiles));
  RETURN_IF_ERROR(InsertAccounts(tx, changes.opened));
  if (!changes.authority) return absl::OkStatus();
  RETURN_IF_ERROR(ApplyAuthority(tx, changes.entries));
  return SaveCompleteUntil(tx, changes.complete_until_us);
}

// Rows that must be there, once the batch that may have made them is committed.
absl::Status WriteLast(pg::Transaction& tx, const Changes& changes) {
  return UpdateAccounts(tx, changes.changed);
}

}  // namespace

WriterMetrics DeclareWriterMetrics(obs::Metrics& metrics) {
  WriterMetrics m;
  m.batches = metrics.AddCounter("rochdale_ledger_batches_total",
                                 "Transactions that the writer committed.");
  m.entries = metrics.AddCounter("rochdale_ledger_entries_total", "Entries appended to the log.");
  m.retries = metrics.AddCounter("rochdale_ledger_batch_retries_total",
                                 "Batches tried again after a failure of the database.");
  m.transfers = metrics.Counters("rochdale_ledger_transfers_total",
                                 "Transfers decided, by result.", {"result"});
  m.batch_items = metrics.AddHistogram("rochdale_ledger_batch_items",
                                       "Accounts, transfers and entries of one batch.",
                                       {1, 4, 16, 64, 256, 1'024, 4'096, 8'192});
  m.commit_seconds = metrics.AddHistogram(
      "rochdale_ledger_commit_seconds", "Time of one batch, from its first statement to the "
      "answer of its COMMIT.", obs::LatencyBuckets());
  m.queue_items = metrics.AddGauge("rochdale_ledger_queue_items",
                                   "Accounts, transfers and entries that wait for the writer.");
  m.leading = metrics.AddGauge("rochdale_ledger_leading", "1 while this replica writes.");
  m.log_size = metrics.AddGauge("rochdale_ledger_log_size", "Committed entries of the log.");
  m.open_holds = metrics.AddGauge("rochdale_ledger_open_holds",
                                  "Holds that are neither posted nor voided nor expired.");
  m.imbalanced_assets = metrics.AddGauge(
      "rochdale_ledger_imbalanced_assets",
      "Assets whose balances do not sum up to 0: anything but 0 is a fault.");
  return m;
}

// A command that waits for its reply.
struct Writer::Pending {
  Pending(Command wanted, absl::Time until, Answerer call)
      : command(std::move(wanted)), items(command.items()), deadline(until),
        answer(std::move(call)) {}
  const Command command;
  const int items;
  const absl::Time deadline;
  const Answerer answer;
  int attempts = 0;  // batches with it that failed of themselves
};

Writer::Writer(pg::Database& db, const Clock& clock, const obs::Logger& logger,
               WriterMetrics metrics, ledger::StartLog log, Guard guard, WriterOptions options)
    : db_(db),
      clock_(clock),
      logger_(logger),
      metrics_(std::move(metrics)),
      log_(std::move(log)),
      guard_(std::move(guard)),
      options_(std::move(options)),
      trouble_(NotLeader()) {}

// A batch from its decision to its commit.
struct Writer::InFlight {
  std::vector<PendingPtr> commands;
  int64_t number = 0;  // that tree_state.batch has after it
  int64_t size_before = 0;
  std::vector<absl::StatusOr<Reply>> replies;
  std::optional<Changes> changes;  // once it is decided
  bool commit_sent = false;
  bool swept_along = false;  // it failed because the one before it did
  absl::Status failure;
};

Writer::~Writer() { Stop(); }

void Writer::Start() {
  for (int lane = 0; lane < kLanes; ++lane) threads_.emplace_back([this, lane] { Loop(lane); });
  pg::LeadershipOptions leadership;
  leadership.name = kWriterLease;
  if (options_.address) leadership.address = options_.address();
  leadership.check_every = options_.leadership_check_every;
  leadership.on_gained = [this](int64_t epoch) { Gained(epoch); };
  leadership.on_lost = [this] { Lost(); };
  leadership_ = std::make_unique<pg::Leadership>(db_, clock_, std::move(leadership));
}

void Writer::Stop() {
  {
    Lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  // The batches under way are committed and answered first.
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  if (leadership_ != nullptr) leadership_->Stop();
  Lock lock(mutex_);
  RefuseAll(RetryableError("UNAVAILABLE", "the ledger stops", absl::Seconds(1)), lock);
  for (std::unique_ptr<pg::Session>& session : sessions_) session.reset();
}

void Writer::SubmitAsync(Command command, absl::Time deadline, Answerer answer) {
  auto pending = std::make_shared<Pending>(std::move(command), deadline, std::move(answer));
  const absl::Status refused = [&]() -> absl::Status {
    std::lock_guard lock(mutex_);
    if (stopping_) return RetryableError("UNAVAILABLE", "the ledger stops", absl::Seconds(1));
    if (!epoch_.has_value()) return NotLeader();
    if (!queue_.empty() && queue_items_ + pending->items > options_.queue_items_max) {
      return RetryableError("OVERLOADED", "too many transfers and entries wait",
                            absl::Milliseconds(200));
    }
    queue_items_ += pending->items;
    queue_.push_back(std::move(pending));
    metrics_.queue_items.Set(queue_items_);
    // Where others wait already, whoever takes them takes this one, too.
    if (queue_.size() == 1) changed_.notify_all();
    return absl::OkStatus();
  }();
  if (!refused.ok()) pending->answer(refused);
}

absl::StatusOr<Reply> Writer::Submit(Command command, absl::Time deadline) {
  // Shared with the answer, which may come after its caller has gone.
  struct Waiter {
    std::mutex mutex;
    std::condition_variable answered;
    std::optional<absl::StatusOr<Reply>> reply;
  };
  auto waiter = std::make_shared<Waiter>();
  SubmitAsync(std::move(command), deadline, [waiter](absl::StatusOr<Reply> reply) {
    std::lock_guard lock(waiter->mutex);
    waiter->reply = std::move(reply);
    waiter->answered.notify_all();
  });
  std::unique_lock lock(waiter->mutex);
  if (!waiter->answered.wait_until(lock, absl::ToChronoTime(deadline),
                                   [&] { return waiter->reply.has_value(); })) {
    return TooLate();
  }
  return *std::move(waiter->reply);
}

bool Writer::Writing() const {
  std::lock_guard lock(mutex_);
  return epoch_.has_value() && loaded_;
}

absl::Status Writer::Ready() const {
  std::lock_guard lock(mutex_);
  return epoch_.has_value() && loaded_ ? absl::OkStatus() : trouble_;
}

void Writer::Gained(int64_t epoch) {
  std::lock_guard lock(mutex_);
  epoch_ = epoch;
  loaded_ = false;
  metrics_.leading.Set(1);
  changed_.notify_all();
}

void Writer::Lost() {
  Lock lock(mutex_);
  epoch_.reset();
  loaded_ = false;
  trouble_ = NotLeader();
  metrics_.leading.Set(0);
  changed_.notify_all();
  RefuseAll(NotLeader(), lock);
}

void Writer::RefuseAll(const absl::Status& status, Lock& lock) {
  const std::deque<PendingPtr> refused = std::exchange(queue_, {});
  queue_items_ = 0;
  metrics_.queue_items.Set(0);
  lock.unlock();
  for (const PendingPtr& pending : refused) pending->answer(status);
  lock.lock();
}

std::vector<Writer::PendingPtr> Writer::TakeBatch(std::vector<PendingPtr>& late, Lock&) {
  std::vector<PendingPtr> taken;
  const absl::Time now = absl::Now();
  int items = 0;
  while (!queue_.empty()) {
    const PendingPtr& next = queue_.front();
    const bool too_late = next->deadline <= now;
    const bool alone = one_by_one_ || next->command.ChangesAuthority();
    if (!too_late && !taken.empty() && (alone || items + next->items > kItemsMax)) break;
    queue_items_ -= next->items;
    if (!too_late) items += next->items;
    (too_late ? late : taken).push_back(next);
    queue_.pop_front();
    if (alone && !taken.empty()) break;
  }
  if (queue_.empty()) one_by_one_ = false;
  metrics_.queue_items.Set(queue_items_);
  return taken;
}

bool Writer::HasWork(Lock&) const { return !queue_.empty() || SomethingDue(); }

void Writer::Loop(int lane) {
  const auto due_every = absl::ToChronoMicroseconds(options_.due_every);
  Lock lock(mutex_);
  while (!stopping_) {
    if (deciding_) {
      changed_.wait(lock);
    } else if (failed_from_ != kNone && under_way_ > 0) {
      changed_.wait(lock);
    } else if (failed_from_ != kNone) {
      Recover(lock);
    } else if (epoch_.has_value() && !loaded_) {
      if (under_way_ > 0) {
        changed_.wait(lock);
        continue;
      }
      deciding_ = true;
      const int64_t epoch = *epoch_;
      lock.unlock();
      const absl::Status status = Load(epoch);
      if (!status.ok()) {
        logger_.Error("the log cannot be written", obs::Fields().Text("error", status.ToString()));
      }
      lock.lock();
      if (epoch_ == epoch) {
        loaded_ = status.ok();
        trouble_ = status;
      }
      deciding_ = false;
      changed_.notify_all();
      if (status.ok()) continue;
      RefuseAll(IsNotLeader(status) ? status : CannotWrite(), lock);
      changed_.wait_for(lock, std::chrono::seconds(1), [&] { return stopping_; });
    } else if (epoch_.has_value() && loaded_ && HasWork(lock)) {
      std::vector<PendingPtr> late;
      std::vector<PendingPtr> commands = TakeBatch(late, lock);
      if (!commands.empty() || SomethingDue()) {
        deciding_ = true;
        RunBatch(lane, std::move(commands), lock);
      }
      if (late.empty()) continue;
      lock.unlock();
      for (const PendingPtr& pending : late) pending->answer(TooLate());
      lock.lock();
    } else {
      changed_.wait_for(lock, due_every);
    }
  }
}

void Writer::GiveUpTurn(Lock&) {
  deciding_ = false;
  changed_.notify_all();
}

void Writer::RunBatch(int lane, std::vector<PendingPtr> commands, Lock& lock) {
  auto batch = std::make_unique<InFlight>();
  batch->commands = std::move(commands);
  const absl::Time begin = absl::Now();
  ++under_way_;
  batch->failure = Transact(lane, *batch, lock);  // without the turn afterwards
  --under_way_;
  changed_.notify_all();
  if (!batch->failure.ok()) {
    failed_from_ = std::min(failed_from_, batch->number);
    lost_.push_back(std::move(batch));
    return;
  }
  lock.unlock();
  Report(*batch->changes, batch->replies, absl::Now() - begin);
  for (size_t i = 0; i < batch->commands.size(); ++i) {
    batch->commands[i]->answer(std::move(batch->replies[i]));
  }
  lock.lock();
}

bool Writer::SomethingDue() const {
  return books_.next_expiry_us.has_value() &&
         *books_.next_expiry_us <= absl::ToUnixMicros(clock_.Now());
}

absl::Status Writer::Transact(int lane, InFlight& batch, Lock& lock) {
  batch.number = decided_ + 1;
  // Reading before the one before it is committed would read too early.
  const bool full = books_.Full();
  if (full || settle_first_ || SomethingDue()) {
    changed_.wait(lock, [&] { return under_way_ == 1; });
  }
  if (failed_from_ < batch.number) {
    batch.swept_along = true;
    GiveUpTurn(lock);
    return absl::AbortedError("the batch before it was not committed");
  }
  if (full) {
    Books kept;
    kept.end = books_.end;
    kept.last_us = books_.last_us;
    kept.next_expiry_us = books_.next_expiry_us;
    books_ = std::move(kept);
  }
  batch.size_before = books_.end.size();
  const int64_t epoch = state_.epoch;
  lock.unlock();
  absl::Status status = OpenSession(lane);
  bool turn = true;
  if (status.ok()) {
    const absl::Time deadline = absl::Now() + options_.commit_timeout;
    status = sessions_[lane]->Transact(deadline, [&](pg::Transaction& tx) -> absl::Status {
      absl::Status decided = Decide(tx, batch);
      if (decided.ok()) decided = WriteShared(tx, *batch.changes);
      lock.lock();
      turn = false;
      const bool changes = decided.ok() && batch.changes->Any();
      if (changes) decided_ = batch.number;
      else if (decided.ok()) batch.number = decided_;  // nothing to write, but to wait for
      else failed_from_ = std::min(failed_from_, batch.number);  // nobody goes on with the books
      GiveUpTurn(lock);
      lock.unlock();
      RETURN_IF_ERROR(decided);
      if (changes) RETURN_IF_ERROR(WriteOwn(tx, *batch.changes));
      const int64_t awaited = changes ? batch.number - 1 : batch.number;
      RETURN_IF_ERROR(AwaitCommitted(batch, awaited, deadline, lock));
      if (!changes) return absl::OkStatus();
      RETURN_IF_ERROR(WriteLast(tx, *batch.changes));
      RETURN_IF_ERROR(AdvanceTree(tx, {epoch, awaited, batch.size_before, "", {}},
                                  batch.changes->end));
      batch.commit_sent = true;
      return absl::OkStatus();
    });
  }
  lock.lock();
  if (turn) GiveUpTurn(lock);
  RETURN_IF_ERROR(status);
  if (!batch.commit_sent) return absl::OkStatus();
  state_.batch = batch.number;
  state_.size = batch.changes->end.size();
  return absl::OkStatus();
}

absl::Status Writer::OpenSession(int lane) {
  std::unique_ptr<pg::Session>& session = sessions_[lane];
  if (session != nullptr && !session->broken()) return absl::OkStatus();
  session.reset();
  ASSIGN_OR_RETURN(session, db_.OpenSession());
  return absl::OkStatus();
}

absl::Status Writer::AwaitCommitted(InFlight& batch, int64_t number, absl::Time deadline,
                                    Lock& lock) {
  lock.lock();
  const bool in_time = changed_.wait_until(lock, absl::ToChronoTime(deadline), [&] {
    return failed_from_ <= number || state_.batch >= number;
  });
  const bool committed = state_.batch >= number;
  lock.unlock();
  if (committed) return absl::OkStatus();
  batch.swept_along = in_time;
  return absl::AbortedError("the batch before it was not committed");
}

absl::Status Writer::Decide(pg::Transaction& tx, InFlight& batch) {
  Names names;
  for (const PendingPtr& pending : batch.commands) AddNames(pending->command, names);
  const int64_t now_us = std::max(absl::ToUnixMicros(clock_.Now()), books_.last_us);
  books_.earlier_ids = std::move(books_.ids);
  books_.ids.clear();
  RETURN_IF_ERROR(ledger::Load(tx, names, now_us, books_));
  Batch deciding(books_, now_us);
  batch.replies.clear();
  for (const PendingPtr& pending : batch.commands) {
    batch.replies.push_back(deciding.Decide(pending->command));
  }
  RETURN_IF_ERROR(deciding.status());
  settle_first_ = deciding.settle_first();
  batch.changes = deciding.Finish();
  if (batch.changes->authority) {
    books_.authority = Authority();
    books_.authority_known = false;
    books_.principals_known.clear();
    books_.agents_known.clear();
  }
  return absl::OkStatus();
}

void Writer::Recover(Lock& lock) {
  std::vector<std::unique_ptr<InFlight>> lost = std::exchange(lost_, {});
  std::sort(lost.begin(), lost.end(),
            [](const auto& a, const auto& b) { return a->number < b->number; });
  const absl::Status cause = lost.front()->failure;
  const int64_t size = state_.size;
  deciding_ = true;
  lock.unlock();
  logger_.Warning("a batch was not committed",
                  obs::Fields().Text("error", cause.ToString()).Int("size", size));
  const absl::Status reloaded = IsNotLeader(cause) ? cause : ReloadPatiently();
  if (!reloaded.ok() && !MayPass(reloaded)) {
    logger_.Error("the log cannot be written", obs::Fields().Text("error", reloaded.ToString()));
  }
  lock.lock();
  failed_from_ = kNone;
  GiveUpTurn(lock);
  if (!reloaded.ok()) {
    loaded_ = false;
    trouble_ = reloaded;
  }
  std::vector<PendingPtr> again;
  Answers answers;
  for (const std::unique_ptr<InFlight>& batch : lost) {
    if (!reloaded.ok()) {
      for (const PendingPtr& pending : batch->commands) answers.emplace_back(pending, reloaded);
    } else if (batch->commit_sent && batch->number <= state_.batch) {
      // The answer to its COMMIT was lost, not the batch.
      for (size_t i = 0; i < batch->commands.size(); ++i) {
        answers.emplace_back(batch->commands[i], std::move(batch->replies[i]));
      }
    } else {
      TryAgain(*batch, again, answers);
    }
  }
  for (auto pending = again.rbegin(); pending != again.rend(); ++pending) {
    queue_items_ += (*pending)->items;
    queue_.push_front(*pending);
  }
  lock.unlock();
  for (auto& [pending, reply] : answers) pending->answer(std::move(reply));
  lock.lock();
  if (!reloaded.ok()) RefuseAll(IsNotLeader(reloaded) ? reloaded : CannotWrite(), lock);
}

void Writer::TryAgain(InFlight& batch, std::vector<PendingPtr>& again, Answers& answers) {
  metrics_.retries.Add();
  const bool passes = MayPass(batch.failure);
  // Something in one command breaks a rule of the database: it alone shall fail.
  const bool alone = batch.commands.size() == 1;
  one_by_one_ = one_by_one_ || (!passes && !alone);
  for (const PendingPtr& pending : batch.commands) {
    if (!batch.swept_along) ++pending->attempts;
    if (pending->attempts >= kAttemptsMax || (!passes && alone)) {
      answers.emplace_back(pending, batch.failure);
    } else {
      again.push_back(pending);
    }
  }
}

absl::Status Writer::CheckBalances() {
  ASSIGN_OR_RETURN(const std::vector<std::string> imbalances,
                   db_.Transact(options_.commit_timeout, FindImbalances,
                                {pg::Isolation::kRepeatableRead, /*read_only=*/true}));
  metrics_.imbalanced_assets.Set(static_cast<double>(imbalances.size()));
  ASSIGN_OR_RETURN(const int64_t holds,
                   db_.Transact(options_.commit_timeout, CountOpenHolds,
                                {pg::Isolation::kReadCommitted, /*read_only=*/true}));
  metrics_.open_holds.Set(static_cast<double>(holds));
  if (imbalances.empty()) return absl::OkStatus();
  const std::string sums = absl::StrJoin(imbalances, ", ");
  logger_.Error("balances do not sum up to 0", obs::Fields().Text("sums", sums));
  return absl::DataLossError(absl::StrCat("balances do not sum up to 0: ", sums));
}

absl::Status Writer::Load(int64_t epoch) {
  {
    Lock lock(mutex_);
    state_ = TreeState();
    state_.epoch = epoch;
  }
  RETURN_IF_ERROR(CheckBalances());
  RETURN_IF_ERROR(Reload());
  if (books_.end.size() > 0) return absl::OkStatus();
  return StartLog();
}

// In a transaction of its own, before anybody else's command.
absl::Status Writer::StartLog() {
  const Caller self{true, "ledger", {}, {}};
  Batch first(books_, absl::ToUnixMicros(clock_.Now()));
  RETURN_IF_ERROR(first.Decide({self, log_}).status());
  RETURN_IF_ERROR(first.status());
  const Changes changes = first.Finish();
  const TreeState before = state_;
  RETURN_IF_ERROR(
      db_.Transact(options_.commit_timeout, [&](pg::Transaction& tx) -> absl::Status {
        RETURN_IF_ERROR(WriteOwn(tx, changes));
        return AdvanceTree(tx, before, changes.end);
      }));
  return Reload();
}

absl::Status Writer::Reload() {
  Books books;
  TreeState wanted;
  {
    Lock lock(mutex_);
    wanted = state_;
  }
  ASSIGN_OR_RETURN(
      TreeState state,
      db_.Transact(options_.commit_timeout, [&](pg::Transaction& tx) -> absl::StatusOr<TreeState> {
        ASSIGN_OR_RETURN(const TreeState taken, TakeTree(tx, wanted.epoch));
        ASSIGN_OR_RETURN(books.end, ReadTreeEnd(tx, taken.size));
        ASSIGN_OR_RETURN(books.last_us, FindLastPostedTime(tx));
        ASSIGN_OR_RETURN(books.next_expiry_us, FindNextExpiryAfter(tx, -1));
        RETURN_IF_ERROR(guard_(tx, taken));
        return taken;
      }));
  if (books.end.Root() != state.root || books.end.frontier().Serialise() != state.frontier) {
    return absl::DataLossError(absl::StrCat("the entries of the log do not have the root ",
                                            state.root.ToString(), " that it had at size ",
                                            state.size));
  }
  metrics_.log_size.Set(static_cast<double>(state.size));
  books_ = std::move(books);
  settle_first_ = false;
  decided_ = state.batch;
  Lock lock(mutex_);
  state_ = std::move(state);
  return absl::OkStatus();
}

absl::Status Writer::ReloadPatiently() {
  absl::Status status;
  absl::Duration pause = absl::Milliseconds(50);
  for (int attempt = 0; attempt < kReloadsMax; ++attempt) {
    status = Reload();
    if (status.ok() || !MayPass(status) || IsNotLeader(status)) return status;
    absl::SleepFor(pause);
    pause *= 2;
  }
  return status;
}

void Writer::Report(const Changes& changes, const std::vector<absl::StatusOr<Reply>>& replies,
                    absl::Duration took) {
  int items = 0;
  int by_result[kTransferResults] = {};
  for (const absl::StatusOr<Reply>& reply : replies) {
    if (!reply.ok()) continue;
    items += static_cast<int>(reply->accounts.size() + reply->outcomes.size() +
                              reply->log_indexes.size());
    for (const Outcome& outcome : reply->outcomes) ++by_result[static_cast<int>(outcome.result)];
  }
  for (int result = 1; result < kTransferResults; ++result) {
    if (by_result[result] == 0) continue;
    metrics_.transfers
        .With({absl::AsciiStrToLower(NameOf(static_cast<TransferResult>(result)))})
        .Add(by_result[result]);
  }
  metrics_.batches.Add();
  metrics_.entries.Add(static_cast<double>(changes.entries.size()));
  metrics_.batch_items.Observe(items);
  metrics_.commit_seconds.Observe(absl::ToDoubleSeconds(took));
  metrics_.log_size.Set(static_cast<double>(changes.end.size()));
}

}  // namespace rochdale::ledger
