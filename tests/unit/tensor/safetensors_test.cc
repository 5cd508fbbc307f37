#include "libs/tensor/safetensors.h"

#include <cstring>
#include <random>

#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/tensor/flat.h"

namespace rochdale::tensor {
namespace {

// A file on the heap (aligned) from a header text and data, with nothing checked.
struct RawFile {
  std::vector<uint64_t> words;
  size_t size = 0;

  explicit RawFile(const std::string& bytes) : words(bytes.size() / 8 + 1), size(bytes.size()) {
    std::memcpy(words.data(), bytes.data(), bytes.size());
  }
  absl::Span<const uint8_t> span() const {
    return {reinterpret_cast<const uint8_t*>(words.data()), size};
  }
};

std::string Raw(std::string header, size_t data_bytes, bool pad = true) {
  if (pad) header.append((8 - header.size() % 8) % 8, ' ');
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header +
         std::string(data_bytes, '\1');
}

std::string Defect(const std::string& bytes) {
  const RawFile file(bytes);
  const auto view = SafetensorsView::Parse(file.span());
  if (view.ok()) return "";
  CHECK(ReasonOf(view.status()) == "TENSOR_MALFORMED");
  return std::string(view.status().message());
}

constexpr char kGood[] =
    R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("b":{"dtype":"F32","shape":[],"data_offsets":[24,28]}})";

TEST_CASE("a canonical file parses without copying") {
  const RawFile file(Raw(kGood, 28));
  const auto view = SafetensorsView::Parse(file.span());
  REQUIRE(view.ok());
  REQUIRE(view->tensors().size() == 2);
  CHECK(view->tensors()[0].spec.shape == std::vector<int64_t>{2, 3});
  CHECK(view->tensors()[1].spec.shape.empty());
  CHECK(view->Find("b")->data.size() == 4);
  CHECK(view->Find("b")->data.data() == file.span().data() + file.size - 4);
  CHECK(view->Find("c") == nullptr);
  const auto flat = FlatF32(*view);
  REQUIRE(flat.ok());
  CHECK(flat->size() == 7);
  CHECK(ReasonOf(FlatI32(*view).status()) == "TENSOR_MISMATCH");
}

TEST_CASE("hostile headers are refused with the defect") {
  struct Case {
    std::string header;
    size_t data;
    std::string defect;
  };
  const std::string nest(5000, '[');
  const Case cases[] = {
      {"", 0, "does not begin with {"},
      {" {}", 0, "does not begin with {"},
      {"\xEF\xBB\xBF{}", 0, "does not begin with {"},
      {"{}", 0, "no tensors"},
      {"[]", 0, "does not begin with {"},
      {"{", 0, "not JSON"},
      {"{}{}", 0, "not JSON"},
      {"{} x", 0, "not JSON"},
      {"{\"a\":" + nest, 0, "array where none belongs"},
      {R"({"a":null})", 0, "null"},
      {R"({"a":true})", 0, "boolean"},
      {R"({"a":7})", 0, "number where none"},
      {R"({"a":"x"})", 0, "text where none"},
      {R"({"a":{}})", 0, "lacks a key"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "lacks a key"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "lacks a key"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "more than two"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "unknown key"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
       "key appears twice"},
      {R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})", 2, "dtype"},
      {R"({"a":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}})", 4, "dtype"},
      {R"({"a":{"dtype":{},"shape":[1],"data_offsets":[0,4]}})", 4, "object where none"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "array where none"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "negative"},
      {R"({"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,4]}})", 4, "negative"},
      {R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", 0, "shape out of bounds"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "not whole"},
      {R"({"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}})", 4, "not whole"},
      {R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", 4,
       "not whole"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
       "out of bounds"},
      {R"({"a":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}})", 4,
       "out of bounds"},
      // 2^32 * 2^32 = 0 modulo 2^64.
      {R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
       "out of bounds"},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4,
       "too many dimensions"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "does not begin at 0"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", 8, "do not match"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "truncated"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5, "bytes follow"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
       R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "appears twice"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
       R"("\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "appears twice"},
      // Overlap, gap, and an order that is not canonical.
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "canonical layout"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})", 12, "canonical layout"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},)"
       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8, "canonical layout"},
      {R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "empty name"},
      {R"({"a b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "character outside"},
      {R"({"a\n":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "character outside"},
      {"{\"" + std::string(257, 'n') + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
       "name is too long"},
      {R"({"__metadata__":{"a":1},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
       "number where none"},
      {R"({"__metadata__":{"a":{}},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
       "object where none"},
      {R"({"__metadata__":{"a":"1","a":"2"},)"
       R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "metadata key appears twice"},
      {R"({"__metadata__":{},"__metadata__":{},)"
       R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "__metadata__ appears twice"},
      {"{\"__metadata__\":{\"a\":\"" + std::string(70000, 'm') + "\"}}", 0, "too much metadata"},
      {"{\"__metadata__\":{\"a\":\"\xff\"}}", 0, "not JSON"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.header.substr(0, 200));
    const std::string defect = Defect(Raw(c.header, c.data));
    CHECK_THAT(defect, Catch::Contains(c.defect));
  }
}

TEST_CASE("a zip bomb of names is refused at the limit") {
  std::string header = "{";
  for (size_t i = 0; i <= kTensorsMax; ++i) {
    absl::StrAppend(&header, i ? "," : "", "\"t", i, "\":{\"dtype\":\"U8\",\"shape\":[1],",
                    "\"data_offsets\":[", i, ",", i + 1, "]}");
  }
  header += "}";
  CHECK(Defect(Raw(header, kTensorsMax + 1)) == "more tensors than the limit");
  std::string metadata = "{\"__metadata__\":{";
  for (int i = 0; i < 100; ++i) absl::StrAppend(&metadata, i ? "," : "", "\"k", i, "\":\"\"");
  CHECK(Defect(Raw(metadata + "}}", 0)) == "too much metadata");
}

TEST_CASE("lengths of the header that lie are refused") {
  const std::string good = Raw(kGood, 28);
  REQUIRE(Defect(good) == "");
  for (uint64_t length : {uint64_t{0}, uint64_t{7}, uint64_t{1} << 20, (uint64_t{1} << 20) + 8,
                          uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    std::string bytes = good;
    std::memcpy(bytes.data(), &length, 8);
    CAPTURE(length);
    CHECK(Defect(bytes) != "");
  }
  // A header whose data would begin unaligned.
  CHECK_THAT(Defect(Raw(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} )", 4, false)),
             Catch::Contains("multiple of 8"));
}

TEST_CASE("every truncation of a good file is refused") {
  const std::string good = Raw(kGood, 28);
  for (size_t size = 0; size < good.size(); ++size) {
    CAPTURE(size);
    CHECK(Defect(good.substr(0, size)) != "");
  }
}

TEST_CASE("random damage never crashes, and what parses is consistent") {
  const uint32_t seed = 20240607;
  CAPTURE(seed);
  std::mt19937 random(seed);
  const std::string good = Raw(kGood, 28);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    for (int hits = 1 + random() % 3; hits > 0; --hits) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const RawFile file(bytes);
    const auto view = SafetensorsView::Parse(file.span());
    if (!view.ok()) continue;
    ++accepted;
    size_t sum = 0;
    for (const auto& tensor : view->tensors()) sum += tensor.data.size();
    REQUIRE(sum == view->data().size());
  }
  CHECK(accepted > 0);  // damage to the data alone
}

TEST_CASE("the writer gives one file per content, and the parser reads it back") {
  const std::vector<double> f64 = {1.5, -2};
  const std::vector<float> f32 = {1, 2, 3};
  const std::vector<uint8_t> u8 = {9};
  const std::vector<int64_t> i64 = {-1};
  auto bytes = [](const auto& v) {
    return absl::Span<const uint8_t>(reinterpret_cast<const uint8_t*>(v.data()),
                                     v.size() * sizeof(v[0]));
  };
  std::vector<SafetensorsView::Tensor> tensors = {
      {{"a.flags", DType::kU8, {1}}, bytes(u8)},
      {{"weight", DType::kF32, {3, 1}}, bytes(f32)},
      {{"double", DType::kF64, {2}}, bytes(f64)},
      {{"count", DType::kI64, {}}, bytes(i64)},
  };
  const Metadata metadata = {{"note", "caf\xc3\xa9 \"quoted\"\n"}, {"format", "pt"}};
  const auto first = Serialize(tensors, metadata);
  REQUIRE(first.ok());
  std::swap(tensors[0], tensors[3]);
  std::swap(tensors[1], tensors[2]);
  CHECK(*Serialize(tensors, metadata) == *first);

  const RawFile file(*first);
  const auto view = SafetensorsView::Parse(file.span());
  REQUIRE(view.ok());
  CHECK(view->metadata() == metadata);
  CHECK(view->tensors()[0].spec.name == "a.flags");
  REQUIRE(view->Find("double") != nullptr);
  CHECK(std::memcmp(view->Find("double")->data.data(), f64.data(), 16) == 0);
  CHECK(reinterpret_cast<uintptr_t>(view->Find("double")->data.data()) % 8 == 0);
  CHECK(*Serialize(view->tensors(), view->metadata()) == *first);
}

TEST_CASE("the writer refuses what the parser would refuse") {
  auto refused = [](std::vector<TensorSpec> specs, Metadata metadata = {}) {
    return ReasonOf(SerializeHeader(specs, metadata).status()) == "TENSOR_MALFORMED";
  };
  CHECK_FALSE(refused({{"a", DType::kF32, {1}}}));
  CHECK(refused({}));
  CHECK(refused({{"a b", DType::kF32, {1}}}));
  CHECK(refused({{"a", DType::kF32, {0}}}));
  CHECK(refused({{"a", DType::kF32, {-5}}}));
  CHECK(refused({{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}}));
  CHECK(refused({{"a", DType::kF32, {1}}}, {{"k", "\xff"}}));
  CHECK(refused({{"a", DType::kF32, {1}}}, {{"k", std::string(1 << 20, 'x')}}));
  const std::vector<uint8_t> three(3);
  CHECK(ReasonOf(Serialize({{{{"a", DType::kF32, {1}}, three}}}).status()) == "TENSOR_MALFORMED");
}

TEST_CASE("a flat vector round-trips through a file") {
  const auto manifest = TensorManifest::Create(
      {{"z", DType::kF32, {2}}, {"m", DType::kF32, {2, 2}}, {"a", DType::kF32, {}}});
  REQUIRE(manifest.ok());
  const std::vector<int32_t> units = {1, 2, 3, 4, 5, 6, -7};
  const auto bytes = SerializeFlatI32(*manifest, units);
  REQUIRE(bytes.ok());
  const RawFile file(*bytes);
  const auto view = SafetensorsView::Parse(file.span());
  REQUIRE(view.ok());
  CHECK(TensorManifest::Of(*view) == manifest->WithDType(DType::kI32));
  CHECK(std::vector<int32_t>(FlatI32(*view)->begin(), FlatI32(*view)->end()) == units);
  const FlatParameters flat(*manifest);
  CHECK(flat.size() == 7);
  CHECK(*flat.Find("m") == FlatSlice{"m", 1, 4});
  CHECK(flat.Find("q") == nullptr);
  CHECK_FALSE(SerializeFlatI32(*manifest, {1, 2}).ok());
}

TEST_CASE("an unaligned buffer is the caller's defect") {
  const RawFile file(Raw(kGood, 28));
  const auto view = SafetensorsView::Parse(file.span().subspan(1));
  CHECK(view.status().code() == absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace rochdale::tensor
