// Single transfers, each with its payer's own signature, made ahead of the run; and what the
// machine's cores can verify at most.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/bench/ledger/requests.h"
#include "tests/bench/ledger/streams.h"
#include "tests/bench/ledger/world.h"

namespace rochdale::bench {

// Verifications of an order's signature per second with every core at work on nothing else.
double VerificationRate(absl::Duration measured);

class SignedOrders {
 public:
  // `each` orders of every signer, made by all cores.
  SignedOrders(const World& world, const Picker& picker, int each);
  // Streams of the signers, with their tokens.
  StreamSource Source();

 private:
  struct Payer {
    std::string token;
    std::vector<std::string> requests;  // bytes, in order
  };
  std::vector<Payer> payers_;
};

}  // namespace rochdale::bench
