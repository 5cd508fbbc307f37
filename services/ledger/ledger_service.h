// rochdale.ledger.v1.LedgerService over the writer and the database.
#pragma once

#include "libs/pg/database.h"
#include "libs/rpc/handle.h"
#include "rochdale/ledger/v1/ledger.grpc.pb.h"
#include "services/ledger/forwarding.h"
#include "services/ledger/published_log.h"
#include "services/ledger/transfer_stream.h"
#include "services/ledger/tree_heads.h"
#include "services/ledger/writer.h"

namespace rochdale::ledger {

// Accounts, transfers and entries are shown to every caller that the access table lets in: the log,
// which anybody may read, says the same. Thread-safe.
//
// What changes the ledger is forwarded by a replica that does not write to the one that does.
//
// Everything is synchronous but StreamTransfers, of which there may be too many for a thread each.
class LedgerService final
    : public v1::LedgerService::WithRawCallbackMethod_StreamTransfers<v1::LedgerService::Service> {
 public:
  // All outlive it. `db` is for reading.
  LedgerService(rpc::Calls& calls, const Clock& clock, pg::Database& db, Writer& writer,
                TreeHeads& heads, const PublishedLog& published, Forwarding& forwarding)
      : calls_(calls), clock_(clock), db_(db), writer_(writer), heads_(heads),
        published_(published), forwarding_(forwarding) {}

  grpc::Status OpenAccounts(grpc::ServerContext* context, const v1::OpenAccountsRequest* request,
                            v1::OpenAccountsResponse* response) override;
  grpc::Status ChangeAccount(grpc::ServerContext* context, const v1::ChangeAccountRequest* request,
                             v1::ChangeAccountResponse* response) override;
  grpc::Status GetAccount(grpc::ServerContext* context, const v1::GetAccountRequest* request,
                          v1::GetAccountResponse* response) override;
  grpc::Status ListAccounts(grpc::ServerContext* context, const v1::ListAccountsRequest* request,
                            v1::ListAccountsResponse* response) override;
  grpc::Status PostTransfers(grpc::ServerContext* context,
                             const v1::PostTransfersRequest* request,
                             v1::PostTransfersResponse* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StreamTransfers(
      grpc::CallbackServerContext* context) override;
  grpc::Status GetTransfer(grpc::ServerContext* context, const v1::GetTransferRequest* request,
                           v1::GetTransferResponse* response) override;
  grpc::Status ListTransfers(grpc::ServerContext* context,
                             const v1::ListTransfersRequest* request,
                             v1::ListTransfersResponse* response) override;
  grpc::Status GetHold(grpc::ServerContext* context, const v1::GetHoldRequest* request,
                       v1::GetHoldResponse* response) override;
  grpc::Status ListHolds(grpc::ServerContext* context, const v1::ListHoldsRequest* request,
                         v1::ListHoldsResponse* response) override;
  grpc::Status GetBalance(grpc::ServerContext* context, const v1::GetBalanceRequest* request,
                          v1::GetBalanceResponse* response) override;
  grpc::Status DepositComputeTime(grpc::ServerContext* context,
                                  const v1::DepositComputeTimeRequest* request,
                                  v1::DepositComputeTimeResponse* response) override;
  grpc::Status Convert(grpc::ServerContext* context, const v1::ConvertRequest* request,
                       v1::ConvertResponse* response) override;
  grpc::Status AppendEntries(grpc::ServerContext* context,
                             const v1::AppendEntriesRequest* request,
                             v1::AppendEntriesResponse* response) override;
  grpc::Status GetTreeHead(grpc::ServerContext* context, const v1::GetTreeHeadRequest* request,
                           v1::GetTreeHeadResponse* response) override;
  grpc::Status ListTreeHeads(grpc::ServerContext* context,
                             const v1::ListTreeHeadsRequest* request,
                             v1::ListTreeHeadsResponse* response) override;
  grpc::Status GetEntry(grpc::ServerContext* context, const v1::GetEntryRequest* request,
                        v1::GetEntryResponse* response) override;
  grpc::Status ListEntries(grpc::ServerContext* context, const v1::ListEntriesRequest* request,
                           v1::ListEntriesResponse* response) override;
  grpc::Status GetInclusionProof(grpc::ServerContext* context,
                                 const v1::GetInclusionProofRequest* request,
                                 v1::GetInclusionProofResponse* response) override;
  grpc::Status GetConsistencyProof(grpc::ServerContext* context,
                                   const v1::GetConsistencyProofRequest* request,
                                   v1::GetConsistencyProofResponse* response) override;
  grpc::Status GetReceipt(grpc::ServerContext* context, const v1::GetReceiptRequest* request,
                          v1::GetReceiptResponse* response) override;
  grpc::Status SignBundle(grpc::ServerContext* context, const v1::SignBundleRequest* request,
                          v1::SignBundleResponse* response) override;
  grpc::Status GetDocument(grpc::ServerContext* context, const v1::GetDocumentRequest* request,
                           v1::GetDocumentResponse* response) override;

 private:
  // The newest signed head; one is signed where there is none yet.
  absl::StatusOr<TreeHead> NewestHead(const rpc::Call& call);
  // The head of `size`, signed or not; 0: the newest signed one. LOG_SIZE_UNKNOWN.
  absl::StatusOr<TreeHead> HeadOf(const rpc::Call& call, int64_t size);
  // By event id where one is named, else by index. NOT_FOUND, LOG_SIZE_UNKNOWN.
  absl::StatusOr<LogEntry> EntryOf(const rpc::Call& call, const std::string& event_id,
                                   int64_t index);

  rpc::Calls& calls_;
  const Clock& clock_;
  pg::Database& db_;
  Writer& writer_;
  TreeHeads& heads_;
  const PublishedLog& published_;
  Forwarding& forwarding_;
  StreamRoom room_;
};

}  // namespace rochdale::ledger
