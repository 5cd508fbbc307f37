#include "tests/bench/ledger/world.h"

#include <condition_variable>
#include <mutex>

#include "absl/time/clock.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/signed_document.h"
#include "libs/rpc/status.h"
#include "tests/bench/ledger/usage.h"

namespace rochdale::bench {
namespace {

namespace v1 = ledger::v1;
namespace kind = crypto::kind;
namespace tag = crypto::tag;

constexpr int kPerOwner = 1'000;
constexpr int kPerCall = 5'000;
constexpr int kEntriesPerCall = 1'000;
constexpr int64_t kCreditLine = 1'000'000'000'000'000;  // micro-tokens
constexpr absl::Duration kHeartbeatEvery = absl::Seconds(5);

template <typename Method, typename Stub, typename Request, typename Response>
void Call(Stub& stub, Method method, const Request& request, Response* response,
          const char* doing) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Minutes(2)));
  Require(rpc::FromGrpc((stub.*method)(&context, request, response)), doing);
}

crypto::SignedDocument Document(const crypto::KeyPair& key, const char* type) {
  auto made = crypto::SignDocument(key, type, "{}");
  Require(made.status(), "signing");
  return *std::move(made);
}

void AddEntry(crypto::EntryBuilder& builder, v1::AppendEntriesRequest& request) {
  const auto bytes = builder.BuildBytes();
  Require(bytes.status(), "an entry");
  request.add_entries(*bytes);
}

}  // namespace

World::World(LedgerProcess& ledger, KeyRegistry& registry, int signers)
    : payout_(v1::LedgerService::NewStub(ledger.Connect("payout"))),
      governance_(v1::LedgerService::NewStub(ledger.Connect("governance"))) {
  Heartbeat();
  std::vector<Wanted> wanted;
  for (int i = 0; i < kAccounts; ++i) {
    if (i % kPerOwner == 0) owners_.push_back(ids_.New(absl::Now()).ToString());
    accounts_.push_back(ids_.New(absl::Now()).ToString());
    wanted.push_back({accounts_.back(), owners_.back(), v1::ACCOUNT_TYPE_SYSTEM});
  }
  MakeSigners(registry, signers);
  for (const Signer& signer : signers_) {
    owners_.push_back(signer.principal.ToString());
    wanted.push_back({signer.account, owners_.back(), v1::ACCOUNT_TYPE_PERSON});
  }
  Open(wanted);
  heart_ = std::jthread([this](std::stop_token stop) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    while (!never.wait_for(lock, stop, absl::ToChronoSeconds(kHeartbeatEvery),
                           [&] { return stop.stop_requested(); })) {
      Heartbeat();
    }
  });
}

World::~World() = default;

void World::Heartbeat() {
  v1::AppendEntriesRequest request;
  request.set_request_id(random_.New(absl::Now()).ToString());
  request.set_complete_until_us(absl::ToUnixMicros(absl::Now()));
  v1::AppendEntriesResponse response;
  Call(*governance_, &Stub::AppendEntries, request, &response, "the heartbeat");
}

void World::Open(const std::vector<Wanted>& wanted) {
  for (size_t i = 0; i < wanted.size();) {
    v1::OpenAccountsRequest request;
    request.set_request_id(random_.New(absl::Now()).ToString());
    request.mutable_authorised_by()->set_event_id(request.request_id());
    for (; i < wanted.size() && request.accounts_size() < kPerCall; ++i) {
      v1::Account& account = *request.add_accounts();
      account.set_account_id(wanted[i].account);
      account.set_owner_id(wanted[i].owner);
      account.set_type(wanted[i].type);
      account.set_asset("token");
      account.set_floor_micro(-kCreditLine);
    }
    v1::OpenAccountsResponse response;
    Call(*payout_, &Stub::OpenAccounts, request, &response, "opening accounts");
  }
}

void World::MakeSigners(KeyRegistry& registry, int count) {
  v1::AppendEntriesRequest request;
  const auto send = [&] {
    if (request.entries_size() == 0) return;
    request.set_request_id(random_.New(absl::Now()).ToString());
    v1::AppendEntriesResponse response;
    Call(*governance_, &Stub::AppendEntries, request, &response, "registering signers");
    request.Clear();
  };
  const crypto::KeyPair verifier = crypto::KeyPair::Generate(crypto::SystemRandomBytes());
  for (int i = 0; i < count; ++i) {
    Signer signer{ids_.New(absl::Now()), crypto::KeyPair::Generate(crypto::SystemRandomBytes()),
                  ids_.New(absl::Now()).ToString()};
    registry.Put(signer.key.public_key(), signer.principal);
    const absl::Time now = absl::Now();
    crypto::EntryBuilder registered(kind::kPrincipalRegistered, {ids_.New(now)}, now);
    registered.Subject(signer.principal)
        .U64(tag::kPrincipalType, 1)
        .Bytes(tag::kRegisteredKey, signer.key.public_key().AsBytes())
        .Document(Document(signer.key, "rochdale.governance.v1.PrincipalRegistration"));
    AddEntry(registered, request);
    crypto::EntryBuilder attested(kind::kKycAttested, {ids_.New(now)}, now);
    attested.Subject(signer.principal)
        .U64(tag::kKycLevel, 3)
        .I64(tag::kExpiresUs, absl::ToUnixMicros(now + absl::Hours(24)))
        .Document(Document(verifier, "rochdale.governance.v1.KycAttestation"));
    AddEntry(attested, request);
    signers_.push_back(std::move(signer));
    if (request.entries_size() + 2 > kEntriesPerCall) send();
  }
  send();
}

}  // namespace rochdale::bench
