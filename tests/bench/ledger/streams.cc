#include "tests/bench/ledger/streams.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/time/clock.h"
#include "libs/rpc/status.h"

namespace rochdale::bench {
namespace {

constexpr char kMethod[] = "/rochdale.ledger.v1.LedgerService/StreamTransfers";
constexpr int kOutcomesField = 2;

enum class Event { kStarted, kRead, kWritten, kHalfClosed, kFinished };

struct Client;
struct Tag {
  Client* client = nullptr;
  Event event{};
};

struct Client {
  uint32_t number = 0;
  grpc::ClientContext context;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream;
  grpc::ByteBuffer response;
  grpc::Status status;
  absl::Time sent_at;
  uint32_t sequence = 0;
  bool writing = false;   // the last write is not reported yet
  bool to_send = false;   // the next request waits for that
  bool waiting = false;   // for an answer
  bool done = false;
  Tag started{this, Event::kStarted}, read{this, Event::kRead}, written{this, Event::kWritten},
      half_closed{this, Event::kHalfClosed}, finished{this, Event::kFinished};
};

class Loop {
 public:
  Loop(LedgerProcess& ledger, const StreamSource& source, Journal& journal)
      : source_(source), journal_(journal) {
    for (int i = 0; i < kStreamConnections; ++i) {
      stubs_.push_back(std::make_unique<grpc::GenericStub>(ledger.Connect(source.service)));
    }
    for (int i = 0; i < kStreams; ++i) {
      auto client = std::make_unique<Client>();
      client->number = static_cast<uint32_t>(i);
      client->context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Minutes(10)));
      if (source.token) client->context.AddMetadata("authorization", source.token(client->number));
      client->stream = stubs_[static_cast<size_t>(i % kStreamConnections)]->PrepareCall(
          &client->context, kMethod, &queue_);
      client->stream->StartCall(&client->started);
      ++open_;
      clients_.push_back(std::move(client));
    }
  }

  // Handles what happens until `end`, a client runs out (false), or all streams are closed.
  bool Run(absl::Time end, Measured* measured) {
    measured_ = measured;
    while (open_ > 0) {
      void* got = nullptr;
      bool ok = false;
      const auto next = queue_.AsyncNext(&got, &ok, absl::ToChronoTime(end));
      if (next != grpc::CompletionQueue::GOT_EVENT) return true;
      Handle(*static_cast<Tag*>(got), ok);
      if (exhausted_ && measured != nullptr) return false;
    }
    return true;
  }

  // From here on answers are taken and streams closed.
  void Stop() {
    stopping_ = true;
    for (const auto& client : clients_) {
      if (!client->waiting && !client->writing) Close(*client);
    }
  }

 private:
  void Handle(const Tag& tag, bool ok) {
    Client& client = *tag.client;
    switch (tag.event) {
      case Event::kStarted:
        if (!ok) return Fail(client);
        client.stream->Read(&client.response, &client.read);
        return Send(client);
      case Event::kWritten:
        client.writing = false;
        if (!ok) return Fail(client);
        if (client.to_send) Send(client);
        if (stopping_ && !client.waiting) Close(client);
        return;
      case Event::kRead:
        if (!ok) return client.done ? Finish(client) : Fail(client);
        Answered(client);
        client.stream->Read(&client.response, &client.read);
        if (!stopping_) return Send(client);
        if (!client.writing) Close(client);
        return;
      case Event::kHalfClosed: return;
      case Event::kFinished:
        --open_;
        if (!client.status.ok()) Require(rpc::FromGrpc(client.status), "a stream");
        return;
    }
  }

  void Send(Client& client) {
    client.to_send = client.writing;
    if (client.writing || stopping_) return;
    const uint32_t sequence = journal_.Send(client.number, 0);
    if (!source_.next(client.number, sequence, bytes_)) {
      exhausted_ = true;
      return;
    }
    journal_.Send(client.number, 1);
    client.sequence = sequence;
    client.sent_at = absl::Now();
    client.writing = client.waiting = true;
    const grpc::Slice slice(bytes_);
    client.stream->Write(grpc::ByteBuffer(&slice, 1), &client.written);
  }

  void Answered(Client& client) {
    grpc::Slice slice;
    if (!client.response.TrySingleSlice(&slice).ok()) client.response.DumpToSingleSlice(&slice);
    const Outcomes outcomes = ReadOutcomes(
        {reinterpret_cast<const char*>(slice.begin()), slice.size()}, kOutcomesField);
    if (outcomes.posted != 1) Require(absl::InternalError(outcomes.first_refusal), "posting");
    journal_.Acknowledge(client.number, client.sequence, 1);
    client.waiting = false;
    if (measured_ == nullptr) return;
    ++measured_->transfers;
    measured_->latencies.Add(absl::Now() - client.sent_at);
  }

  void Close(Client& client) {
    if (client.done) return;
    client.done = true;
    client.stream->WritesDone(&client.half_closed);
  }

  void Finish(Client& client) { client.stream->Finish(&client.status, &client.finished); }

  // A stream that breaks shows its status in Finish, which ends the program.
  void Fail(Client& client) {
    if (client.done) return;
    client.done = true;
    Finish(client);
  }

  const StreamSource& source_;
  Journal& journal_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::string bytes_;
  Measured* measured_ = nullptr;
  int open_ = 0;
  bool stopping_ = false, exhausted_ = false;
};

}  // namespace

Measured RunStreams(LedgerProcess& ledger, Postgres& postgres, const StreamSource& source,
                    const Timing& timing, Journal& journal) {
  const auto usage = [&] {
    return MeasureUsage(ledger.pid(), postgres.postmaster(), postgres.admin(), ledger.database());
  };
  Loop loop(ledger, source, journal);
  loop.Run(absl::Now() + timing.warm_up, nullptr);
  Measured measured;
  measured.begin = usage();
  loop.Run(measured.begin.at + timing.measured, &measured);
  measured.end = usage();
  loop.Stop();
  loop.Run(absl::InfiniteFuture(), nullptr);
  return measured;
}

}  // namespace rochdale::bench
