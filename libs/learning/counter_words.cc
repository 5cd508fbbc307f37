#include "libs/learning/counter_words.h"

namespace rochdale::learning {

uint32_t CounterWords::Next() {
  if (word_ == 8) {
    char counter[8];
    for (int byte = 0; byte < 8; ++byte) {
      counter[7 - byte] = static_cast<char>(block_ >> (8 * byte));
    }
    words_ = crypto::Sha256Of3(tag_, key_.AsBytes(), {counter, sizeof(counter)});
    ++block_;
    word_ = 0;
  }
  const uint8_t* at = words_.bytes.data() + 4 * word_++;
  return uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | at[3];
}

uint32_t CounterWords::Below(uint32_t bound) {
  const uint64_t limit = (uint64_t{1} << 32) / bound * bound;
  uint32_t word;
  do {
    word = Next();
  } while (word >= limit);
  return word % bound;
}

}  // namespace rochdale::learning
