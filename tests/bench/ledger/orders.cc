#include "tests/bench/ledger/orders.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/crypto/jwt.h"
#include "libs/crypto/signed_document.h"
#include "libs/rpc/channel.h"
#include "rochdale/ledger/v1/ledger.pb.h"
#include "tests/bench/ledger/usage.h"

namespace rochdale::bench {
namespace {

namespace v1 = ledger::v1;

constexpr char kType[] = "rochdale.ledger.v1.TransferOrder";

size_t Cores() { return std::max(1u, std::thread::hardware_concurrency()); }

// In the proto3 JSON mapping.
std::string OrderJson(const Uuid& id, const std::string& debit, const std::string& credit,
                      absl::Time now) {
  return absl::StrCat(R"({"transfers":[{"transferId":")", id.ToString(), R"(","debitAccountId":")",
                      debit, R"(","creditAccountId":")", credit,
                      R"(","amountMicro":"1","kind":"TRANSFER_KIND_SPEND"}],"signedTimeUs":")",
                      absl::ToUnixMicros(now), R"("})");
}

std::string RequestBytes(const Signer& signer, const Uuid& id, const std::string& credit,
                         absl::Time now) {
  const auto signed_order =
      crypto::SignDocument(signer.key, kType, OrderJson(id, signer.account, credit, now));
  Require(signed_order.status(), "signing an order");
  v1::PostTransfersRequest request;
  request.set_request_id(id.ToString());
  request.mutable_order()->set_type(signed_order->type);
  request.mutable_order()->set_body(signed_order->body);
  request.mutable_order()->set_public_key(std::string(signed_order->public_key.AsBytes()));
  request.mutable_order()->set_signature(std::string(signed_order->signature.AsBytes()));
  return request.SerializeAsString();
}

}  // namespace

double VerificationRate(absl::Duration measured) {
  const crypto::KeyPair key = crypto::KeyPair::Generate(crypto::SystemRandomBytes());
  const Uuid id = TransferIdOf(0, 0, absl::Now());
  const auto document =
      crypto::SignDocument(key, kType, OrderJson(id, id.ToString(), id.ToString(), absl::Now()));
  Require(document.status(), "signing");
  std::atomic<int64_t> verified{0};
  const auto begin = std::chrono::steady_clock::now();
  const auto end = begin + absl::ToChronoNanoseconds(measured);
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < Cores(); ++i) {
      threads.emplace_back([&] {
        int64_t count = 0;
        for (; std::chrono::steady_clock::now() < end; ++count) {
          Require(crypto::VerifyDocument(*document), "verifying");
        }
        verified += count;
      });
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return static_cast<double>(verified) / took.count();
}

SignedOrders::SignedOrders(const World& world, const Picker& picker, int each)
    : payers_(world.signers().size()) {
  std::atomic<size_t> next{0};
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < Cores(); ++i) {
    threads.emplace_back([&, i] {
      std::mt19937_64 random(i);
      RandomIdSource ids;
      for (size_t at; (at = next++) < payers_.size();) {
        const Signer& signer = world.signers()[at];
        rpc::TokenSource tokens(crypto::TokenSubject::Of(PrincipalId{signer.principal}),
                                signer.key, SystemClock(), ids, absl::Minutes(15));
        payers_[at].token = tokens.Authorization();
        for (int n = 0; n < each; ++n) {
          const absl::Time now = absl::Now();
          const int credit = picker.Pair(random).second;
          payers_[at].requests.push_back(RequestBytes(
              signer, TransferIdOf(static_cast<uint32_t>(at), static_cast<uint32_t>(n), now),
              world.accounts()[static_cast<size_t>(credit)], now));
        }
      }
    });
  }
}

StreamSource SignedOrders::Source() {
  StreamSource source;
  source.token = [this](uint32_t client) { return payers_[client].token; };
  source.next = [this](uint32_t client, uint32_t sequence, std::string& bytes) {
    std::vector<std::string>& requests = payers_[client].requests;
    if (sequence >= requests.size()) return false;
    bytes = std::move(requests[sequence]);
    return true;
  };
  return source;
}

}  // namespace rochdale::bench
