#include "services/payout/payout_service.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/pg/database.h"
#include "libs/pg/documents.h"
#include "libs/pg/outbox.h"
#include "libs/rpc/document.h"
#include "libs/rpc/fields.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/paging.h"
#include "libs/service/log_entry.h"
#include "libs/service/mutation.h"
#include "rochdale/ledger/v1/ledger.pb.h"
#include "services/payout/convert.h"
#include "services/payout/epoch_store.h"
#include "services/payout/epochs.h"
#include "services/payout/shares.h"

namespace rochdale::payout {
namespace {

namespace ledger_v1 = ::rochdale::ledger::v1;
namespace tag = crypto::tag;
namespace kind = crypto::kind;
using service::Log;

constexpr int kProofStatementsMax = 1'000'000;

absl::StatusOr<Pool> NeedPool(pg::Transaction& tx, const PoolId& id) {
  ASSIGN_OR_RETURN(const std::optional<Pool> found, FindPool(tx, id));
  if (!found) return Error("NOT_FOUND", "no such pool");
  return *found;
}

absl::StatusOr<Epoch> NeedEpoch(pg::Transaction& tx, const EpochId& id) {
  ASSIGN_OR_RETURN(const std::optional<Epoch> found, FindEpoch(tx, id));
  if (!found) return Error("NOT_FOUND", "no such epoch");
  return *found;
}

absl::Status RequireCallerSigned(const rpc::Call& call, const crypto::SignedDocument& document) {
  if (call.identity.public_key != document.public_key) {
    return Error("PERMISSION_DENIED", "the caller is not who signed the document");
  }
  return absl::OkStatus();
}

std::string PackCreditEntries(const Statement& statement) {
  std::string packed;
  for (const StatementLine& line : statement.lines) {
    if (line.credit_event) absl::StrAppend(&packed, line.credit_event->value.AsBytes());
  }
  return packed;
}

absl::Status LogEpoch(pg::Transaction& tx, const Epoch& epoch, const Pool& pool,
                      const std::vector<Statement>& statements,
                      const crypto::SignedDocument& document) {
  crypto::EntryBuilder closed(kind::kEpochClosed, epoch.closed_event, epoch.closed);
  RETURN_IF_ERROR(Log(tx, closed.Cooperative(pool.cooperative)
                              .Subject(epoch.id)
                              .AuthorisedBy(pool.event)
                              .Id(tag::kPool, pool.id)
                              .I64(tag::kCreditNanoNats, epoch.credit_sum)
                              .U64(tag::kAmount, static_cast<uint64_t>(epoch.revenue))
                              .U64(tag::kRecipientCount, static_cast<uint64_t>(epoch.recipients))
                              .U64(tag::kEpochNumber, static_cast<uint64_t>(epoch.number))
                              .Document(document)));
  for (const Statement& s : statements) {
    crypto::EntryBuilder issued(kind::kStatementIssued, s.event, epoch.closed);
    RETURN_IF_ERROR(
        Log(tx, issued.Cooperative(pool.cooperative)
                    .Subject(crypto::DeterministicId("payout/statement-id", s.epoch, s.principal))
                    .AuthorisedBy(epoch.closed_event)
                    .Id(tag::kPrincipal, s.principal)
                    .Id(tag::kEpoch, s.epoch)
                    .U64(tag::kAmount, static_cast<uint64_t>(s.payment))
                    .Bytes(tag::kCreditEntries, PackCreditEntries(s))
                    .Id(tag::kAccount, s.account)
                    .I64(tag::kCreditNanoNats, s.credit)));
  }
  return absl::OkStatus();
}

}  // namespace

grpc::Status PayoutService::CreatePool(grpc::ServerContext* context,
                                       const v1::CreatePoolRequest* request,
                                       v1::CreatePoolResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WantedPool wanted, ParsePoolCreation(request->creation()));
    RETURN_IF_ERROR(RequireCallerSigned(call, wanted.document));
    RETURN_IF_ERROR(sources_.RequireFounder(wanted.cooperative, wanted.document.public_key));
    const Pool pool{wanted.pool, wanted.cooperative,
                    AccountId{crypto::DeterministicId("payout/pool-account", wanted.pool)},
                    call.now, EventId{crypto::DeterministicId("payout/pool-event", wanted.pool)}};
    RETURN_IF_ERROR(service::Mutate(
        env_.db, call, *request, response, [&](pg::Transaction& tx) -> absl::Status {
          RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
          RETURN_IF_ERROR(InsertPool(tx, pool));
          crypto::EntryBuilder entry(kind::kPoolCreated, pool.event, call.now);
          RETURN_IF_ERROR(Log(tx, entry.Cooperative(pool.cooperative)
                                      .Subject(pool.id)
                                      .Id(tag::kAccount, pool.account)
                                      .Document(wanted.document)));
          ToProto(pool, *response->mutable_pool());
          return absl::OkStatus();
        }));
    // After the commit, and again by every repetition of this call until it succeeds.
    ledger_v1::OpenAccountsRequest open;
    open.set_request_id(crypto::DeterministicId("payout/open-pool", pool.id).ToString());
    open.mutable_authorised_by()->set_event_id(pool.event.ToString());
    ledger_v1::Account& account = *open.add_accounts();
    account.set_account_id(pool.account.ToString());
    account.set_owner_id(pool.cooperative.ToString());
    account.set_type(ledger_v1::ACCOUNT_TYPE_SYSTEM);
    account.set_asset("token");
    account.set_label("revenue");
    ledger_v1::OpenAccountsResponse opened;
    return ledger_.OpenAccounts(open, &opened, {call.deadline, call.trace_id});
  });
}

grpc::Status PayoutService::GetPool(grpc::ServerContext* context,
                                    const v1::GetPoolRequest* request,
                                    v1::GetPoolResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      std::optional<Pool> found;
      if (!request->pool_id().empty()) {
        ASSIGN_OR_RETURN(const PoolId id, ParseId<PoolId>(request->pool_id(), "pool_id"));
        ASSIGN_OR_RETURN(found, FindPool(tx, id));
      } else {
        ASSIGN_OR_RETURN(const CooperativeId id,
                         ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
        ASSIGN_OR_RETURN(found, FindPoolOf(tx, id));
      }
      if (!found) return Error("NOT_FOUND", "no such pool");
      ToProto(*found, *response->mutable_pool());
      return absl::OkStatus();
    });
  });
}

grpc::Status PayoutService::CloseEpoch(grpc::ServerContext* context,
                                       const v1::CloseEpochRequest* request,
                                       v1::CloseEpochResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WantedEpoch wanted, ParseEpochClosing(request->closing()));
    RETURN_IF_ERROR(RequireCallerSigned(call, wanted.document));
    Pool pool;
    std::optional<Epoch> before;
    RETURN_IF_ERROR(env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(pool, NeedPool(tx, wanted.pool));
      ASSIGN_OR_RETURN(before, FindLastEpoch(tx, pool.id));
      return absl::OkStatus();
    }));
    RETURN_IF_ERROR(sources_.RequireFounder(pool.cooperative, wanted.document.public_key));
    // Facts first: no transaction is open while other services are asked.
    ASSIGN_OR_RETURN(const EpochFacts facts,
                     sources_.ReadRounds(pool.cooperative, wanted.first_round, wanted.last_round));
    ASSIGN_OR_RETURN(const MicroTokens balance, sources_.Balance(pool.account));
    ASSIGN_OR_RETURN(const int64_t reserve_bp, sources_.ReserveBasisPoints(pool.cooperative));
    ASSIGN_OR_RETURN(const MicroTokens reserve, MulDivFloor(balance, reserve_bp, 10'000));
    RETURN_IF_ERROR(service::Mutate(
        env_.db, call, *request, response, [&](pg::Transaction& tx) -> absl::Status {
          RETURN_IF_ERROR(LockPool(tx, pool.id));
          ASSIGN_OR_RETURN(const std::optional<Epoch> last, FindLastEpoch(tx, pool.id));
          if (last && last->state == EpochState::kSettling) {
            return Error("EPOCH_STATE", "the epoch before is still being settled");
          }
          // The balance that was read still holds what an epoch in between has paid since.
          if (before.has_value() != last.has_value() ||
              (last && (before->id != last->id || before->state != last->state))) {
            return Error("EPOCH_STATE", "another epoch was closed or settled meanwhile");
          }
          if (wanted.first_round != (last ? last->last_round + 1 : 1)) {
            return Error("EPOCH_STATE", "an epoch starts where the one before ended");
          }
          Epoch epoch;
          epoch.id = wanted.epoch;
          epoch.pool = pool.id;
          epoch.number = last ? last->number + 1 : 1;
          epoch.first_round = wanted.first_round;
          epoch.last_round = wanted.last_round;
          epoch.closed = call.now;
          epoch.closed_event = EventId{crypto::DeterministicId("payout/closed", wanted.epoch)};
          epoch.rounds = facts.rounds;
          for (const Contribution& c : facts.contributions) {
            ASSIGN_OR_RETURN(epoch.credit_sum, CheckedAdd(epoch.credit_sum, c.credit));
          }
          const bool carry = epoch.credit_sum == 0;
          if (!carry && balance <= reserve) {
            return Error("EPOCH_STATE", "the pool is empty: these credits would be paid nothing");
          }
          epoch.revenue = carry ? 0 : balance - reserve;
          epoch.state = carry ? EpochState::kCarriedOver : EpochState::kSettling;
          ASSIGN_OR_RETURN(const auto paid_before, CumulativePayments(tx, pool.id));
          ASSIGN_OR_RETURN(const std::vector<Statement> statements,
                           MakeStatements(epoch.id, epoch.revenue, facts.contributions,
                                          paid_before));
          epoch.recipients = std::count_if(statements.begin(), statements.end(),
                                           [](const Statement& s) { return s.payment > 0; });
          epoch.distribution_root = DistributionRootOf(statements);
          RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
          RETURN_IF_ERROR(InsertEpoch(tx, epoch));
          RETURN_IF_ERROR(InsertStatements(tx, statements));
          RETURN_IF_ERROR(LogEpoch(tx, epoch, pool, statements, wanted.document));
          ToProto(epoch, *response->mutable_epoch());
          return absl::OkStatus();
        }));
    closed_();
    return absl::OkStatus();
  });
}

grpc::Status PayoutService::GetEpoch(grpc::ServerContext* context,
                                     const v1::GetEpochRequest* request,
                                     v1::GetEpochResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const EpochId id, ParseId<EpochId>(request->epoch_id(), "epoch_id"));
    ASSIGN_OR_RETURN(const Epoch found,
                     env_.db.Transact(call.deadline,
                                      [&](pg::Transaction& tx) { return NeedEpoch(tx, id); }));
    ToProto(found, *response->mutable_epoch());
    return absl::OkStatus();
  });
}

grpc::Status PayoutService::ListEpochs(grpc::ServerContext* context,
                                       const v1::ListEpochsRequest* request,
                                       v1::ListEpochsResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const PoolId id, ParseId<PoolId>(request->pool_id(), "pool_id"));
    const std::string binding = absl::StrCat("ListEpochs/", id.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    int64_t after = 0;
    if (!page.first() && !absl::SimpleAtoi(page.after[0], &after)) {
      return Error("PAGE_TOKEN_INVALID", "the page token is malformed");
    }
    ASSIGN_OR_RETURN(const std::vector<Epoch> epochs,
                     env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return payout::ListEpochs(tx, id, after, page.size + 1);
                     }));
    for (const Epoch& epoch : epochs) {
      if (response->epochs_size() == page.size) {
        response->set_next_page_token(rpc::MakePageToken(
            binding, {absl::StrCat(response->epochs(page.size - 1).number())}));
        break;
      }
      ToProto(epoch, *response->add_epochs());
    }
    return absl::OkStatus();
  });
}

grpc::Status PayoutService::GetStatement(grpc::ServerContext* context,
                                         const v1::GetStatementRequest* request,
                                         v1::GetStatementResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const EpochId id, ParseId<EpochId>(request->epoch_id(), "epoch_id"));
    PrincipalId principal = call.identity.principal;
    if (!request->principal_id().empty()) {
      ASSIGN_OR_RETURN(principal, ParseId<PrincipalId>(request->principal_id(), "principal_id"));
    }
    CooperativeId cooperative;
    RETURN_IF_ERROR(env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      response->Clear();
      ASSIGN_OR_RETURN(const Epoch epoch, NeedEpoch(tx, id));
      ASSIGN_OR_RETURN(const Pool pool, NeedPool(tx, epoch.pool));
      cooperative = pool.cooperative;
      ASSIGN_OR_RETURN(const auto statement, FindStatement(tx, id, principal));
      if (!statement) return Error("NOT_FOUND", "no statement of this principal in this epoch");
      ToProto(*statement, epoch, *response->mutable_statement());
      ASSIGN_OR_RETURN(const std::vector<Statement> all,
                       payout::ListStatements(tx, id, -1, kProofStatementsMax, false));
      std::vector<Distribution> leaves;
      for (const Statement& s : all) leaves.push_back({s.principal, s.cumulative});
      ASSIGN_OR_RETURN(const auto proof, DistributionProof(leaves, statement->position));
      for (const crypto::Digest& hash : proof) {
        response->mutable_statement()->add_distribution_proof(std::string(hash.AsBytes()));
      }
      return absl::OkStatus();
    }));
    if (principal == call.identity.principal) return absl::OkStatus();
    absl::Status founder = sources_.RequireFounder(cooperative, call.identity.public_key);
    if (!founder.ok()) response->Clear();
    return founder;
  });
}

grpc::Status PayoutService::ListStatements(grpc::ServerContext* context,
                                           const v1::ListStatementsRequest* request,
                                           v1::ListStatementsResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    const bool of_epoch = !request->epoch_id().empty();
    EpochId epoch_id;
    if (of_epoch) {
      ASSIGN_OR_RETURN(epoch_id, ParseId<EpochId>(request->epoch_id(), "epoch_id"));
      ASSIGN_OR_RETURN(const Pool pool,
                       env_.db.Transact(call.deadline,
                                        [&](pg::Transaction& tx) -> absl::StatusOr<Pool> {
                                          ASSIGN_OR_RETURN(const Epoch epoch,
                                                           NeedEpoch(tx, epoch_id));
                                          return NeedPool(tx, epoch.pool);
                                        }));
      RETURN_IF_ERROR(sources_.RequireFounder(pool.cooperative, call.identity.public_key));
    }
    const std::string binding = absl::StrCat("ListStatements/", epoch_id.ToString(), "/",
                                             call.identity.principal.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    int64_t after = -1;
    if (of_epoch && !page.first() && !absl::SimpleAtoi(page.after[0], &after)) {
      return Error("PAGE_TOKEN_INVALID", "the page token is malformed");
    }
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      response->Clear();
      ASSIGN_OR_RETURN(
          const std::vector<Statement> found,
          of_epoch ? payout::ListStatements(tx, epoch_id, after, page.size + 1, true)
                   : ListStatementsOf(tx, call.identity.principal,
                                      page.first() ? "" : page.after[0], page.size + 1));
      for (const Statement& statement : found) {
        if (response->statements_size() == page.size) {
          const auto& last = response->statements(page.size - 1);
          response->set_next_page_token(rpc::MakePageToken(
              binding, {of_epoch ? absl::StrCat(last.distribution_index()) : last.epoch_id()}));
          break;
        }
        ASSIGN_OR_RETURN(const Epoch epoch, NeedEpoch(tx, statement.epoch));
        ToProto(statement, epoch, *response->add_statements());
      }
      return absl::OkStatus();
    });
  });
}

grpc::Status PayoutService::GetDocument(grpc::ServerContext* context,
                                        const v1::GetDocumentRequest* request,
                                        v1::GetDocumentResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    FieldErrors errors;
    const crypto::Digest digest =
        rpc::TakeDigest(request->document_sha256(), "document_sha256", errors);
    RETURN_IF_ERROR(errors.ToStatus());
    ASSIGN_OR_RETURN(const std::optional<crypto::SignedDocument> found,
                     env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return pg::FindDocument(tx, digest);
                     }));
    if (!found) return Error("NOT_FOUND", "no such document");
    rpc::ToProto(*found, *response->mutable_document());
    return absl::OkStatus();
  });
}

}  // namespace rochdale::payout
