// Requests as bytes, made without building messages: what the generator spends must not be taken
// from the server on the same machine. And which of the transfers in them were acknowledged.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/ids.h"

namespace rochdale::bench {

// The id of a client's transfer number `sequence`: of version 7, from which both can be read again.
Uuid TransferIdOf(uint32_t client, uint32_t sequence, absl::Time now);
// False where no client of a benchmark made the id.
bool ReadTransferId(const Uuid& id, uint32_t& client, uint32_t& sequence);

// The text form of ids, written in place: 36 characters.
void WriteUuid(const Uuid& id, char* out);

// Bytes of rochdale.ledger.v1.PostTransfersRequest with unsigned transfers of 1 micro-token.
class RequestTemplate {
 public:
  RequestTemplate();
  // Begins a request; `request_id` any id.
  void Begin(const Uuid& request_id, std::string& out) const;
  // Adds one transfer; account ids in text form.
  void Add(const Uuid& id, absl::string_view debit, absl::string_view credit,
           std::string& out) const;

 private:
  std::string head_, transfer_;  // with placeholders
  size_t id_at_ = 0, debit_at_ = 0, credit_at_ = 0;
};

// How many outcomes a response has (those that were not posted are told by `refused`, the first
// of them in words). `outcomes_field`: 1 of PostTransfersResponse, 2 of StreamTransfersResponse.
struct Outcomes {
  int posted = 0;
  int refused = 0;
  std::string first_refusal;
  int64_t log_index_max = -1;  // of those that were posted
};
Outcomes ReadOutcomes(absl::string_view response, int outcomes_field);

// Of every client and transfer, whether it was sent and whether it was acknowledged.
class Journal {
 public:
  explicit Journal(int clients) : clients_(static_cast<size_t>(clients)) {}
  // The next `count` numbers of a client; returns the first.
  uint32_t Send(uint32_t client, uint32_t count);
  void Acknowledge(uint32_t client, uint32_t first, uint32_t count, int64_t log_index_max);

  int clients() const { return static_cast<int>(clients_.size()); }
  bool WasSent(uint32_t client, uint32_t sequence) const;
  bool WasAcknowledged(uint32_t client, uint32_t sequence) const;
  int64_t sent() const;
  int64_t acknowledged() const;
  // The last place in the log that was acknowledged; -1: none.
  int64_t log_index_max() const { return log_index_max_; }

 private:
  struct Client {
    std::vector<bool> acknowledged;  // one per transfer that was sent
  };
  std::vector<Client> clients_;
  int64_t log_index_max_ = -1;
};

}  // namespace rochdale::bench
