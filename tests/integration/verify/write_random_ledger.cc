// Writes the log of a random ledger for programs in other languages, and prints the log's key, the
// index of the entry that lies (-1: none) and the rule that it breaks ("-": one without a name).
//   verify_random_ledger DIR SEED [LIE [OPERATIONS]]   LIE: a number of Lie; 800 operations
//   verify_random_ledger --lies                        how many lies there are, with 0 for none
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/integration/verify/random_ledger.h"

int main(int argc, char** argv) {
  using rochdale::verify::Lie;
  if (argc > 1 && std::string(argv[1]) == "--lies") {
    std::printf("%d\n", static_cast<int>(Lie::kEnd));
    return 0;
  }
  if (argc < 3) return 2;
  const auto lie = argc > 3 ? static_cast<Lie>(std::atoi(argv[3])) : Lie::kNone;
  const rochdale::verify::RandomLedger ledger(std::strtoull(argv[2], nullptr, 10),
                                              argc > 4 ? std::atoi(argv[4]) : 800, lie);
  ledger.Write(argv[1]);
  const std::string rule = rochdale::verify::RuleOf(lie);
  std::printf("%s %lld %s\n", ledger.origin().ToString().c_str(),
              static_cast<long long>(ledger.lied_at()), rule.empty() ? "-" : rule.c_str());
}
