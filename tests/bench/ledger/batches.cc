#include "tests/bench/ledger/batches.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/rpc/status.h"

namespace rochdale::bench {
namespace {

constexpr char kMethod[] = "/rochdale.ledger.v1.LedgerService/PostTransfers";
constexpr int kConnections = 4;
constexpr int kOutcomesField = 1;

struct Call {
  grpc::ClientContext context;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  grpc::ByteBuffer response;
  grpc::Status status;
  absl::Time started;
  uint32_t client = 0, first = 0;
};

class Loop {
 public:
  Loop(LedgerProcess& ledger, const std::vector<std::string>& accounts, const Picker& picker,
       int batch, Journal& journal)
      : accounts_(accounts), picker_(picker), batch_(batch), journal_(journal) {
    for (int i = 0; i < kConnections; ++i) {
      stubs_.push_back(std::make_unique<grpc::GenericStub>(ledger.Connect("payout")));
    }
  }

  void Begin(uint32_t client) {
    auto call = std::make_unique<Call>();
    call->client = client;
    call->started = absl::Now();
    call->context.set_deadline(absl::ToChronoTime(call->started + absl::Minutes(1)));
    call->first = journal_.Send(client, static_cast<uint32_t>(batch_));
    requests_.Begin(TransferIdOf(client, call->first, call->started), bytes_);
    for (int i = 0; i < batch_; ++i) {
      const auto [debit, credit] = picker_.Pair(random_);
      requests_.Add(TransferIdOf(client, call->first + static_cast<uint32_t>(i), call->started),
                    accounts_[static_cast<size_t>(debit)], accounts_[static_cast<size_t>(credit)],
                    bytes_);
    }
    const grpc::Slice slice(bytes_);
    const grpc::ByteBuffer request(&slice, 1);
    call->reader =
        stubs_[client % kConnections]->PrepareUnaryCall(&call->context, kMethod, request, &queue_);
    call->reader->StartCall();
    Call* const started = call.release();
    started->reader->Finish(&started->response, &started->status, started);
    ++under_way_;
  }

  // Handles answers until `end`, and begins a new call for each while `go_on`.
  void Run(absl::Time end, bool go_on, Measured* measured) {
    while (under_way_ > 0) {
      void* tag = nullptr;
      bool ok = false;
      const auto next = queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(end));
      if (next != grpc::CompletionQueue::GOT_EVENT) return;
      const std::unique_ptr<Call> call(static_cast<Call*>(tag));
      --under_way_;
      Require(rpc::FromGrpc(call->status), "posting");
      grpc::Slice slice;
      if (!call->response.TrySingleSlice(&slice).ok()) call->response.DumpToSingleSlice(&slice);
      const Outcomes outcomes = ReadOutcomes(
          {reinterpret_cast<const char*>(slice.begin()), slice.size()}, kOutcomesField);
      if (outcomes.posted != batch_) {
        Require(absl::InternalError(outcomes.first_refusal), "posting");
      }
      journal_.Acknowledge(call->client, call->first, static_cast<uint32_t>(batch_),
                           outcomes.log_index_max);
      if (measured != nullptr) {
        measured->transfers += batch_;
        measured->latencies.Add(absl::Now() - call->started);
      }
      if (go_on) Begin(call->client);
    }
  }

 private:
  const std::vector<std::string>& accounts_;
  const Picker& picker_;
  const int batch_;
  Journal& journal_;
  const RequestTemplate requests_;
  std::mt19937_64 random_{20'240'601};
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  grpc::CompletionQueue queue_;
  std::string bytes_;
  int under_way_ = 0;
};

}  // namespace

int CallsUnderWay(int batch) { return batch <= 100 ? 60 : batch <= 1'000 ? 32 : 6; }

Measured RunBatches(LedgerProcess& ledger, Postgres& postgres,
                    const std::vector<std::string>& accounts, const Picker& picker, int batch,
                    const Timing& timing, Journal& journal) {
  const auto usage = [&] {
    return MeasureUsage(ledger.pid(), postgres.postmaster(), postgres.admin(), ledger.database());
  };
  Loop loop(ledger, accounts, picker, batch, journal);
  for (int i = 0; i < journal.clients(); ++i) loop.Begin(static_cast<uint32_t>(i));
  loop.Run(absl::Now() + timing.warm_up, true, nullptr);
  Measured measured;
  measured.begin = usage();
  loop.Run(measured.begin.at + timing.measured, true, &measured);
  measured.end = usage();
  loop.Run(absl::InfiniteFuture(), false, nullptr);
  return measured;
}

}  // namespace rochdale::bench
