#include "tests/bench/ledger/requests.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "rochdale/ledger/v1/ledger.pb.h"

namespace rochdale::bench {
namespace {

namespace v1 = ledger::v1;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// Text forms that occur nowhere else.
constexpr char kRequest[] = "11111111-1111-7111-8111-111111111111";
constexpr char kTransfer[] = "22222222-2222-7222-8222-222222222222";
constexpr char kDebit[] = "33333333-3333-7333-8333-333333333333";
constexpr char kCredit[] = "44444444-4444-7444-8444-444444444444";
constexpr char kAuthorisation[] = "55555555-5555-7555-8555-555555555555";
constexpr uint8_t kMark = 0xbe;  // of our ids: in the bits that are random otherwise

size_t Find(const std::string& bytes, const char* placeholder) {
  const size_t at = bytes.find(placeholder);
  if (at == std::string::npos) std::abort();
  return at;
}

// Reads result and place in the log of one outcome, at whose beginning `in` stands.
std::pair<v1::TransferResult, int64_t> ReadOutcome(CodedInputStream& in) {
  uint64_t result = 0, log_index = 0;
  while (const uint32_t tag = in.ReadTag()) {
    switch (WireFormatLite::GetTagFieldNumber(tag)) {
      case v1::TransferOutcome::kResultFieldNumber: in.ReadVarint64(&result); break;
      case v1::TransferOutcome::kLogIndexFieldNumber: in.ReadVarint64(&log_index); break;
      default:
        if (!WireFormatLite::SkipField(&in, tag)) return {v1::TRANSFER_RESULT_UNSPECIFIED, 0};
    }
  }
  return {static_cast<v1::TransferResult>(result), static_cast<int64_t>(log_index)};
}

}  // namespace

Uuid TransferIdOf(uint32_t client, uint32_t sequence, absl::Time now) {
  const uint64_t millis = static_cast<uint64_t>(absl::ToUnixMillis(now));
  Uuid id;
  for (int i = 0; i < 6; ++i) id.bytes[i] = static_cast<uint8_t>(millis >> (8 * (5 - i)));
  id.bytes[6] = 0x70;
  id.bytes[7] = kMark;
  id.bytes[8] = 0x80;
  id.bytes[9] = kMark;
  id.bytes[10] = static_cast<uint8_t>(client >> 8);
  id.bytes[11] = static_cast<uint8_t>(client);
  for (int i = 0; i < 4; ++i) id.bytes[12 + i] = static_cast<uint8_t>(sequence >> (8 * (3 - i)));
  return id;
}

bool ReadTransferId(const Uuid& id, uint32_t& client, uint32_t& sequence) {
  if (id.bytes[6] != 0x70 || id.bytes[7] != kMark || id.bytes[8] != 0x80 || id.bytes[9] != kMark) {
    return false;
  }
  client = static_cast<uint32_t>(id.bytes[10] << 8 | id.bytes[11]);
  sequence = 0;
  for (int i = 0; i < 4; ++i) sequence = sequence << 8 | id.bytes[12 + i];
  return true;
}

void WriteUuid(const Uuid& id, char* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
    *out++ = kHex[id.bytes[i] >> 4];
    *out++ = kHex[id.bytes[i] & 15];
  }
}

RequestTemplate::RequestTemplate() {
  v1::PostTransfersRequest head;
  head.set_request_id(kRequest);
  head_ = head.SerializeAsString();
  v1::PostTransfersRequest whole;
  v1::Transfer& transfer = *whole.add_transfers();
  transfer.set_transfer_id(kTransfer);
  transfer.set_debit_account_id(kDebit);
  transfer.set_credit_account_id(kCredit);
  transfer.set_amount_micro(1);
  transfer.set_kind(v1::TRANSFER_KIND_REWARD);
  transfer.mutable_authorised_by()->set_event_id(kAuthorisation);
  transfer_ = whole.SerializeAsString();
  id_at_ = Find(transfer_, kTransfer);
  debit_at_ = Find(transfer_, kDebit);
  credit_at_ = Find(transfer_, kCredit);
}

void RequestTemplate::Begin(const Uuid& request_id, std::string& out) const {
  out = head_;
  WriteUuid(request_id, out.data() + Find(out, kRequest));
}

void RequestTemplate::Add(const Uuid& id, absl::string_view debit, absl::string_view credit,
                          std::string& out) const {
  const size_t at = out.size();
  out += transfer_;
  WriteUuid(id, out.data() + at + id_at_);
  std::copy(debit.begin(), debit.end(), out.begin() + static_cast<ptrdiff_t>(at + debit_at_));
  std::copy(credit.begin(), credit.end(), out.begin() + static_cast<ptrdiff_t>(at + credit_at_));
}

Outcomes ReadOutcomes(absl::string_view response, int outcomes_field) {
  Outcomes outcomes;
  CodedInputStream in(reinterpret_cast<const uint8_t*>(response.data()),
                      static_cast<int>(response.size()));
  while (const uint32_t tag = in.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) != outcomes_field) {
      if (!WireFormatLite::SkipField(&in, tag)) break;
      continue;
    }
    uint32_t size = 0;
    if (!in.ReadVarint32(&size)) break;
    const auto limit = in.PushLimit(static_cast<int>(size));
    const int begin = in.CurrentPosition();
    const auto [result, log_index] = ReadOutcome(in);
    in.PopLimit(limit);
    if (result == v1::TRANSFER_RESULT_POSTED) {
      ++outcomes.posted;
      outcomes.log_index_max = std::max(outcomes.log_index_max, log_index);
      continue;
    }
    ++outcomes.refused;
    if (!outcomes.first_refusal.empty()) continue;
    v1::TransferOutcome outcome;
    outcome.ParseFromArray(response.data() + begin, static_cast<int>(size));
    outcomes.first_refusal =
        absl::StrCat(v1::TransferResult_Name(result), ": ", outcome.message());
  }
  return outcomes;
}

uint32_t Journal::Send(uint32_t client, uint32_t count) {
  std::vector<bool>& sent = clients_[client].acknowledged;
  const uint32_t first = static_cast<uint32_t>(sent.size());
  sent.resize(sent.size() + count, false);
  return first;
}

void Journal::Acknowledge(uint32_t client, uint32_t first, uint32_t count,
                          int64_t log_index_max) {
  log_index_max_ = std::max(log_index_max_, log_index_max);
  std::vector<bool>& known = clients_[client].acknowledged;
  std::fill_n(known.begin() + first, count, true);
}

bool Journal::WasSent(uint32_t client, uint32_t sequence) const {
  return client < clients_.size() && sequence < clients_[client].acknowledged.size();
}

bool Journal::WasAcknowledged(uint32_t client, uint32_t sequence) const {
  return WasSent(client, sequence) && clients_[client].acknowledged[sequence];
}

int64_t Journal::sent() const {
  int64_t sum = 0;
  for (const Client& client : clients_) sum += static_cast<int64_t>(client.acknowledged.size());
  return sum;
}

int64_t Journal::acknowledged() const {
  int64_t sum = 0;
  for (const Client& client : clients_) {
    sum += std::count(client.acknowledged.begin(), client.acknowledged.end(), true);
  }
  return sum;
}

}  // namespace rochdale::bench
