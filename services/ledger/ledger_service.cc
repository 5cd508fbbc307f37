#include "services/ledger/ledger_service.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "libs/pg/documents.h"
#include "libs/rpc/document.h"
#include "libs/rpc/fields.h"
#include "libs/rpc/paging.h"
#include "services/ledger/account_store.h"
#include "services/ledger/convert.h"
#include "services/ledger/cosignature_store.h"
#include "services/ledger/log_store.h"
#include "services/ledger/tile_store.h"

namespace rochdale::ledger {
namespace {

using rpc::Call;
using Stub = v1::LedgerService::Stub;

constexpr pg::TransactOptions kReadOnly{pg::Isolation::kReadCommitted, /*read_only=*/true};
// A page of entries ends here, so that it fits into one message.
constexpr size_t kPageBytesMax = 3u << 20;

// The key of a page token that is a number.
absl::StatusOr<int64_t> NumberAfter(const rpc::Page& page, int64_t first) {
  int64_t number = first;
  if (!page.first() && !absl::SimpleAtoi(page.after[0], &number)) {
    return Error("PAGE_TOKEN_INVALID", "the page token holds no number");
  }
  return number;
}

absl::Status LogSizeUnknown(int64_t size) {
  return Error("LOG_SIZE_UNKNOWN", absl::StrCat("the log has no size ", size));
}

template <typename Hashes, typename Out>
void AddHashes(const Hashes& hashes, Out& out) {
  for (const crypto::Digest& hash : hashes) out.Add(std::string(hash.AsBytes()));
}

}  // namespace

grpc::Status LedgerService::OpenAccounts(grpc::ServerContext* context,
                                         const v1::OpenAccountsRequest* request,
                                         v1::OpenAccountsResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    if (auto done = forwarding_.Forward(call, &Stub::OpenAccounts, *request, response)) {
      return *std::move(done);
    }
    const Caller caller = CallerOf(call.identity);
    ASSIGN_OR_RETURN(ledger::OpenAccounts open, ParseOpenAccounts(*request, caller));
    ASSIGN_OR_RETURN(const Reply reply,
                     writer_.Submit({caller, std::move(open)}, call.deadline));
    for (const Account& account : reply.accounts) ToProto(account, *response->add_accounts());
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::GetAccount(grpc::ServerContext* context,
                                       const v1::GetAccountRequest* request,
                                       v1::GetAccountResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Uuid id, ParseOnlyId(request->account_id(), "account_id"));
    ASSIGN_OR_RETURN(const std::optional<Account> account,
                     db_.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return FindAccount(tx, AccountId{id});
                     }, kReadOnly));
    if (!account.has_value()) return Error("ACCOUNT_NOT_FOUND", "there is no such account");
    ToProto(*account, *response->mutable_account());
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::ListAccounts(grpc::ServerContext* context,
                                         const v1::ListAccountsRequest* request,
                                         v1::ListAccountsResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Uuid owner, ParseOnlyId(request->owner_id(), "owner_id"));
    const std::string binding = absl::StrCat("ListAccounts/", owner.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    Uuid after;
    if (!page.first()) {
      ASSIGN_OR_RETURN(after, ParseOnlyId(page.after[0], "page_token"));
    }
    ASSIGN_OR_RETURN(std::vector<Account> accounts,
                     db_.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return ledger::ListAccounts(tx, owner, AccountId{after}, page.size + 1);
                     }, kReadOnly));
    if (static_cast<int>(accounts.size()) > page.size) {
      accounts.resize(page.size);
      response->set_next_page_token(
          rpc::MakePageToken(binding, {accounts.back().id.ToString()}));
    }
    for (const Account& account : accounts) ToProto(account, *response->add_accounts());
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::PostTransfers(grpc::ServerContext* context,
                                          const v1::PostTransfersRequest* request,
                                          v1::PostTransfersResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    if (auto done = forwarding_.Forward(call, &Stub::PostTransfers, *request, response)) {
      return *std::move(done);
    }
    ASSIGN_OR_RETURN(ledger::PostTransfers post,
                     ParsePostTransfers(*request, call.identity, call.now));
    ASSIGN_OR_RETURN(
        const Reply reply,
        writer_.Submit({CallerOf(call.identity), std::move(post)}, call.deadline));
    for (const Outcome& outcome : reply.outcomes) ToProto(outcome, *response->add_outcomes());
    return absl::OkStatus();
  });
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* LedgerService::StreamTransfers(
    grpc::CallbackServerContext* context) {
  return TransferStream::Begin(*context, calls_, clock_, writer_, room_,
                               [this] {
                                 return forwarding_.CheckHere(absl::Now() + absl::Seconds(5));
                               });
}

grpc::Status LedgerService::GetTransfer(grpc::ServerContext* context,
                                        const v1::GetTransferRequest* request,
                                        v1::GetTransferResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Uuid id, ParseOnlyId(request->transfer_id(), "transfer_id"));
    ASSIGN_OR_RETURN(const std::optional<PostedTransfer> posted,
                     db_.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return FindTransfer(tx, TransferId{id});
                     }, kReadOnly));
    if (!posted.has_value()) return Error("NOT_FOUND", "there is no such transfer");
    ToProto(*posted, *response->mutable_transfer());
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::ListTransfers(grpc::ServerContext* context,
                                          const v1::ListTransfersRequest* request,
                                          v1::ListTransfersResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Uuid account, ParseOnlyId(request->account_id(), "account_id"));
    const std::string binding = absl::StrCat("ListTransfers/", account.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    ASSIGN_OR_RETURN(const int64_t before,
                     NumberAfter(page, std::numeric_limits<int64_t>::max()));
    ASSIGN_OR_RETURN(std::vector<PostedTransfer> transfers,
                     db_.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return ledger::ListTransfers(tx, AccountId{account}, before, page.size + 1);
                     }, kReadOnly));
    if (static_cast<int>(transfers.size()) > page.size) {
      transfers.resize(page.size);
      response->set_next_page_token(
          rpc::MakePageToken(binding, {absl::StrCat(transfers.back().log_index)}));
    }
    for (const PostedTransfer& posted : transfers) ToProto(posted, *response->add_transfers());
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::AppendEntries(grpc::ServerContext* context,
                                          const v1::AppendEntriesRequest* request,
                                          v1::AppendEntriesResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    if (auto done = forwarding_.Forward(call, &Stub::AppendEntries, *request, response)) {
      return *std::move(done);
    }
    const Caller caller = CallerOf(call.identity);
    ASSIGN_OR_RETURN(ledger::AppendEntries append, ParseAppendEntries(*request, caller));
    ASSIGN_OR_RETURN(const Reply reply,
                     writer_.Submit({caller, std::move(append)}, call.deadline));
    response->mutable_log_indexes()->Add(reply.log_indexes.begin(), reply.log_indexes.end());
    return absl::OkStatus();
  });
}

absl::StatusOr<TreeHead> LedgerService::NewestHead(const Call& call) {
  ASSIGN_OR_RETURN(const std::optional<TreeHead> head,
                   db_.Transact(call.deadline, FindNewestHeadWithCosignatures, kReadOnly));
  if (head.has_value()) return *head;
  RETURN_IF_ERROR(writer_.Ready());
  return heads_.SignNow(call.deadline);
}

grpc::Status LedgerService::GetTreeHead(grpc::ServerContext* context,
                                        const v1::GetTreeHeadRequest*,
                                        v1::GetTreeHeadResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const TreeHead head, NewestHead(call));
    ToProto(head, *response->mutable_tree_head());
    response->set_verifier_key(heads_.verifier_key().ToString());
    for (const crypto::NoteKey& witness : published_.witnesses()) {
      response->add_witness_keys(witness.ToString());
    }
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::ListTreeHeads(grpc::ServerContext* context,
                                          const v1::ListTreeHeadsRequest* request,
                                          v1::ListTreeHeadsResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const rpc::Page page, rpc::ParsePage(request->page_size(),
                                                          request->page_token(), "ListTreeHeads",
                                                          1));
    ASSIGN_OR_RETURN(const int64_t after, NumberAfter(page, 0));
    ASSIGN_OR_RETURN(std::vector<TreeHead> heads,
                     db_.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return ledger::ListTreeHeads(tx, after, page.size + 1);
                     }, kReadOnly));
    if (static_cast<int>(heads.size()) > page.size) {
      heads.resize(page.size);
      response->set_next_page_token(
          rpc::MakePageToken("ListTreeHeads", {absl::StrCat(heads.back().size)}));
    }
    for (const TreeHead& head : heads) ToProto(head, *response->add_tree_heads());
    return absl::OkStatus();
  });
}

static absl::StatusOr<EntryName> ParseEntryName(const std::string& event_id, int64_t index) {
  EntryName name;
  name.index = index;
  if (!event_id.empty()) {
    ASSIGN_OR_RETURN(name.event_id.value, ParseOnlyId(event_id, "event_id"));
  }
  return name;
}

static absl::StatusOr<LogEntry> EntryIn(pg::Transaction& tx, const EntryName& name) {
  ASSIGN_OR_RETURN(std::optional<LogEntry> entry, name.event_id.IsZero()
                                                      ? FindEntry(tx, name.index)
                                                      : FindEntryByEvent(tx, name.event_id));
  if (entry.has_value()) return *std::move(entry);
  if (!name.event_id.IsZero()) {
    return Error("NOT_FOUND", "no entry of the log has this event id");
  }
  return Error("LOG_SIZE_UNKNOWN", absl::StrCat("the log has no entry ", name.index));
}

absl::StatusOr<LogEntry> LedgerService::EntryOf(const Call& call, const std::string& event_id,
                                                int64_t index) {
  ASSIGN_OR_RETURN(const EntryName name, ParseEntryName(event_id, index));
  return db_.Transact(
      call.deadline, [&](pg::Transaction& tx) { return EntryIn(tx, name); }, kReadOnly);
}

grpc::Status LedgerService::GetEntry(grpc::ServerContext* context,
                                     const v1::GetEntryRequest* request,
                                     v1::GetEntryResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const LogEntry entry,
                     EntryOf(call, request->event_id(), request->log_index()));
    ToProto(entry, *response->mutable_entry());
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::ListEntries(grpc::ServerContext* context,
                                        const v1::ListEntriesRequest* request,
                                        v1::ListEntriesResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    std::optional<Uuid> subject;
    if (!request->subject_id().empty()) {
      ASSIGN_OR_RETURN(subject, ParseOnlyId(request->subject_id(), "subject_id"));
    }
    const std::string binding = absl::StrCat("ListEntries/", request->subject_id());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    ASSIGN_OR_RETURN(const int64_t from, NumberAfter(page, request->from_index()));
    ASSIGN_OR_RETURN(const std::vector<LogEntry> entries,
                     db_.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return ledger::ListEntries(tx, subject, from, page.size + 1);
                     }, kReadOnly));
    size_t bytes = 0;
    for (const LogEntry& entry : entries) {
      bytes += entry.leaf.size() + 16;
      if (response->entries_size() == page.size ||
          (response->entries_size() > 0 && bytes > kPageBytesMax)) {
        response->set_next_page_token(rpc::MakePageToken(binding, {absl::StrCat(entry.index)}));
        break;
      }
      ToProto(entry, *response->add_entries());
    }
    return absl::OkStatus();
  });
}

// The head of `size`, signed or not; of 0 the newest signed one, or nothing where there is none.
static absl::StatusOr<std::optional<TreeHead>> HeadIn(pg::Transaction& tx, int64_t size) {
  if (size == 0) return FindNewestHeadWithCosignatures(tx);
  if (size < 0) return LogSizeUnknown(size);
  ASSIGN_OR_RETURN(const std::optional<TreeHead> signed_head, FindTreeHead(tx, size));
  if (signed_head.has_value()) return signed_head;
  ASSIGN_OR_RETURN(const TreeState state, ReadTreeState(tx));
  if (size > state.size) return LogSizeUnknown(size);
  TreeHead head;
  head.size = size;
  ASSIGN_OR_RETURN(head.root, crypto::TreeRoot(size, ReadNodes(tx, state.size)));
  return head;
}

absl::StatusOr<TreeHead> LedgerService::HeadOf(const Call& call, int64_t size) {
  ASSIGN_OR_RETURN(const std::optional<TreeHead> head,
                   db_.Transact(
                       call.deadline, [&](pg::Transaction& tx) { return HeadIn(tx, size); },
                       kReadOnly));
  if (head.has_value()) return *head;
  return NewestHead(call);
}

grpc::Status LedgerService::GetInclusionProof(grpc::ServerContext* context,
                                              const v1::GetInclusionProofRequest* request,
                                              v1::GetInclusionProofResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const EntryName name,
                     ParseEntryName(request->event_id(), request->log_index()));
    std::optional<TreeHead> head;
    LogEntry entry;
    std::vector<crypto::Digest> hashes;
    // One transaction: each costs a round trip to begin and one to end.
    const auto prove = [&](pg::Transaction& tx, int64_t size) -> absl::Status {
      ASSIGN_OR_RETURN(head, HeadIn(tx, size));
      if (!head.has_value()) return absl::OkStatus();
      ASSIGN_OR_RETURN(entry, EntryIn(tx, name));
      if (entry.index >= head->size) {
        return Error("LOG_SIZE_UNKNOWN", absl::StrCat("entry ", entry.index,
                                                      " is not in the tree of ", head->size));
      }
      crypto::TileReader tiles = TilesIn(tx, head->size);
      ASSIGN_OR_RETURN(hashes, crypto::InclusionProof(entry.index, head->size, tiles.Nodes()));
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(db_.Transact(
        call.deadline, [&](pg::Transaction& tx) { return prove(tx, request->tree_size()); },
        kReadOnly));
    if (!head.has_value()) {  // nothing is signed yet
      ASSIGN_OR_RETURN(const TreeHead first, NewestHead(call));
      RETURN_IF_ERROR(db_.Transact(
          call.deadline, [&](pg::Transaction& tx) { return prove(tx, first.size); }, kReadOnly));
    }
    response->set_log_index(entry.index);
    response->set_entry(entry.leaf);
    ToProto(*head, *response->mutable_tree_head());
    AddHashes(hashes, *response->mutable_hashes());
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::GetConsistencyProof(grpc::ServerContext* context,
                                                const v1::GetConsistencyProofRequest* request,
                                                v1::GetConsistencyProofResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const TreeHead head, HeadOf(call, request->second_size()));
    const int64_t first = request->first_size();
    if (first < 1 || first > head.size) return LogSizeUnknown(first);
    ASSIGN_OR_RETURN(const std::vector<crypto::Digest> hashes,
                     db_.Transact(call.deadline, [&](pg::Transaction& tx) {
                       crypto::TileReader tiles = TilesIn(tx, head.size);
                       return crypto::ConsistencyProof(first, head.size, tiles.Nodes());
                     }, kReadOnly));
    response->set_second_size(head.size);
    AddHashes(hashes, *response->mutable_hashes());
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::SignBundle(grpc::ServerContext* context,
                                       const v1::SignBundleRequest* request,
                                       v1::SignBundleResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    if (auto done = forwarding_.Forward(call, &Stub::SignBundle, *request, response)) {
      return *std::move(done);
    }
    ASSIGN_OR_RETURN(const RecordBundle record, ParseSignBundle(*request, call.identity));
    RETURN_IF_ERROR(
        writer_.Submit({CallerOf(call.identity), record}, call.deadline).status());
    // The entry that stands under this request's event id, perhaps since an earlier call.
    ASSIGN_OR_RETURN(const LogEntry logged, EntryOf(call, record.event_id.ToString(), 0));
    ASSIGN_OR_RETURN(const crypto::Entry entry, crypto::DecodeEntry(logged.leaf));
    ASSIGN_OR_RETURN(const crypto::Digest manifest, entry.DigestAt(crypto::tag::kManifestDigest));
    if (manifest != record.manifest || entry.cooperative != record.cooperative) {
      return Error("REQUEST_ID_REUSED", "this request_id signed another bundle");
    }
    ASSIGN_OR_RETURN(*response->mutable_note(), heads_.SignBundle(record.manifest));
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::GetDocument(grpc::ServerContext* context,
                                        const v1::GetDocumentRequest* request,
                                        v1::GetDocumentResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    FieldErrors errors;
    const crypto::Digest digest =
        rpc::TakeDigest(request->document_sha256(), "document_sha256", errors);
    RETURN_IF_ERROR(errors.ToStatus());
    ASSIGN_OR_RETURN(const std::optional<crypto::SignedDocument> found,
                     db_.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return pg::FindDocument(tx, digest);
                     }, kReadOnly));
    if (!found) return Error("NOT_FOUND", "no such document");
    rpc::ToProto(*found, *response->mutable_document());
    return absl::OkStatus();
  });
}

}  // namespace rochdale::ledger
