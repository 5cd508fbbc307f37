#include "libs/obs/metrics.h"

#include <prometheus/check_names.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace rochdale::obs {
namespace {

[[noreturn]] void Defect(absl::string_view name, absl::string_view what) {
  std::fprintf(stderr, "metric %s: %s\n", std::string(name).c_str(), std::string(what).c_str());
  std::abort();
}

// A prometheus family with its label names and the guard on the number of series.
template <typename Metric>
class Series {
 public:
  Series(std::string name, prometheus::Family<Metric>& family, std::vector<std::string> labels)
      : name_(std::move(name)), family_(family), labels_(std::move(labels)) {}

  template <typename... Args>
  Metric& At(std::vector<std::string> values, const Args&... args) {
    if (values.size() != labels_.size()) Defect(name_, "another number of labels than declared");
    std::lock_guard lock(mutex_);
    if (!seen_.contains(values) && seen_.size() >= kMaxSeries) {
      std::fill(values.begin(), values.end(), "other");
    }
    seen_.insert(values);
    std::map<std::string, std::string> pairs;
    for (size_t i = 0; i < labels_.size(); ++i) pairs[labels_[i]] = values[i];
    return family_.Add(pairs, args...);
  }

 private:
  const std::string name_;
  prometheus::Family<Metric>& family_;
  const std::vector<std::string> labels_;
  std::mutex mutex_;
  std::set<std::vector<std::string>> seen_;
};

}  // namespace

void Counter::Add(double by) const {
  if (counter_ != nullptr) counter_->Increment(by);
}
double Counter::Value() const { return counter_ == nullptr ? 0 : counter_->Value(); }

void Gauge::Set(double value) const {
  if (gauge_ != nullptr) gauge_->Set(value);
}
void Gauge::Add(double by) const {
  if (gauge_ != nullptr) gauge_->Increment(by);
}
double Gauge::Value() const { return gauge_ == nullptr ? 0 : gauge_->Value(); }

void Histogram::Observe(double value) const {
  if (histogram_ != nullptr) histogram_->Observe(value);
}

struct CounterFamily::State : Series<prometheus::Counter> {
  using Series::Series;
};
struct GaugeFamily::State : Series<prometheus::Gauge> {
  using Series::Series;
};
struct HistogramFamily::State : Series<prometheus::Histogram> {
  State(std::string name, prometheus::Family<prometheus::Histogram>& family,
        std::vector<std::string> labels, std::vector<double> buckets)
      : Series(std::move(name), family, std::move(labels)), buckets(std::move(buckets)) {}
  const std::vector<double> buckets;
};

Counter CounterFamily::With(const std::vector<std::string>& label_values) const {
  return state_ == nullptr ? Counter() : Counter(&state_->At(label_values));
}
Gauge GaugeFamily::With(const std::vector<std::string>& label_values) const {
  return state_ == nullptr ? Gauge() : Gauge(&state_->At(label_values));
}
Histogram HistogramFamily::With(const std::vector<std::string>& label_values) const {
  return state_ == nullptr ? Histogram() : Histogram(&state_->At(label_values, state_->buckets));
}

const std::vector<double>& LatencyBuckets() {
  static const auto* buckets = new std::vector<double>{.001, .0025, .005, .01, .025, .05, .1, .25,
                                                       .5,   1,     2.5,  5,   10,   30,  60};
  return *buckets;
}

struct Metrics::State {
  prometheus::Registry registry;
  mutable std::mutex mutex;
  std::map<std::string, MetricInfo, std::less<>> infos;
  std::map<std::string, std::shared_ptr<CounterFamily::State>, std::less<>> counters;
  std::map<std::string, std::shared_ptr<GaugeFamily::State>, std::less<>> gauges;
  std::map<std::string, std::shared_ptr<HistogramFamily::State>, std::less<>> histograms;

  // True where the metric is new; a defect where it exists as something else.
  bool Declare(MetricInfo info) {
    if (!prometheus::CheckMetricName(info.name)) Defect(info.name, "not a metric name");
    for (const std::string& label : info.labels) {
      if (!prometheus::CheckLabelName(label)) Defect(info.name, "not a label name: " + label);
    }
    const auto [at, added] = infos.emplace(info.name, info);
    if (!added && (at->second.type != info.type || at->second.labels != info.labels)) {
      Defect(info.name, "declared twice, differently");
    }
    return added;
  }
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

CounterFamily Metrics::Counters(absl::string_view name, absl::string_view help,
                                std::vector<std::string> labels) {
  std::lock_guard lock(state_->mutex);
  const std::string key(name);
  if (state_->Declare({key, "counter", labels, std::string(help)})) {
    auto& family =
        prometheus::BuildCounter().Name(key).Help(std::string(help)).Register(state_->registry);
    state_->counters[key] =
        std::make_shared<CounterFamily::State>(key, family, std::move(labels));
  }
  CounterFamily family;
  family.state_ = state_->counters[key];
  return family;
}

GaugeFamily Metrics::Gauges(absl::string_view name, absl::string_view help,
                            std::vector<std::string> labels) {
  std::lock_guard lock(state_->mutex);
  const std::string key(name);
  if (state_->Declare({key, "gauge", labels, std::string(help)})) {
    auto& family =
        prometheus::BuildGauge().Name(key).Help(std::string(help)).Register(state_->registry);
    state_->gauges[key] = std::make_shared<GaugeFamily::State>(key, family, std::move(labels));
  }
  GaugeFamily family;
  family.state_ = state_->gauges[key];
  return family;
}

HistogramFamily Metrics::Histograms(absl::string_view name, absl::string_view help,
                                    std::vector<std::string> labels,
                                    std::vector<double> buckets) {
  std::lock_guard lock(state_->mutex);
  const std::string key(name);
  if (!std::is_sorted(buckets.begin(), buckets.end(), std::less_equal<>())) {
    Defect(name, "buckets do not increase");
  }
  if (state_->Declare({key, "histogram", labels, std::string(help)})) {
    auto& family =
        prometheus::BuildHistogram().Name(key).Help(std::string(help)).Register(state_->registry);
    state_->histograms[key] = std::make_shared<HistogramFamily::State>(
        key, family, std::move(labels), std::move(buckets));
  }
  HistogramFamily family;
  family.state_ = state_->histograms[key];
  return family;
}

Counter Metrics::AddCounter(absl::string_view name, absl::string_view help) {
  return Counters(name, help, {}).With({});
}
Gauge Metrics::AddGauge(absl::string_view name, absl::string_view help) {
  return Gauges(name, help, {}).With({});
}
Histogram Metrics::AddHistogram(absl::string_view name, absl::string_view help,
                                std::vector<double> buckets) {
  return Histograms(name, help, {}, std::move(buckets)).With({});
}

std::vector<MetricInfo> Metrics::List() const {
  std::lock_guard lock(state_->mutex);
  std::vector<MetricInfo> list;
  for (const auto& [name, info] : state_->infos) list.push_back(info);
  return list;
}

std::string Metrics::Expose() const {
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

}  // namespace rochdale::obs
