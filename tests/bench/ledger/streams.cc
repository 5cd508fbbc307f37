#include "tests/bench/ledger/streams.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/bench/ledger/grpc_streams.h"

namespace rochdale::bench {
namespace {

constexpr char kMethod[] = "/rochdale.ledger.v1.LedgerService/StreamTransfers";
constexpr int kOutcomesField = 2;

struct Client {
  absl::Time sent_at;
  uint32_t sequence = 0;
  bool waiting = false;  // for an answer
};

class Loop {
 public:
  Loop(LedgerProcess& ledger, const StreamSource& source, Journal& journal)
      : source_(source),
        journal_(journal),
        tls_(ledger.Tls(source.service)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        clients_(kStreams) {
    for (int i = 0; i < kStreamConnections; ++i) Connect(ledger.port(), i);
    for (int i = 0; i < kStreams; ++i) {
      const uint32_t client = static_cast<uint32_t>(i);
      // Client i is stream i / kStreamConnections of its connection.
      connections_[static_cast<size_t>(i % kStreamConnections)]->Open(
          kMethod, source.token ? source.token(client) : "");
      Send(client);
    }
    FlushAll();
  }
  ~Loop() { close(epoll_); }

  // Handles answers until `end`, until a client has no more requests in a measured window, or until
  // all streams are closed.
  void Run(absl::Time end, Measured* measured) {
    measured_ = measured;
    while (open_ > 0 && !(exhausted_ && measured != nullptr)) {
      const int64_t left = absl::ToInt64Milliseconds(end - absl::Now());
      if (left <= 0) return;
      epoll_event events[kStreamConnections];
      const int ready = epoll_wait(epoll_, events, kStreamConnections,
                                   static_cast<int>(std::min<int64_t>(left, 1'000)));
      for (int i = 0; i < ready; ++i) {
        const uint32_t number = events[i].data.u32;
        if (events[i].events & ~static_cast<uint32_t>(EPOLLOUT)) connections_[number]->Read();
        Flush(number);
      }
    }
  }

  // From here on answers are taken and streams closed.
  void Stop() {
    stopping_ = true;
    for (uint32_t i = 0; i < kStreams; ++i) {
      if (!clients_[i].waiting) Finish(i);
    }
    FlushAll();
  }

 private:
  void Connect(int port, int number) {
    GrpcStreams::Events events;
    const auto client_of = [number](int stream) {
      return static_cast<uint32_t>(stream * kStreamConnections + number);
    };
    events.message = [this, client_of](int stream, absl::string_view message) {
      Answered(client_of(stream), message);
    };
    events.closed = [this](int, int status, const std::string& message) {
      --open_;
      if (status != 0 || !stopping_) {
        Require(absl::InternalError(absl::StrCat("status ", status, ": ", message)), "a stream");
      }
    };
    connections_.push_back(
        std::make_unique<GrpcStreams>(port, tls_.get(), std::move(events)));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = static_cast<uint32_t>(number);
    epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_.back()->fd(), &event);
  }

  // Where the socket takes no more, it says when it does.
  void Flush(uint32_t number) {
    const bool full = connections_[number]->Write();
    if (full == full_[number]) return;
    full_[number] = full;
    epoll_event event{};
    event.events = EPOLLIN | (full ? static_cast<uint32_t>(EPOLLOUT) : 0u);
    event.data.u32 = number;
    epoll_ctl(epoll_, EPOLL_CTL_MOD, connections_[number]->fd(), &event);
  }
  void FlushAll() {
    for (uint32_t i = 0; i < connections_.size(); ++i) Flush(i);
  }

  void Send(uint32_t client) {
    const uint32_t sequence = journal_.Send(client, 0);
    if (!source_.next(client, sequence, bytes_)) {
      exhausted_ = true;
      return;
    }
    journal_.Send(client, 1);
    clients_[client] = {absl::Now(), sequence, true};
    connections_[client % kStreamConnections]->Send(StreamOf(client), bytes_);
  }

  void Answered(uint32_t client, absl::string_view message) {
    const Outcomes outcomes = ReadOutcomes(message, kOutcomesField);
    if (outcomes.posted != 1) Require(absl::InternalError(outcomes.first_refusal), "posting");
    journal_.Acknowledge(client, clients_[client].sequence, 1, outcomes.log_index_max);
    clients_[client].waiting = false;
    if (measured_ != nullptr) {
      ++measured_->transfers;
      measured_->latencies.Add(absl::Now() - clients_[client].sent_at);
    }
    stopping_ ? Finish(client) : Send(client);
  }

  void Finish(uint32_t client) {
    connections_[client % kStreamConnections]->Finish(StreamOf(client));
  }

  static int StreamOf(uint32_t client) { return static_cast<int>(client / kStreamConnections); }

  const StreamSource& source_;
  Journal& journal_;
  const TlsContext tls_;
  const int epoll_;
  std::vector<Client> clients_;
  std::vector<std::unique_ptr<GrpcStreams>> connections_;
  std::vector<bool> full_ = std::vector<bool>(kStreamConnections, false);
  std::string bytes_;
  Measured* measured_ = nullptr;
  int open_ = kStreams;
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
