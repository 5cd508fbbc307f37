// One transaction's worth of commands, decided in order in memory.
//
// A batch starts from the books and changes them, and gathers what must be written. Pure: no I/O,
// no clock. A later command sees what an earlier one of the same batch did, so that an id that
// comes twice in one batch is treated as if it came in two.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/entry_builder.h"
#include "services/ledger/account_store.h"
#include "services/ledger/books.h"
#include "services/ledger/log_store.h"
#include "services/ledger/model.h"
#include "services/ledger/rules.h"
#include "services/ledger/transfer_entry.h"
#include "services/ledger/tree.h"

namespace rochdale::ledger {

// All accounts or none. ALREADY_EXISTS, PERMISSION_DENIED.
struct OpenAccounts {
  std::vector<Account> accounts;
  EventId authorised_by;  // zero: the registration of the calling principal
};

// Status and floor; once for each event id. ACCOUNT_NOT_FOUND, ACCOUNT_TRANSITION_INVALID,
// PERMISSION_DENIED.
struct ChangeAccount {
  EventId event_id;  // follows from the caller and its request_id
  AccountId account;
  std::optional<AccountStatus> status;
  std::optional<int64_t> floor;
  EventId authorised_by;  // zero: the registration of the calling principal
  std::optional<crypto::SignedDocument> order;
};

// Each transfer by itself, but for chains of linked ones.
struct PostTransfers {
  std::vector<Transfer> transfers;
  std::optional<crypto::SignedDocument> order;  // by which a principal or agent asked
};

// All entries or none. REQUEST_ID_REUSED where an event id is in the log with other bytes.
struct AppendEntries {
  std::vector<LogEntry> entries;  // without indexes
  int64_t complete_until_us = 0;  // of governance; 0: not said
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

// Nothing but what is due: holds that expire.
struct Tick {};

struct Command {
  Caller caller;
  std::variant<OpenAccounts, ChangeAccount, PostTransfers, AppendEntries, RecordBundle, StartLog,
               Tick>
      what;

  // Accounts, transfers or entries: what the size of a batch is counted in.
  int items() const;
  // Governance's entries, on which what comes after them in the log may rest: a batch of their own.
  bool ChangesAuthority() const;
};

// What the caller is answered: one per item of its command.
struct Reply {
  std::vector<Account> accounts;
  std::vector<Outcome> outcomes;
  std::vector<int64_t> log_indexes;
};

// What the command names, added to `names`.
void AddNames(const Command& command, Names& names);

// The event ids of the ledger's own entries follow from what they are about.
EventId OpenedEvent(const AccountId& account);
EventId StartedEvent(const StartLog& start);
EventId ExpiredEvent(const TransferId& hold);

// What a batch must write.
struct Changes {
  int64_t posted_us = 0;
  std::vector<LogEntry> entries;
  std::vector<UsedId> ids;
  std::vector<Account> opened, changed;
  std::vector<Touched> touched;
  std::vector<Hold> holds;
  IdMap<TransferId, int64_t> corrections;  // added
  std::map<SpentKey, int64_t> spent;       // added
  std::vector<crypto::SignedDocument> documents;
  std::vector<Tile> tiles;
  bool authority = false;         // entries bear on it
  int64_t complete_until_us = 0;  // 0: not said
  TreeEnd end;

  bool Any() const { return !entries.empty() || !ids.empty() || complete_until_us != 0; }
};

class Batch {
 public:
  // `books` has everything that the commands name; it is changed. Holds that are due end first.
  // `now_us` is not below books.last_us.
  Batch(Books& books, int64_t now_us);

  // In the order of the log. A status: the command has no effect; UNAVAILABLE (with RetryInfo)
  // where the registration of a calling principal is not in the log yet, or where what is known of
  // its authority is too old (AUTHORITY_STALE).
  absl::StatusOr<Reply> Decide(const Command& command);
  // A broken invariant (an entry that cannot be built): nothing of the batch may be written.
  const absl::Status& status() const { return status_; }
  // Where the next batch must not read before this one is committed.
  bool settle_first() const { return settle_first_; }

  // After the last command; once.
  Changes Finish();

 private:
  // What a transfer moves between, as far as the books have it; found once for each transfer.
  struct Parties {
    Account* debit = nullptr;
    Account* credit = nullptr;
    Hold* hold = nullptr;  // that the transfer ends
  };
  // A posted transfer whose place in the log is not given yet.
  struct Staged {
    std::shared_ptr<PostedTransfer> posted;
    Parties parties;
    size_t outcome;
  };
  struct TouchedAccount {
    const Account* account = nullptr;
    absl::InlinedVector<int64_t, 2> indexes;
  };

  absl::StatusOr<Reply> Run(const Command& command, const OpenAccounts& open);
  absl::StatusOr<Reply> Run(const Command& command, const ChangeAccount& change);
  absl::StatusOr<Reply> Run(const Command& command, const PostTransfers& post);
  absl::StatusOr<Reply> Run(const Command& command, const AppendEntries& append);
  absl::StatusOr<Reply> Run(const Command& command, const RecordBundle& record);
  absl::StatusOr<Reply> Run(const Command& command, const StartLog& start);
  absl::StatusOr<Reply> Run(const Command& command, const Tick& tick);

  void Open(const Command& command, const OpenAccounts& open, Account account);
  void ExpireDue();

  // Transfers [begin, end), to succeed or fail together; `open`: the request ends inside the chain.
  void RunChain(const Command& command, const PostTransfers& post, size_t begin, size_t end,
                bool open, const std::optional<OrderTags>& order, std::vector<Outcome>& outcomes);
  // Decides and, where it succeeds, changes the books and stages the entry.
  Outcome Post(const Command& command, const Transfer& wanted, bool chain_open, size_t outcome);
  Outcome Repeated(const IdRecord& record, const Transfer& wanted, const Caller& caller);
  Parties PartiesOf(const Transfer& wanted);
  Decision DecideWith(const Transfer& wanted, const Caller& caller, const Parties& parties);
  void Apply(const Transfer& resolved, const Caller& caller, const Decision& decision,
             const Parties& parties);
  void EndHold(Hold& hold, Account& debit, HoldState state, int64_t posted);
  void Spend(const Uuid& key, const std::string& asset, int64_t opened_us, int64_t amount,
             bool in_all);
  void AppendStaged(const Command& command, const std::optional<OrderTags>& order,
                    std::vector<Outcome>& outcomes);

  // The index that the entry gets.
  int64_t AppendOwn(crypto::EntryBuilder& builder);
  int64_t Append(LogEntry entry, int result = 0,
                 std::shared_ptr<PostedTransfer> posted = nullptr);
  absl::Status RestsOnTheLog(const Command& command) const;
  void Touch(Account& account, int64_t index);
  // Remembers how to take a change back while a chain is decided.
  void OnUndo(std::function<void()> undo);

  Books& books_;
  const int64_t now_us_;
  absl::Status status_;
  bool settle_first_ = false;
  bool in_chain_ = false;
  std::vector<std::function<void()>> undo_;
  std::vector<Staged> staged_;
  std::vector<TouchedAccount> touched_;
  absl::flat_hash_map<const Account*, size_t> touched_places_;
  std::map<TransferId, Hold> holds_;
  std::map<AccountId, bool> changed_;
  Changes changes_;
};

}  // namespace rochdale::ledger
