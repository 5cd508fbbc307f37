#include "libs/obs/metrics.h"

#include <catch2/catch.hpp>
#include <string>
#include <thread>
#include <vector>

namespace rochdale::obs {
namespace {

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("metrics are exposed with their labels", "[obs]") {
  Metrics metrics;
  metrics.AddCounter("rochdale_things_total", "Things.").Add(3);
  const GaugeFamily open = metrics.Gauges("rochdale_open", "Open ones.", {"kind"});
  open.With({"a"}).Set(2);
  open.With({"b"}).Add(-1.5);
  metrics.AddHistogram("rochdale_wait_seconds", "Waits.", {0.1, 1}).Observe(0.5);

  const std::string text = metrics.Expose();
  CHECK(Has(text, "# HELP rochdale_things_total Things.\n"));
  CHECK(Has(text, "# TYPE rochdale_things_total counter\nrochdale_things_total 3\n"));
  CHECK(Has(text, "rochdale_open{kind=\"a\"} 2\n"));
  CHECK(Has(text, "rochdale_open{kind=\"b\"} -1.5\n"));
  CHECK(Has(text, "rochdale_wait_seconds_bucket{le=\"0.1\"} 0\n"));
  CHECK(Has(text, "rochdale_wait_seconds_bucket{le=\"1\"} 1\n"));
  CHECK(Has(text, "rochdale_wait_seconds_bucket{le=\"+Inf\"} 1\n"));
}

TEST_CASE("the list of what is declared is sorted by name", "[obs]") {
  Metrics metrics;
  metrics.Counters("rochdale_b_total", "B.", {"verdict", "reason"});
  metrics.AddGauge("rochdale_a", "A.");
  const std::vector<MetricInfo> list = metrics.List();
  REQUIRE(list.size() == 2);
  CHECK(list[0].name == "rochdale_a");
  CHECK(list[0].type == "gauge");
  CHECK(list[1].labels == std::vector<std::string>{"verdict", "reason"});
}

TEST_CASE("declaring a metric again gives the same one", "[obs]") {
  Metrics metrics;
  metrics.Counters("rochdale_x_total", "X.", {"k"}).With({"1"}).Add();
  const Counter again = metrics.Counters("rochdale_x_total", "X.", {"k"}).With({"1"});
  again.Add();
  CHECK(again.Value() == 2);
}

TEST_CASE("a family never grows past its guard", "[obs]") {
  Metrics metrics;
  const CounterFamily family = metrics.Counters("rochdale_x_total", "X.", {"k"});
  for (int i = 0; i < kMaxSeries + 50; ++i) family.With({std::to_string(i)}).Add();
  CHECK(family.With({"other"}).Value() == 50);
  CHECK(family.With({"7"}).Value() == 1);  // those that were seen before stay their own
}

TEST_CASE("handles made by default drop what they are told", "[obs]") {
  Counter().Add();
  Gauge().Set(1);
  Histogram().Observe(1);
  CHECK(CounterFamily().With({"any"}).Value() == 0);
}

TEST_CASE("threads may count at once", "[obs]") {
  Metrics metrics;
  const CounterFamily family = metrics.Counters("rochdale_x_total", "X.", {"k"});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1'000; ++i) family.With({std::to_string(i % 5)}).Add();
    });
  }
  for (std::thread& thread : threads) thread.join();
  double sum = 0;
  for (int k = 0; k < 5; ++k) sum += family.With({std::to_string(k)}).Value();
  CHECK(sum == 4'000);
}

}  // namespace
}  // namespace rochdale::obs
