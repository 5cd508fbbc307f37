// The metrics of one process, in the Prometheus data model.
//
// A metric is declared once, at construction of what reports it, with its help text and its fixed
// label names. Labels have few values: never a member, agent, model, run, round or key. As a guard
// a family holds at most kMaxSeries label sets; what comes after is counted under "other" in every
// label. Names follow Prometheus: base units, counters end in _total, ours start with rochdale_
// (the standard grpc_server_* names excepted).
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
class Registry;
}  // namespace prometheus

namespace rochdale::obs {

inline constexpr int kMaxSeries = 1'000;

// Handles: small values, valid as long as their Metrics. Thread-safe. A handle made by the default
// constructor drops what it is told.
class Counter {
 public:
  Counter() = default;
  void Add(double by = 1) const;  // by >= 0
  double Value() const;           // for tests

 private:
  friend class CounterFamily;
  explicit Counter(prometheus::Counter* counter) : counter_(counter) {}
  prometheus::Counter* counter_ = nullptr;
};

class Gauge {
 public:
  Gauge() = default;
  void Set(double value) const;
  void Add(double by) const;  // by may be negative
  double Value() const;

 private:
  friend class GaugeFamily;
  explicit Gauge(prometheus::Gauge* gauge) : gauge_(gauge) {}
  prometheus::Gauge* gauge_ = nullptr;
};

class Histogram {
 public:
  Histogram() = default;
  void Observe(double value) const;

 private:
  friend class HistogramFamily;
  explicit Histogram(prometheus::Histogram* histogram) : histogram_(histogram) {}
  prometheus::Histogram* histogram_ = nullptr;
};

// A metric with labels; With() takes one value per declared label, in their order (another number
// of values is a defect: crash). Small values, as the handles.
class CounterFamily {
 public:
  CounterFamily() = default;
  Counter With(const std::vector<std::string>& label_values) const;

 private:
  friend class Metrics;
  struct State;
  std::shared_ptr<State> state_;
};

class GaugeFamily {
 public:
  GaugeFamily() = default;
  Gauge With(const std::vector<std::string>& label_values) const;

 private:
  friend class Metrics;
  struct State;
  std::shared_ptr<State> state_;
};

class HistogramFamily {
 public:
  HistogramFamily() = default;
  Histogram With(const std::vector<std::string>& label_values) const;

 private:
  friend class Metrics;
  struct State;
  std::shared_ptr<State> state_;
};

// What one metric is: for the golden list and docs/metrics.md.
struct MetricInfo {
  std::string name;
  std::string type;  // counter, gauge, histogram
  std::vector<std::string> labels;
  std::string help;
};

// Upper bounds of latency histograms, seconds: 1 ms to 60 s.
const std::vector<double>& LatencyBuckets();

// The registry. Thread-safe. Declaring a name again with the same type and labels gives the same
// metric (two services in one process share grpc_server_*); with others is a defect (crash), as is
// a name or label that Prometheus does not allow.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  CounterFamily Counters(absl::string_view name, absl::string_view help,
                         std::vector<std::string> labels);
  GaugeFamily Gauges(absl::string_view name, absl::string_view help,
                     std::vector<std::string> labels);
  // `buckets`: strictly increasing upper bounds, without +Inf.
  HistogramFamily Histograms(absl::string_view name, absl::string_view help,
                             std::vector<std::string> labels, std::vector<double> buckets);

  // Without labels.
  Counter AddCounter(absl::string_view name, absl::string_view help);
  Gauge AddGauge(absl::string_view name, absl::string_view help);
  Histogram AddHistogram(absl::string_view name, absl::string_view help,
                         std::vector<double> buckets);

  // Everything declared so far, by name.
  std::vector<MetricInfo> List() const;

  // The text exposition format 0.0.4 of what /metrics serves.
  std::string Expose() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rochdale::obs
