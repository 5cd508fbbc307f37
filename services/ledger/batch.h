// One transaction's worth of commands, decided in order in memory.
//
// A batch starts from what is known of everything that its commands name, and gathers what must be
// written: accounts, balances, transfers, burned ids, entries and tiles. Pure: no I/O, no clock.
// A later command sees what an earlier one of the same batch did, so that an id that comes twice in
// one batch is treated as if it came in two.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/entry_builder.h"
#include "services/ledger/account_store.h"
#include "services/ledger/log_store.h"
#include "services/ledger/model.h"
#include "services/ledger/tree.h"

namespace rochdale::ledger {

// All accounts or none. ALREADY_EXISTS, PERMISSION_DENIED.
struct OpenAccounts {
  std::vector<Account> accounts;
  EventId authorised_by;  // zero: the registration of the calling principal
};

// Each transfer by itself.
struct PostTransfers {
  std::vector<Transfer> transfers;
  std::optional<crypto::SignedDocument> order;  // by which a principal asked
};

// All entries or none. REQUEST_ID_REUSED where an event id is in the log with other bytes.
struct AppendEntries {
  std::vector<LogEntry> entries;  // without indexes
};

// An entry that the ledger itself writes about the log, with the tree size it stands at; once for
// each event id.
struct RecordBundle {
  EventId event_id;
  CooperativeId cooperative;
  crypto::Digest manifest;
};

// The first entry of a log; nothing where there is one already.
struct StartLog {
  crypto::PublicKey key;
  std::string origin;
};

struct Command {
  Caller caller;
  absl::Time now;
  std::variant<OpenAccounts, PostTransfers, AppendEntries, RecordBundle, StartLog> what;

  // Accounts, transfers or entries: what the size of a batch is counted in.
  int items() const;
};

// What the caller is answered: one per item of its command.
struct Reply {
  std::vector<Account> accounts;
  std::vector<Outcome> outcomes;
  std::vector<int64_t> log_indexes;
};

// Everything that the commands of a batch name, as it stands.
struct Known {
  IdMap<AccountId, Account> accounts;
  IdMap<TransferId, PostedTransfer> transfers;
  IdMap<TransferId, TransferResult> burned;
  IdMap<Uuid, KnownEvent> events;
  IdMap<Uuid, EventId> registrations;  // of principals
};

// Ids to look up before a batch, each once and sorted.
struct Names {
  std::set<AccountId> accounts;
  std::set<TransferId> transfers;
  std::set<Uuid> events;
  std::set<Uuid> principals;

  void Add(const Command& command);
};

// The event ids of the ledger's own entries follow from what they are about.
EventId OpenedEvent(const AccountId& account);
EventId PostedEvent(const TransferId& transfer);
EventId StartedEvent(const StartLog& start);

class Batch {
 public:
  Batch(Known known, TreeEnd end);

  // In the order of the log. A status: the command has no effect; UNAVAILABLE (with RetryInfo)
  // where the registration of a calling principal, on which its entries rest, is not in the log
  // yet. A broken invariant (an entry that cannot be built) shows in status(), and nothing of the
  // batch may be written.
  absl::StatusOr<Reply> Decide(const Command& command);
  const absl::Status& status() const { return status_; }

  // False where nothing is to be written.
  bool Changes() const { return !entries_.empty() || !burned_.empty(); }
  // Ids are in the order in which they were opened or first moved.
  std::vector<const Account*> opened() const { return AccountsOf(opened_); }
  std::vector<const Account*> moved() const { return AccountsOf(moved_); }
  const std::vector<PostedTransfer>& transfers() const { return transfers_; }
  const std::vector<Burned>& burned() const { return burned_; }
  const std::vector<LogEntry>& entries() const { return entries_; }
  // Orders that entries of the batch name.
  const std::vector<crypto::SignedDocument>& documents() const { return documents_; }
  const std::vector<Tile>& tiles() const { return tiles_; }
  const TreeEnd& end() const { return end_; }

 private:
  absl::StatusOr<Reply> Run(const Command& command, const OpenAccounts& open);
  absl::StatusOr<Reply> Run(const Command& command, const PostTransfers& post);
  absl::StatusOr<Reply> Run(const Command& command, const AppendEntries& append);
  absl::StatusOr<Reply> Run(const Command& command, const RecordBundle& record);
  absl::StatusOr<Reply> Run(const Command& command, const StartLog& start);

  void Open(const Command& command, const OpenAccounts& open, Account account);
  Outcome Post(const Command& command, const PostTransfers& post, const Transfer& wanted);
  void Write(const Command& command, const PostTransfers& post, PostedTransfer posted,
             const Account& debit, const Account& credit);
  // The index that the entry gets.
  int64_t AppendOwn(crypto::EntryBuilder& builder);
  int64_t Append(LogEntry entry);
  EventId RegistrationOf(const Caller& caller) const;
  absl::Status RestsOnTheLog(const Caller& caller) const;
  void MarkMoved(const AccountId& id);
  std::vector<const Account*> AccountsOf(const std::vector<AccountId>& ids) const;

  Known known_;
  TreeEnd end_;
  absl::Status status_;
  std::vector<AccountId> opened_, moved_;
  std::set<AccountId> opened_set_, moved_set_;
  std::vector<PostedTransfer> transfers_;
  std::vector<Burned> burned_;
  std::vector<LogEntry> entries_;
  std::vector<crypto::SignedDocument> documents_;
  std::vector<Tile> tiles_;
};

}  // namespace rochdale::ledger
