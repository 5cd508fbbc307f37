// Cross-entropy in f32, for the fast evaluator. What is paid is exact (exact_math.h).
#pragma once

#include <cstdint>

namespace rochdale::learning {

// As CrossEntropyNanonats (exact_math.h), in nats, to about 3e-7 of the largest logit; the logits
// stay. `losses` and `logits` are apart.
void CrossEntropyNats(const float* logits, int64_t stride, int classes, const int32_t* labels,
                      int64_t rows, float* losses);

}  // namespace rochdale::learning
