// The small convnet: blocks of a 3x3 convolution (stride 1, one pixel of zeros around), ReLU and
// 2x2 max pooling (stride 2, an odd last row or column is dropped), then linear layers with ReLU
// between them. Named as in the state_dict() of
//   nn.Sequential(Conv2d(c0, c1, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(c1, c2, 3, padding=1),
//                 ReLU(), MaxPool2d(2), ..., Flatten(), Linear, ReLU(), ..., Linear)
// so with B convolutions, convolution b is module 3 b ("3.weight" [out, in, 3, 3], "3.bias") and
// linear layer l is module 3 B + 1 + 2 l.
#pragma once

#include <vector>

#include "libs/learning/model.h"

namespace rochdale::learning {

struct Convolution {
  // inputs = 9 * input channels, in the order (channel, dy, dx); outputs = output channels.
  LinearLayer layer;
  int channels = 0;  // of the input
  int height = 0;    // of the input and of what the convolution gives; pooling halves it
  int width = 0;
};

struct ConvnetLayout {
  std::vector<Convolution> convolutions;
  std::vector<LinearLayer> linear;
};

// `spec` is a valid convnet.
ConvnetLayout LayoutOfConvnet(const ModelSpec& spec);
// See ParameterTensors.
std::vector<ParameterTensor> ConvnetTensors(const ModelSpec& spec);

}  // namespace rochdale::learning
