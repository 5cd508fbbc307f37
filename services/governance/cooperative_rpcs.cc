// Rpcs about cooperatives, parameters and exceptions.
#include <algorithm>
#include <limits>
#include <map>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/config/parameters.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/pg/database.h"
#include "libs/pg/documents.h"
#include "libs/pg/outbox.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/paging.h"
#include "libs/service/mutation.h"
#include "services/governance/convert.h"
#include "services/governance/cooperative_store.h"
#include "services/governance/governance_service.h"
#include "services/governance/parameter_store.h"
#include "services/governance/registry_store.h"

namespace rochdale::governance {
namespace {

namespace tag = crypto::tag;
namespace kind = crypto::kind;

constexpr absl::Duration kWatchPause = absl::Milliseconds(500);

absl::Status FillCooperative(pg::Transaction& tx, const Cooperative& cooperative,
                             v1::Cooperative& out) {
  ASSIGN_OR_RETURN(const auto genesis, pg::FindDocument(tx, cooperative.genesis));
  if (!genesis) return absl::InternalError("the genesis document is missing");
  return ToProto(cooperative, *genesis, out);
}

// The accounts that the genesis funds. Owners must be registered, and only the first genesis of a
// ledger may create the supply.
absl::Status PlanPools(pg::Transaction& tx, const NewCooperative& wanted, Cooperative& out) {
  if (wanted.pools.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool founded, NetworkIsFounded(tx));
  FieldErrors errors;
  if (founded) errors.Add("pools", "the supply exists already: only the first genesis funds pools");
  for (size_t i = 0; i < wanted.pools.size(); ++i) {
    const PoolGrant& grant = wanted.pools[i];
    PoolAccount account{
        grant.name,
        AccountId{crypto::DeterministicId("governance/pool-account", out.id, grant.name)},
        out.id.value, false, grant.amount};
    if (grant.owner) {
      ASSIGN_OR_RETURN(const auto owner, FindKey(tx, *grant.owner));
      if (!owner || !owner->agent.IsZero()) {
        errors.Add(absl::StrCat("pools[", i, "].owner_public_key"),
                   "must be the key of a registered principal");
        continue;
      }
      account.owner = owner->principal.value;
      account.owned_by_principal = true;
    }
    out.pools.push_back(std::move(account));
  }
  out.is_network_founder = true;
  return errors.ToStatus();
}

// The entry of a change, without its document; builds on a copy, since a transaction may run more
// than once.
crypto::EntryBuilder EntryOf(const ParameterChange& change, const Cooperative& cooperative,
                             crypto::EntryBuilder entry) {
  entry.Cooperative(cooperative.id)
      .Subject(cooperative.id)
      .AuthorisedBy(cooperative.event)
      .U64(tag::kVersion, change.version)
      .Text(tag::kParameter, change.name)
      .Text(tag::kValue, change.value);
  return entry;
}

}  // namespace

grpc::Status GovernanceService::FoundCooperative(grpc::ServerContext* context,
                                                 const v1::FoundCooperativeRequest* request,
                                                 v1::FoundCooperativeResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const NewCooperative wanted, ParseGenesis(request->genesis()));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kCooperativeFounded, call, event);
    std::map<std::string, std::pair<EventId, crypto::EntryBuilder>> first_values;
    for (const auto& [name, value] : wanted.parameters) {
      EventId changed;
      crypto::EntryBuilder builder = NewEntry(kind::kParameterChanged, call, changed);
      first_values.emplace(name, std::make_pair(changed, std::move(builder)));
    }
    return service::Mutate(env_.db, call, *request, response,
                           [&](pg::Transaction& tx) -> absl::Status {
        Cooperative founded = wanted.cooperative;
        founded.founded = call.now;
        founded.event = event;
        RETURN_IF_ERROR(PlanPools(tx, wanted, founded));
        for (const crypto::SignedDocument& document : wanted.documents) {
          RETURN_IF_ERROR(pg::StoreDocument(tx, document));
        }
        RETURN_IF_ERROR(InsertCooperative(tx, founded));
        crypto::EntryBuilder once = entry;
        RETURN_IF_ERROR(Log(tx, once.Cooperative(founded.id)
                                    .Subject(founded.id)
                                    .U64(tag::kRulesVersion, founded.rules_version)
                                    .Document(wanted.documents.front())));
        // The log tells of first values as of later ones: who reads only entries knows them all.
        // Signed is the genesis, which allowed them.
        for (const auto& [name, first] : first_values) {
          const auto& [changed, builder] = first;
          const ParameterChange change{1,        name,
                                       wanted.parameters.at(name), call.now,
                                       founded.genesis, changed};
          RETURN_IF_ERROR(RecordParameter(tx, founded.id, change));
          crypto::EntryBuilder set = EntryOf(change, founded, builder);
          RETURN_IF_ERROR(Log(tx, set));
        }
        return FillCooperative(tx, founded, *response->mutable_cooperative());
    });
  });
}

grpc::Status GovernanceService::GetCooperative(grpc::ServerContext* context,
                                               const v1::GetCooperativeRequest* request,
                                               v1::GetCooperativeResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      std::optional<Cooperative> found;
      if (!request->cooperative_id().empty()) {
        ASSIGN_OR_RETURN(const CooperativeId id,
                         ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
        ASSIGN_OR_RETURN(found, FindCooperative(tx, id));
      } else {
        ASSIGN_OR_RETURN(found, FindCooperativeBySlug(tx, request->slug()));
      }
      if (!found) return Error("NOT_FOUND", "no such cooperative");
      response->Clear();
      return FillCooperative(tx, *found, *response->mutable_cooperative());
    });
  });
}

grpc::Status GovernanceService::ListCooperatives(grpc::ServerContext* context,
                                                 const v1::ListCooperativesRequest* request,
                                                 v1::ListCooperativesResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const rpc::Page page, rpc::ParsePage(request->page_size(),
                                                          request->page_token(),
                                                          "ListCooperatives", 1));
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      response->Clear();
      ASSIGN_OR_RETURN(const std::vector<Cooperative> found,
                       governance::ListCooperatives(tx, page.first() ? "" : page.after[0],
                                                    page.size + 1));
      for (const Cooperative& one : found) {
        if (response->cooperatives_size() == page.size) {
          response->set_next_page_token(rpc::MakePageToken(
              "ListCooperatives", {response->cooperatives(page.size - 1).cooperative_id()}));
          break;
        }
        RETURN_IF_ERROR(FillCooperative(tx, one, *response->add_cooperatives()));
      }
      return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::GetParameters(grpc::ServerContext* context,
                                              const v1::GetParametersRequest* request,
                                              v1::GetParametersResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId id,
                     ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    ASSIGN_OR_RETURN(const StoredParameters stored,
                     env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return LoadParameters(tx, id);
                     }));
    ToProto(stored, *response->mutable_parameters());
    response->set_version(stored.version);
    return absl::OkStatus();
  });
}

grpc::Status GovernanceService::WatchParameters(
    grpc::ServerContext* context, const v1::WatchParametersRequest* request,
    grpc::ServerWriter<v1::WatchParametersResponse>* writer) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId id,
                     ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    int64_t sent = -1;
    while (!call.Ended()) {
      ASSIGN_OR_RETURN(const StoredParameters stored,
                       env_.db.Transact(absl::Seconds(5), [&](pg::Transaction& tx) {
                         return LoadParameters(tx, id);
                       }));
      if (stored.version != sent) {
        v1::WatchParametersResponse response;
        ToProto(stored, *response.mutable_parameters());
        response.set_version(stored.version);
        if (!writer->Write(response)) break;
        sent = stored.version;
      }
      std::this_thread::sleep_for(absl::ToChronoMilliseconds(kWatchPause));
    }
    return absl::OkStatus();
  });
}

grpc::Status GovernanceService::ChangeParameter(grpc::ServerContext* context,
                                                const v1::ChangeParameterRequest* request,
                                                v1::ChangeParameterResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WantedChange wanted, ParseParameterChange(request->change()));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kParameterChanged, call, event);
    return service::Mutate(env_.db, call, *request, response,
                           [&](pg::Transaction& tx) -> absl::Status {
        ASSIGN_OR_RETURN(const Cooperative cooperative, NeedCooperative(tx, wanted.cooperative));
        RETURN_IF_ERROR(CheckFounderThreshold(wanted.documents, cooperative.founders,
                                              cooperative.founder_threshold));
        ASSIGN_OR_RETURN(StoredParameters stored, LoadParameters(tx, cooperative.id));
        stored.values[wanted.name] = wanted.value;
        ASSIGN_OR_RETURN(const config::ParameterSet set,
                         config::ParameterSet::FromTexts(stored.values));
        RETURN_IF_ERROR(config::ValidateTogether(set));
        ASSIGN_OR_RETURN(const int64_t version,
                         NextParametersVersion(tx, cooperative.id, wanted.expected_version));
        for (const crypto::SignedDocument& document : wanted.documents) {
          RETURN_IF_ERROR(pg::StoreDocument(tx, document));
        }
        const ParameterChange change{version,  wanted.name,
                                     wanted.value, call.now,
                                     crypto::DocumentDigest(wanted.documents.front()), event};
        RETURN_IF_ERROR(RecordParameter(tx, cooperative.id, change));
        crypto::EntryBuilder once = EntryOf(change, cooperative, entry);
        RETURN_IF_ERROR(Log(tx, once.Document(wanted.documents.front())));
        ToProto(change, *response->mutable_change());
        return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::ListParameterChanges(grpc::ServerContext* context,
                                                     const v1::ListParameterChangesRequest* request,
                                                     v1::ListParameterChangesResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId id,
                     ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    const std::string binding =
        absl::StrCat("ListParameterChanges/", id.ToString(), "/", request->name());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 2));
    int64_t before = std::numeric_limits<int64_t>::max();
    if (!page.first() && !absl::SimpleAtoi(page.after[0], &before)) {
      return Error("PAGE_TOKEN_INVALID", "the page token is malformed");
    }
    ASSIGN_OR_RETURN(const std::vector<ParameterChange> changes,
                     env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return governance::ListParameterChanges(
                           tx, id, request->name(), before, page.first() ? "" : page.after[1],
                           page.size + 1);
                     }));
    for (const ParameterChange& change : changes) {
      if (response->changes_size() == page.size) {
        const auto& last = response->changes(page.size - 1);
        response->set_next_page_token(rpc::MakePageToken(
            binding, {absl::StrCat(last.version()), last.value().name()}));
        break;
      }
      ToProto(change, *response->add_changes());
    }
    return absl::OkStatus();
  });
}

grpc::Status GovernanceService::RaiseException(grpc::ServerContext* context,
                                               const v1::RaiseExceptionRequest* request,
                                               v1::RaiseExceptionResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const RaisedException wanted, ParseException(request->exception()));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kExceptionRaised, call, event);
    return service::Mutate(env_.db, call, *request, response,
                           [&](pg::Transaction& tx) -> absl::Status {
        RaisedException raised = wanted;
        raised.raised = call.now;
        raised.event = event;
        RETURN_IF_ERROR(NeedCooperative(tx, raised.cooperative).status());
        ASSIGN_OR_RETURN(const bool inserted, InsertException(tx, raised));
        if (!inserted) {
          // The id says that it is the same exception: the first report stands.
          ASSIGN_OR_RETURN(const auto first, FindException(tx, raised.id));
          ToProto(*first, *response->mutable_exception());
          return absl::OkStatus();
        }
        crypto::EntryBuilder once = entry;
        once.Cooperative(raised.cooperative)
            .Subject(raised.id)
            .Text(tag::kExceptionKind,
                  v1::ExceptionKind_Name(static_cast<v1::ExceptionKind>(raised.kind)));
        if (!raised.evidence.empty()) once.Bytes(tag::kEvidenceDigest, raised.evidence);
        RETURN_IF_ERROR(Log(tx, once));
        ToProto(raised, *response->mutable_exception());
        return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::ListExceptions(grpc::ServerContext* context,
                                               const v1::ListExceptionsRequest* request,
                                               v1::ListExceptionsResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId id,
                     ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    const std::string binding = absl::StrCat("ListExceptions/", id.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 2));
    int64_t raised_us = 0;
    if (!page.first() && !absl::SimpleAtoi(page.after[0], &raised_us)) {
      return Error("PAGE_TOKEN_INVALID", "the page token is malformed");
    }
    ASSIGN_OR_RETURN(
        const std::vector<RaisedException> found,
        env_.db.Transact(
            call.deadline,
            [&](pg::Transaction& tx) -> absl::StatusOr<std::vector<RaisedException>> {
              // Exceptions are for governors: founders of the cooperative, until others are
              // elected.
              ASSIGN_OR_RETURN(const Cooperative cooperative, NeedCooperative(tx, id));
              const auto& founders = cooperative.founders;
              if (std::find(founders.begin(), founders.end(), call.identity.public_key) ==
                  founders.end()) {
                return Error("PERMISSION_DENIED", "only governors see exceptions");
              }
              return governance::ListExceptions(tx, id, absl::FromUnixMicros(raised_us),
                                                page.first() ? "" : page.after[1], page.size + 1);
            }));
    for (const RaisedException& exception : found) {
      if (response->exceptions_size() == page.size) {
        const auto& last = response->exceptions(page.size - 1);
        response->set_next_page_token(rpc::MakePageToken(
            binding, {absl::StrCat(last.raised_time_us()), last.exception_id()}));
        break;
      }
      ToProto(exception, *response->add_exceptions());
    }
    return absl::OkStatus();
  });
}

}  // namespace rochdale::governance
