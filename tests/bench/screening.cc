// How close screening comes to the machine's read bandwidth: ScreenPass (K = 8) against a plain
// read of as many bytes in the same run. Both are timed in turns and the best of each counts, so
// that a noisy neighbour hits both. Usage: bench_screening [--quick]
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "libs/tensor/screen.h"

namespace {

constexpr int kProbes = 8;
constexpr double kTarget = 0.7;

// The fastest plain read we know: eight independent sums over 64-byte vectors.
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#endif
uint64_t ReadAll(const uint64_t* words, size_t count) {
  typedef uint64_t Line __attribute__((vector_size(64)));
  Line sums[8] = {};
  for (size_t i = 0; i + 64 <= count; i += 64) {
    for (int j = 0; j < 8; ++j) {
      Line line;
      std::memcpy(&line, words + i + 8 * j, sizeof line);
      sums[j] += line;
    }
  }
  uint64_t total = 0;
  for (const Line& sum : sums) {
    for (int lane = 0; lane < 8; ++lane) total += sum[lane];
  }
  return total;
}

template <typename Work>
double SecondsOf(Work work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

volatile uint64_t g_sink;  // so that no read is optimised away

void ReadWith(int threads, const std::vector<std::vector<float>>& vectors) {
  std::vector<std::jthread> helpers;
  for (int t = 0; t < threads; ++t) {
    helpers.emplace_back([&, t] {
      uint64_t sum = 0;
      for (const std::vector<float>& vector : vectors) {
        const size_t words = vector.size() / 2, part = words / static_cast<size_t>(threads);
        sum += ReadAll(reinterpret_cast<const uint64_t*>(vector.data()) + part * t, part);
      }
      g_sink = g_sink + sum;
    });
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  const size_t elements = (quick ? size_t{4} : size_t{16}) << 20;
  const int rounds = quick ? 25 : 60;
  std::mt19937 random(1);
  std::vector<std::vector<float>> vectors(kProbes + 1, std::vector<float>(elements));
  for (std::vector<float>& vector : vectors) {
    for (float& value : vector) value = static_cast<float>(random()) * 1e-11f - 0.02f;
  }
  std::vector<absl::Span<const float>> probes(vectors.begin() + 1, vectors.end());
  const std::vector<rochdale::tensor::FlatSlice> slices = {
      {"a", 0, elements / 2}, {"b", elements / 2, elements - elements / 2}};
  const double gigabytes = 4e-9 * static_cast<double>(elements) * (kProbes + 1);

  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<int> thread_counts = {1};
  if (cores > 1) thread_counts.push_back(cores);
  std::printf("{\"figures\": [");
  const char* separator = "";
  for (int threads : thread_counts) {
    double read = 1e9, screen = 1e9;
    for (int round = 0; round < rounds; ++round) {
      read = std::min(read, SecondsOf([&] { ReadWith(threads, vectors); }));
      screen = std::min(screen, SecondsOf([&] {
        const auto result = rochdale::tensor::ScreenPass(vectors[0], probes, slices, threads);
        g_sink = g_sink + (result.ok() ? static_cast<uint64_t>(result->norm.sum_squares) : 0);
      }));
    }
    const double ratio = read / screen;
    std::printf("%s{\"name\": \"screening bandwidth, K = %d, threads = %d\", \"value\": %.2f, "
                "\"unit\": \"GB/s\", \"peer\": \"plain read, threads = %d\", "
                "\"peer_value\": %.2f, \"ratio\": %.3f, \"target\": %.2f, \"met\": %s}",
                separator, kProbes, threads, gigabytes / screen, threads, gigabytes / read, ratio,
                kTarget, ratio >= kTarget ? "true" : "false");
    separator = ", ";
  }
  std::printf("]}\n");
  return 0;
}
