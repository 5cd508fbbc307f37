#include "libs/learning/dataset.h"

#include <catch2/catch.hpp>

#include "libs/base/errors.h"
#include "libs/tensor/safetensors.h"
#include "tests/unit/learning/random_case.h"

namespace rochdale::learning {
namespace {

using tensor::DType;

std::string File(DType input_type, std::vector<int64_t> input_shape, DType label_type,
                 std::vector<int64_t> label_shape, uint8_t fill = 0,
                 const std::string& label_name = "labels") {
  const tensor::TensorSpec inputs{"inputs", input_type, std::move(input_shape)};
  const tensor::TensorSpec labels{label_name, label_type, std::move(label_shape)};
  const std::vector<uint8_t> input_bytes(inputs.Bytes(), 1), label_bytes(labels.Bytes(), fill);
  return tensor::Serialize({{inputs, input_bytes}, {labels, label_bytes}}).value();
}

TEST_CASE("a data set survives its file") {
  const RandomCase game = MakeCase({12, 6, 5}, 0, 33, 1);
  const std::string file = SerializeDataset(game.rows);
  const Dataset read = ParseDataset(file, game.spec).value();
  CHECK(read.inputs == game.rows.inputs);
  CHECK(read.labels == game.rows.labels);
  CHECK(read.dimension == 12);
  CHECK(SerializeDataset(read) == file);
}

TEST_CASE("labels above 255 are written as I64") {
  RandomCase game = MakeCase({4, 3, 400}, 0, 2, 1);
  game.rows.labels = {399, 0};
  CHECK(ParseDataset(SerializeDataset(game.rows), game.spec)->labels == game.rows.labels);
}

TEST_CASE("bytes at an odd address are read") {
  const RandomCase game = MakeCase({12, 6, 5}, 0, 9, 1);
  const std::string shifted = "x" + SerializeDataset(game.rows);
  CHECK(ParseDataset(absl::string_view(shifted).substr(1), game.spec)->labels ==
        game.rows.labels);
}

TEST_CASE("files that are no data set of the model are refused") {
  const ModelSpec spec{ModelKind::kMlp, {12, 6, 5}};
  CHECK(ParseDataset(File(DType::kU8, {3, 12}, DType::kU8, {3}, 4), spec).ok());
  for (const std::string& file : {
           std::string(), std::string("nonsense"),
           File(DType::kU8, {3, 12}, DType::kU8, {3}, 5),          // class 5 of 5
           File(DType::kU8, {3, 12}, DType::kI64, {3}, 0xff),      // class -1
           File(DType::kU8, {3, 12}, DType::kI64, {3}, 0x01),      // a huge class
           File(DType::kU8, {3, 11}, DType::kU8, {3}),
           File(DType::kU8, {3, 12}, DType::kU8, {4}),
           File(DType::kU8, {3, 12}, DType::kU8, {3, 1}),
           File(DType::kU8, {36}, DType::kU8, {3}),
           File(DType::kF32, {3, 12}, DType::kU8, {3}),
           File(DType::kU8, {3, 12}, DType::kF32, {3}),
           File(DType::kU8, {3, 12}, DType::kU8, {3}, 0, "label"),
           File(DType::kU8, {3, 12}, DType::kU8, {3}).substr(0, 60),
       }) {
    CHECK(ReasonOf(ParseDataset(file, spec).status()) == "PROBE_INVALID");
  }
}

TEST_CASE("rows are sliced and taken") {
  const RandomCase game = MakeCase({3, 2, 5}, 0, 10, 1);
  const Rows rows = game.rows;
  const Dataset taken = TakeRows(rows, {7, 2, 7});
  REQUIRE(taken.count() == 3);
  CHECK(taken.labels == std::vector<int32_t>{rows.labels[7], rows.labels[2], rows.labels[7]});
  CHECK(absl::MakeConstSpan(taken.inputs).subspan(3, 3) == rows.inputs.subspan(6, 3));
  const Rows slice = rows.Slice(8, 2);
  CHECK(slice.count() == 2);
  CHECK(slice.inputs == rows.inputs.subspan(24));
  CHECK(TakeRows(rows, {}).count() == 0);
}

}  // namespace
}  // namespace rochdale::learning
