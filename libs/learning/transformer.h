// The small character transformer (causal, normalisation first). A row is a window of `context`
// characters; position t predicts character t + 1 of the window, the last position the row's label.
// With T = context, V = vocabulary, d = width, m = mlp_width it is, in torch,
//   x = token(characters) + position(0 .. T-1)            nn.Embedding(V, d), nn.Embedding(T, d)
//   for every block:                                      nn.ModuleList "blocks"
//     q, k, v = attention_in(norm1(x)).split(d)           nn.LayerNorm(d), nn.Linear(d, 3 d)
//     x = x + attention_out(attention(q, k, v))           nn.Linear(d, d)
//     x = x + mlp_out(relu(mlp_in(norm2(x))))             nn.LayerNorm(d), nn.Linear(d, m), (m, d)
//   logits = head(norm(x))                                nn.LayerNorm(d), nn.Linear(d, V)
// where attention is F.scaled_dot_product_attention(..., is_causal=True) over `heads` slices of
// d / heads features, and names are those of the state_dict(): "blocks.0.attention_in.bias", ...,
// "head.weight", "norm.bias", "position.weight", "token.weight".
#pragma once

#include <vector>

#include "libs/learning/model.h"

namespace rochdale::learning {

// A normalisation: where its gain [width] and bias [width] lie in the flat vector.
struct Normalisation {
  int64_t gain_offset = 0;
  int64_t bias_offset = 0;
  std::string name;  // "blocks.0.norm1"
};

struct TransformerBlock {
  Normalisation norm1, norm2;
  LinearLayer attention_in, attention_out, mlp_in, mlp_out;
  std::string attention;  // "blocks.0.attention": what a range violation of its products names
};

struct TransformerLayout {
  int64_t token_offset = 0;     // [vocabulary, width]
  int64_t position_offset = 0;  // [context, width]
  std::vector<TransformerBlock> blocks;
  Normalisation norm;
  LinearLayer head;
};

// `spec` is valid.
TransformerLayout LayoutOfTransformer(const TransformerSpec& spec);
// See ParameterTensors.
std::vector<ParameterTensor> TransformerTensors(const TransformerSpec& spec);

}  // namespace rochdale::learning
