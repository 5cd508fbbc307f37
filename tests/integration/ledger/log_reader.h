// The log over HTTP as a stranger reads it, and what the tests of it need of a ledger.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/note.h"
#include "libs/crypto/tile.h"
#include "libs/http/client.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {

// The log as a stranger sees it.
class Reader {
 public:
  explicit Reader(Ledger& ledger)
      : url_(absl::StrCat("http://127.0.0.1:", ledger.module->log_http_port())),
        client_(absl::Seconds(10), 32 << 20) {}

  const std::string& url() const { return url_; }
  http::Reply Get(const std::string& path) {
    auto reply = client_.Get(url_ + path);
    if (!reply.ok()) throw std::runtime_error(reply.status().ToString());
    return *std::move(reply);
  }
  crypto::Checkpoint Checkpoint() {
    const http::Reply reply = Get("/checkpoint");
    if (reply.code != 200) throw std::runtime_error(reply.body);
    return crypto::OpenCheckpoint(reply.body, Key()).value();
  }
  crypto::TileReader Tiles(uint64_t size) {
    return crypto::TileReader(size, [this](const std::string& path) -> absl::StatusOr<std::string> {
      http::Reply reply = Get("/" + path);
      if (reply.code == 404) return absl::NotFoundError(path);
      if (reply.code != 200) return absl::UnavailableError(reply.body);
      return std::move(reply.body);
    });
  }
  static crypto::NoteKey Key() {
    return {"test.rochdale.local/log", crypto::NoteAlgorithm::kEd25519, LogKey().public_key()};
  }

 private:
  std::string url_;
  http::Client client_;
};

// Appends `count` entries and gives their event ids.
inline std::vector<std::string> Append(Ledger& ledger, int count) {
  v1::AppendEntriesRequest request;
  request.set_request_id(ledger.NewId());
  std::vector<std::string> events;
  for (int i = 0; i < count; ++i) {
    events.push_back(ledger.NewId());
    request.add_entries(EntryOf(ledger, crypto::kind::kUpdateApplied,
                                Uuid::Parse(events.back()).value(),
                                Uuid::Parse(ledger.NewId()).value()));
  }
  ledger.As("attribution").Ok(&Stub::AppendEntries, request);
  return events;
}

// Signs the tree of now, and gives its size.
inline int64_t Sign(Ledger& ledger) {
  return ledger.module->SignNow(absl::Now() + absl::Seconds(10)).value();
}

// The log is served, and signed only when a test says so (and once at the start).
inline LedgerSetup Silent() {
  LedgerSetup setup;
  setup.log_http = true;
  setup.sign_every = absl::Hours(1);
  return setup;
}

}  // namespace rochdale::ledger::testing
