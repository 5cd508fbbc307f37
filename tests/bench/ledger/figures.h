// What a benchmark found, as scripts/bench_report.py reads it.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace rochdale::bench {

struct Figure {
  std::string name;
  double value = 0;
  std::string unit;
  std::string peer;         // empty: no peer
  double peer_value = 0;
  // Of the ratio to the peer where there is one, else of the value. `at_most`: a bound from above.
  std::optional<double> target;
  bool at_most = false;
};

class Figures {
 public:
  void Add(Figure figure) { figures_.push_back(std::move(figure)); }
  // {"figures": [...]}
  std::string Json() const;

 private:
  std::vector<Figure> figures_;
};

}  // namespace rochdale::bench
