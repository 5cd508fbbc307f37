#include "tests/bench/ledger/figures.h"

#include <nlohmann/json.hpp>

namespace rochdale::bench {

std::string Figures::Json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const Figure& figure : figures_) {
    nlohmann::json one = {
        {"name", figure.name}, {"value", figure.value}, {"unit", figure.unit}};
    double judged = figure.value;
    if (!figure.peer.empty() && figure.peer_value > 0) {
      judged = figure.value / figure.peer_value;
      one["peer"] = figure.peer;
      one["peer_value"] = figure.peer_value;
      one["ratio"] = judged;
    }
    if (figure.target.has_value()) {
      one["target"] = *figure.target;
      one["met"] = figure.at_most ? judged <= *figure.target : judged >= *figure.target;
    }
    list.push_back(std::move(one));
  }
  return nlohmann::json{{"figures", std::move(list)}}.dump(1);
}

}  // namespace rochdale::bench
