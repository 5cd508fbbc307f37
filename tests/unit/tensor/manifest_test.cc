#include "libs/tensor/manifest.h"

#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"

namespace rochdale::tensor {
namespace {

TensorManifest Make(std::vector<TensorSpec> specs) {
  auto manifest = TensorManifest::Create(std::move(specs));
  REQUIRE(manifest.ok());
  return *std::move(manifest);
}

TEST_CASE("a manifest's text and digest do not depend on the order given") {
  const TensorManifest a = Make({{"w", DType::kF32, {3, 4}}, {"b", DType::kI64, {}}});
  const TensorManifest b = Make({{"b", DType::kI64, {}}, {"w", DType::kF32, {3, 4}}});
  CHECK(a == b);
  CHECK(a.CanonicalText() == "b I64 -\nw F32 3x4\n");
  CHECK(a.Digest() == crypto::Sha256("b I64 -\nw F32 3x4\n"));
  CHECK(a.Elements() == 13);
  CHECK(*TensorManifest::Parse(a.CanonicalText()) == a);
}

TEST_CASE("manifest texts that are not canonical are refused") {
  for (const char* text :
       {"", "\n", "w F32 3x4", "w F32 3x4\n\n", "w F32 03\n", "w F32 +3\n", "w F32 3x\n",
        "w F32 x\n", "w  F32 3\n", "w F32\n", "w F16 3\n", "w F32 3 \n", "w F32 0\n", "w F32 -3\n",
        "w F32 3\nw F32 3\n", "w F32 3\na F32 3\n", "w F32 1x1x1x1x1x1x1x1x1\n"}) {
    CAPTURE(text);
    CHECK(ReasonOf(TensorManifest::Parse(text).status()) == "TENSOR_MALFORMED");
  }
}

TEST_CASE("a mismatch names every difference") {
  const TensorManifest model =
      Make({{"a", DType::kF32, {1}}, {"b", DType::kF32, {2, 2}}, {"c", DType::kF32, {3}}});
  CHECK(CheckSame(model, model).ok());
  const TensorManifest update =
      Make({{"b", DType::kI32, {4}}, {"c", DType::kF32, {3}}, {"d", DType::kF32, {}}});
  const absl::Status status = CheckSame(model, update);
  CHECK(ReasonOf(status) == "TENSOR_MISMATCH");
  CHECK(status.message() ==
        "a is missing; b is I32 instead of F32; b has shape 4 instead of 2x2; "
        "d is not a tensor of the model");
}

TEST_CASE("a mismatch of thousands fits a trailer and says how many there are") {
  std::vector<TensorSpec> specs;
  for (int i = 0; i < 4096; ++i) specs.push_back({absl::StrCat("t", i), DType::kF32, {1}});
  const absl::Status status = CheckSame(Make(specs), Make({{"x", DType::kF32, {1}}}));
  CHECK_THAT(std::string(status.message()), Catch::EndsWith("and 4057 more"));
  CHECK(Differences(Make(specs), Make({{"x", DType::kF32, {1}}})).size() == 4097);
}

TEST_CASE("manifests out of bounds are refused") {
  const std::vector<TensorSpec> bad[] = {
      {},
      {{"a", DType::kF32, {1}}, {"a", DType::kF32, {2}}},
      {{"a", DType::kF32, {int64_t{1} << 40}}, {"b", DType::kF32, {1}}},
      std::vector<TensorSpec>(4097, {"a", DType::kF32, {1}}),
  };
  for (const auto& specs : bad) {
    CHECK(ReasonOf(TensorManifest::Create(specs).status()) == "TENSOR_MALFORMED");
  }
}

}  // namespace
}  // namespace rochdale::tensor
