// The rpc that follows a round's evaluation runs.
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/database.h"
#include "libs/rpc/handle.h"
#include "services/attribution/attribution_service.h"
#include "services/attribution/convert.h"
#include "services/attribution/round_store.h"
#include "services/attribution/run_store.h"

namespace rochdale::attribution {
namespace {

constexpr absl::Duration kQueryTimeout = absl::Seconds(5);
constexpr absl::Duration kPause = absl::Seconds(1);  // results of shards wake nobody
constexpr int kRunsMax = 1'000;

struct RoundRuns {
  RoundRecord round;
  std::vector<RunRecord> runs;
};

absl::StatusOr<RoundRuns> ReadRuns(pg::Transaction& tx, const RoundId& id) {
  ASSIGN_OR_RETURN(auto round, FindRound(tx, id));
  if (!round) return Error("NOT_FOUND", "no such round");
  ASSIGN_OR_RETURN(std::vector<RunRecord> runs, ListRuns(tx, id, RunId(), kRunsMax));
  return RoundRuns{*std::move(round), std::move(runs)};
}

}  // namespace

grpc::Status AttributionService::WatchRuns(grpc::ServerContext* context,
                                           const v1::WatchRunsRequest* request,
                                           grpc::ServerWriter<v1::WatchRunsResponse>* writer) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const RoundId id, ParseField<RoundId>(request->round_id(), "round_id"));
    std::string sent;
    bool first = true;
    while (!call.Ended()) {
      const int64_t seen = parts_.changes.version();
      ASSIGN_OR_RETURN(const RoundRuns now,
                       parts_.env.db.Transact(kQueryTimeout, [&](pg::Transaction& tx) {
                         return ReadRuns(tx, id);
                       }));
      if (first) RETURN_IF_ERROR(RequireInsider(call, now.round.cooperative));
      v1::WatchRunsResponse response;
      for (const RunRecord& run : now.runs) ToProto(run, *response.add_runs());
      std::string bytes = response.SerializeAsString();
      if (first || bytes != sent) {
        if (!writer->Write(response)) return absl::OkStatus();
        sent = std::move(bytes);
        first = false;
      }
      if (now.round.ended()) return absl::OkStatus();
      parts_.changes.WaitFor(seen, kPause);
    }
    return absl::OkStatus();
  });
}

}  // namespace rochdale::attribution
