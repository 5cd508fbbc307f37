#include "services/ledger/writer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/obs/log.h"

namespace rochdale::ledger {
namespace {

constexpr int kAttemptsMax = 4;
constexpr int kReloadsMax = 6;  // over 3 seconds: a restart of the database may take as long
constexpr char kLease[] = "ledger.writer";

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

// The number of a result as the label of a metric: its name in lower case.
std::string LabelOf(TransferResult result) {
  static constexpr const char* kLabels[] = {
      "unspecified",      "posted",
      "exists",           "exists_different",
      "id_already_failed", "same_account",
      "debit_account_not_found", "credit_account_not_found",
      "asset_mismatch",   "not_authorised",
      "debit_account_not_open", "credit_account_not_open",
      "insufficient_funds", "overflow"};
  return kLabels[static_cast<int>(result)];
}

template <typename Id>
std::vector<Id> ListOf(const std::set<Id>& ids) {
  return {ids.begin(), ids.end()};
}

absl::StatusOr<Known> LookUp(pg::Transaction& tx, const Names& names) {
  Known known;
  ASSIGN_OR_RETURN(known.accounts, LockAccounts(tx, ListOf(names.accounts)));
  ASSIGN_OR_RETURN(known.transfers, FindTransfers(tx, ListOf(names.transfers)));
  ASSIGN_OR_RETURN(known.burned, FindBurned(tx, ListOf(names.transfers)));
  ASSIGN_OR_RETURN(known.events, FindEvents(tx, ListOf(names.events)));
  ASSIGN_OR_RETURN(known.registrations, FindRegistrations(tx, ListOf(names.principals)));
  return known;
}

absl::Status Write(pg::Transaction& tx, const Batch& batch, const TreeState& before) {
  RETURN_IF_ERROR(AdvanceTree(tx, before, batch.end()));
  RETURN_IF_ERROR(InsertEntries(tx, batch.entries()));
  RETURN_IF_ERROR(InsertDocuments(tx, batch.documents()));
  RETURN_IF_ERROR(InsertTiles(tx, batch.tiles()));
  RETURN_IF_ERROR(InsertAccounts(tx, batch.opened()));
  RETURN_IF_ERROR(UpdateBalances(tx, batch.moved()));
  RETURN_IF_ERROR(InsertTransfers(tx, batch.transfers()));
  return InsertBurned(tx, batch.burned());
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
};

Writer::Writer(pg::Database& db, const Clock& clock, const obs::Logger& logger,
               WriterMetrics metrics, StartLog log, Guard guard, WriterOptions options)
    : db_(db),
      clock_(clock),
      logger_(logger),
      metrics_(std::move(metrics)),
      log_(std::move(log)),
      guard_(std::move(guard)),
      options_(std::move(options)),
      trouble_(NotLeader()) {}

Writer::~Writer() { Stop(); }

void Writer::Start() {
  thread_ = std::thread([this] { Loop(); });
  pg::LeadershipOptions leadership;
  leadership.name = kLease;
  leadership.address = options_.address;
  leadership.check_every = options_.leadership_check_every;
  leadership.on_gained = [this](int64_t epoch) { Gained(epoch); };
  leadership.on_lost = [this] { Lost(); };
  leadership_ = std::make_unique<pg::Leadership>(db_, clock_, std::move(leadership));
}

void Writer::Stop() {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();  // the batch under way is committed and answered first
  if (leadership_ != nullptr) leadership_->Stop();
  std::unique_lock lock(mutex_);
  RefuseAll(RetryableError("UNAVAILABLE", "the ledger stops", absl::Seconds(1)), lock);
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
    changed_.notify_all();
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
  std::unique_lock lock(mutex_);
  epoch_.reset();
  loaded_ = false;
  trouble_ = NotLeader();
  metrics_.leading.Set(0);
  changed_.notify_all();
  RefuseAll(NotLeader(), lock);
}

void Writer::RefuseAll(const absl::Status& status, std::unique_lock<std::mutex>& lock) {
  const std::deque<PendingPtr> refused = std::exchange(queue_, {});
  queue_items_ = 0;
  metrics_.queue_items.Set(0);
  lock.unlock();
  for (const PendingPtr& pending : refused) pending->answer(status);
  lock.lock();
}

std::vector<Writer::PendingPtr> Writer::TakeBatch(std::unique_lock<std::mutex>& lock) {
  std::vector<PendingPtr> taken, late;
  const absl::Time now = absl::Now();
  int items = 0;
  while (!queue_.empty() && (taken.empty() || items + queue_.front()->items <= kItemsMax)) {
    PendingPtr next = std::move(queue_.front());
    queue_.pop_front();
    queue_items_ -= next->items;
    if (next->deadline <= now) {
      late.push_back(std::move(next));
      continue;
    }
    items += next->items;
    taken.push_back(std::move(next));
  }
  metrics_.queue_items.Set(queue_items_);
  lock.unlock();
  for (const PendingPtr& pending : late) pending->answer(TooLate());
  return taken;
}

void Writer::Loop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (epoch_.has_value() && !loaded_) {
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
      if (!status.ok()) RefuseAll(IsNotLeader(status) ? status : CannotWrite(), lock);
      if (!status.ok()) changed_.wait_for(lock, std::chrono::seconds(1), [&] { return stopping_; });
      continue;
    }
    if (epoch_.has_value() && !queue_.empty()) {
      const std::vector<PendingPtr> commands = TakeBatch(lock);
      if (!commands.empty()) Process(commands);
      lock.lock();
      continue;
    }
    changed_.wait(lock);
  }
}

absl::Status Writer::CheckBalances() {
  ASSIGN_OR_RETURN(const std::vector<std::string> imbalances,
                   db_.Transact(options_.commit_timeout, FindImbalances,
                                {pg::Isolation::kRepeatableRead, /*read_only=*/true}));
  metrics_.imbalanced_assets.Set(static_cast<double>(imbalances.size()));
  if (imbalances.empty()) return absl::OkStatus();
  const std::string sums = absl::StrJoin(imbalances, ", ");
  logger_.Error("balances do not sum up to 0", obs::Fields().Text("sums", sums));
  return absl::DataLossError(absl::StrCat("balances do not sum up to 0: ", sums));
}

absl::Status Writer::Load(int64_t epoch) {
  state_ = TreeState();
  state_.epoch = epoch;
  RETURN_IF_ERROR(CheckBalances());
  RETURN_IF_ERROR(Reload());
  if (state_.size > 0) return absl::OkStatus();
  const Caller self{true, "ledger", {}, {}};
  absl::Status status = CannotWrite();
  Process({std::make_shared<Pending>(
      Command{self, clock_.Now(), log_}, absl::InfiniteFuture(),
      [&status](const absl::StatusOr<Reply>& reply) { status = reply.status(); })});
  return status;
}

absl::Status Writer::Reload() {
  TreeEnd end;
  ASSIGN_OR_RETURN(
      TreeState state,
      db_.Transact(options_.commit_timeout, [&](pg::Transaction& tx) -> absl::StatusOr<TreeState> {
        ASSIGN_OR_RETURN(const TreeState taken, TakeTree(tx, state_.epoch));
        ASSIGN_OR_RETURN(end, ReadTreeEnd(tx, taken.size));
        RETURN_IF_ERROR(guard_(tx, taken));
        return taken;
      }));
  if (end.Root() != state.root || end.frontier().Serialise() != state.frontier) {
    return absl::DataLossError(absl::StrCat("the entries of the log do not have the root ",
                                            state.root.ToString(), " that it had at size ",
                                            state.size));
  }
  state_ = std::move(state);
  end_ = std::move(end);
  metrics_.log_size.Set(static_cast<double>(state_.size));
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

void Writer::Process(const std::vector<PendingPtr>& commands) {
  absl::Status status;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    if (attempt > 0) metrics_.retries.Add();
    status = TryBatch(commands);
    if (status.ok()) return;
    if (!MayPass(status)) break;
    if (IsNotLeader(status)) break;
  }
  if (MayPass(status) || commands.size() == 1) {
    if (MayPass(status)) {
      // Whatever is in memory may be behind the database now.
      std::lock_guard lock(mutex_);
      loaded_ = false;
      trouble_ = status;
    }
    for (const PendingPtr& pending : commands) pending->answer(status);
    return;
  }
  // Something in one command breaks a rule of the database: it alone shall fail.
  for (const PendingPtr& pending : commands) Process({pending});
}

absl::Status Writer::TryBatch(const std::vector<PendingPtr>& commands) {
  std::optional<Batch> batch;
  std::vector<absl::StatusOr<Reply>> replies;
  const absl::Time begin = absl::Now();
  const TreeState before = state_;
  absl::Status status = Commit(commands, batch, replies);
  if (status.ok()) {
    if (batch->Changes()) {
      state_.batch += 1;
      state_.size = batch->end().size();
      end_ = batch->end();
    }
  } else {
    if (!MayPass(status) || IsNotLeader(status)) return status;
    logger_.Warning("a batch got no answer",
                    obs::Fields().Text("error", status.ToString()).Int("size", before.size));
    RETURN_IF_ERROR(ReloadPatiently());
    if (!batch.has_value() || state_.batch != before.batch + 1) return status;
  }
  Report(*batch, replies, absl::Now() - begin);
  for (size_t i = 0; i < commands.size(); ++i) commands[i]->answer(std::move(replies[i]));
  return absl::OkStatus();
}

absl::Status Writer::Commit(const std::vector<PendingPtr>& commands, std::optional<Batch>& batch,
                            std::vector<absl::StatusOr<Reply>>& replies) {
  Names names;
  for (const PendingPtr& pending : commands) names.Add(pending->command);
  return db_.Transact(options_.commit_timeout, [&](pg::Transaction& tx) -> absl::Status {
    batch.reset();
    replies.clear();
    ASSIGN_OR_RETURN(Known known, LookUp(tx, names));
    batch.emplace(std::move(known), end_);
    for (const PendingPtr& pending : commands) replies.push_back(batch->Decide(pending->command));
    RETURN_IF_ERROR(batch->status());
    return batch->Changes() ? Write(tx, *batch, state_) : absl::OkStatus();
  });
}

void Writer::Report(const Batch& batch, const std::vector<absl::StatusOr<Reply>>& replies,
                    absl::Duration took) {
  int items = 0;
  int by_result[16] = {};
  for (const absl::StatusOr<Reply>& reply : replies) {
    if (!reply.ok()) continue;
    items += static_cast<int>(reply->accounts.size() + reply->outcomes.size() +
                              reply->log_indexes.size());
    for (const Outcome& outcome : reply->outcomes) ++by_result[static_cast<int>(outcome.result)];
  }
  for (int result = 1; result <= static_cast<int>(TransferResult::kOverflow); ++result) {
    if (by_result[result] == 0) continue;
    metrics_.transfers.With({LabelOf(static_cast<TransferResult>(result))}).Add(by_result[result]);
  }
  metrics_.batches.Add();
  metrics_.entries.Add(static_cast<double>(batch.entries().size()));
  metrics_.batch_items.Observe(items);
  metrics_.commit_seconds.Observe(absl::ToDoubleSeconds(took));
  metrics_.log_size.Set(static_cast<double>(batch.end().size()));
}

}  // namespace rochdale::ledger
