// Runs a fuzz target without libFuzzer: its seeds, then mutations of them, a bounded number.
//
//   fuzz_NAME [--iterations N] [--seed S]   mutations from a seed, which is printed
//   fuzz_NAME FILE...                       these inputs only: to try a crash again
//
// A crash, or an input that takes longer than kSecondsMax, prints the input in hexadecimal and the
// seed, and leaves it in crash-NAME in the current folder.
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>

#include "tests/fuzz/target.h"

namespace {

constexpr unsigned kSecondsMax = 10;
constexpr size_t kInputMax = 100'000;

// For the signal handler: it may only look and write.
const std::string* current = nullptr;
char crash_file[64] = "crash";

void Write(int file, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(file, data, size);
    if (written <= 0) return;
    data += written;
    size -= static_cast<size_t>(written);
  }
}

void OnCrash(int signal) {
  static const char kHead[] = "\nfuzz: crashed or too slow on the input (hexadecimal):\n";
  Write(STDERR_FILENO, kHead, sizeof(kHead) - 1);
  if (current != nullptr) {
    char line[2];
    for (const char c : *current) {
      line[0] = "0123456789abcdef"[static_cast<uint8_t>(c) >> 4];
      line[1] = "0123456789abcdef"[static_cast<uint8_t>(c) & 15];
      Write(STDERR_FILENO, line, 2);
    }
    const int file = ::open(crash_file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file >= 0) Write(file, current->data(), current->size());
  }
  Write(STDERR_FILENO, "\n", 1);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, uint64_t seed)
      : seeds_(std::move(seeds)), random_(seed) {}

  std::string Next() {
    std::string input = Pick();
    for (size_t steps = 1 + Below(4); steps > 0; --steps) Change(input);
    if (input.size() > kInputMax) input.resize(kInputMax);
    return input;
  }

 private:
  size_t Below(size_t n) { return n == 0 ? 0 : random_() % n; }
  const std::string& Pick() { return seeds_[Below(seeds_.size())]; }

  void Change(std::string& input) {
    static const std::string kPieces[] = {
        std::string(8, '\0'), std::string(8, '\xff'), "\x7f", "\n", "\n\n", "\xe2\x80\x94 ", "+",
        "/", "=", "0", "18446744073709551616", "9223372036854775807", "-1", std::string(1, '\0'),
        "\x80", "\xed\xa0\x80", ".p/", "x"};
    const size_t at = Below(input.size() + 1);
    switch (Below(9)) {
      case 0:
        if (at < input.size()) input[at] ^= static_cast<char>(1u << Below(8));
        break;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(random_());
        break;
      case 2: input.insert(at, 1, static_cast<char>(random_())); break;
      case 3: input.erase(at, 1 + Below(16)); break;
      case 4: input.resize(at); break;
      case 5: input.insert(at, input.substr(Below(input.size() + 1), Below(64))); break;
      case 6: {  // the end of another seed
        const std::string& other = Pick();
        input = input.substr(0, at) + other.substr(Below(other.size() + 1));
        break;
      }
      case 7: input.insert(at, kPieces[Below(std::size(kPieces))]); break;
      case 8: {  // a number with other bytes, as lengths and sizes are
        const size_t width = size_t{1} << Below(4);
        if (at + width <= input.size()) {
          const uint64_t value = Below(2) == 0 ? Below(300) : random_();
          for (size_t i = 0; i < width; ++i) {
            input[at + i] = static_cast<char>(value >> (8 * (width - 1 - i)));
          }
        }
        break;
      }
    }
  }

  const std::vector<std::string> seeds_;
  std::mt19937_64 random_;
};

void Try(const std::string& input) {
  current = &input;
  ::alarm(kSecondsMax);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
  ::alarm(0);
  current = nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t iterations = 10'000, seed = std::random_device{}();
  if (const char* given = std::getenv("ROCHDALE_TEST_SEED")) seed = std::stoull(given);
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--iterations" && i + 1 < argc) {
      iterations = std::stoull(argv[++i]);
    } else if (flag == "--seed" && i + 1 < argc) {
      seed = std::stoull(argv[++i]);
    } else {
      files.push_back(flag);
    }
  }
  const char* slash = ::strrchr(argv[0], '/');
  std::snprintf(crash_file, sizeof crash_file, "crash-%s", slash == nullptr ? argv[0] : slash + 1);
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) {
    ::signal(signal, OnCrash);
  }
  if (!files.empty()) {
    for (const std::string& name : files) {
      std::ifstream file(name, std::ios::binary);
      if (!file) {
        std::cerr << "cannot read " << name << "\n";
        return 2;
      }
      Try({std::istreambuf_iterator<char>(file), {}});
    }
    return 0;
  }
  std::cout << "fuzz: ROCHDALE_TEST_SEED=" << seed << " iterations=" << iterations << std::endl;
  const std::vector<std::string> seeds = FuzzSeeds();
  Try("");
  for (const std::string& input : seeds) Try(input);
  Mutator mutator(seeds, seed);
  for (uint64_t i = 0; i < iterations; ++i) Try(mutator.Next());
  return 0;
}
