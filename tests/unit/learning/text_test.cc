// A character transformer learns real text: the text of the GPL, which every Debian system has
// (base-files). Trained by torch's gradients, on the grid, measured by the exact evaluator.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <numeric>
#include <sstream>

#include "libs/learning/exact_evaluator.h"
#include "libs/learning/gradients.h"
#include "tests/unit/learning/random_case.h"

namespace rochdale::learning {
namespace {

constexpr char kText[] = "/usr/share/common-licenses/GPL-3";
constexpr int kContext = 16;

struct Text {
  std::vector<uint8_t> characters;  // 0 .. vocabulary - 1
  int vocabulary = 0;
};

Text ReadText() {
  std::ifstream file(kText);
  REQUIRE(file);
  std::stringstream bytes;
  bytes << file.rdbuf();
  const std::string text = bytes.str();
  std::string alphabet = text;
  std::sort(alphabet.begin(), alphabet.end());
  alphabet.erase(std::unique(alphabet.begin(), alphabet.end()), alphabet.end());
  Text out;
  out.vocabulary = static_cast<int>(alphabet.size());
  for (const char c : text) {
    out.characters.push_back(static_cast<uint8_t>(alphabet.find(c)));
  }
  return out;
}

// `n` windows from a part of the text, with the character behind each.
Dataset Windows(const Text& text, int n, int64_t begin, int64_t end, std::mt19937_64& engine) {
  Dataset rows;
  rows.dimension = kContext;
  for (int i = 0; i < n; ++i) {
    const int64_t at = begin + engine() % (end - begin - kContext);
    rows.inputs.insert(rows.inputs.end(), &text.characters[at], &text.characters[at + kContext]);
    rows.labels.push_back(text.characters[at + kContext]);
  }
  return rows;
}

double MeanLoss(const ModelSpec& spec, const GridVector& parameters, Rows rows) {
  const LossMatrix matrix = EvaluateCheckpoints(spec, {parameters}, rows).value();
  return std::accumulate(matrix.losses.begin(), matrix.losses.end(), 0.0) * 1e-9 / matrix.rows;
}

TEST_CASE("a character transformer learns the text of a licence") {
  const Text text = ReadText();
  const ModelSpec spec = TransformerOf({kContext, text.vocabulary, 24, 2, 1, 48});
  const int64_t size = static_cast<int64_t>(text.characters.size());
  std::mt19937_64 engine(3);
  const Dataset held_out = Windows(text, 100, size * 4 / 10, size / 2, engine);
  GridVector parameters = InitialParameters(spec, "text");
  std::vector<double> theta(parameters.begin(), parameters.end()), speed(theta.size());
  const double before = MeanLoss(spec, parameters, held_out);
  CHECK(before == Approx(std::log(text.vocabulary)).epsilon(0.1));
  for (int step = 0; step < 100; ++step) {
    const Dataset batch = step % 2 == 0 ? Windows(text, 32, 0, size * 4 / 10, engine)
                                        : Windows(text, 32, size / 2, size, engine);
    const std::vector<float> gradient = MeanLossGradient(spec, parameters, batch).value();
    for (size_t p = 0; p < theta.size(); ++p) {
      speed[p] = 0.9 * speed[p] + gradient[p];
      theta[p] -= 0.3 * std::ldexp(speed[p], 20);
      parameters[p] = static_cast<int32_t>(std::lround(theta[p]));
    }
  }
  // Knowing only how often each character stands, one cannot do better than this.
  std::vector<int> counts(text.vocabulary);
  for (const uint8_t c : text.characters) ++counts[c];
  double frequencies = 0;
  for (const int count : counts) {
    frequencies -= count * std::log(double(count) / size) / size;
  }
  const double after = MeanLoss(spec, parameters, held_out);
  INFO("from " << before << " to " << after << ", frequencies " << frequencies);
  CHECK(after < frequencies - 0.2);
  CHECK(CountCorrect(spec, parameters, held_out).value() >
        CountCorrect(spec, InitialParameters(spec, "text"), held_out).value());
}

}  // namespace
}  // namespace rochdale::learning
