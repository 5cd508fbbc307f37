// One valid entry of every kind, always the same: for golden bytes and as seeds of mutations.
#pragma once

#include <string>
#include <vector>

#include "libs/crypto/entry_builder.h"

namespace rochdale::crypto {

inline Uuid SampleUuid(uint8_t filler) {
  Uuid id;
  id.bytes.fill(filler);
  return id;
}

inline void AddSampleField(EntryBuilder& builder, uint16_t number) {
  const TagInfo& info = *FindTag(number);
  switch (info.type) {
    case FieldType::kU64: builder.U64(number, 1'000'000ull + number); break;
    case FieldType::kI64: builder.I64(number, -1'000'000 - number); break;
    case FieldType::kText: builder.Text(number, std::string(info.name) + " \xc3\xa9"); break;
    case FieldType::kBytes: {
      const size_t size = info.size == 0 ? 32 : info.size;
      builder.Bytes(number, std::string(size, static_cast<char>(number)));
      break;
    }
  }
}

// With `everything`, also the optional fields.
inline EntryBuilder SampleBuilder(const KindInfo& info, bool everything) {
  EntryBuilder builder(info.number, EventId{SampleUuid(0xe1)},
                       absl::FromUnixMicros(1'700'000'000'123'456));
  builder.Cooperative(CooperativeId{SampleUuid(0xc0)}).Subject(SampleUuid(0x5b));
  builder.AuthorisedBy(EventId{SampleUuid(0xa0)});
  const SignedDocument document =
      *SignDocument(KeyPair::FromSeed({42}), "rochdale.governance.v1.Sample", "{\"n\":1}");
  if (info.document == DocumentRule::kPrivate) {
    builder.PrivateDocument(document, Salt{{7}});
  } else if (info.document == DocumentRule::kRequired || everything) {
    builder.Document(document);
  }
  for (const uint16_t number : info.required) {
    if (number != 0) AddSampleField(builder, number);
  }
  if (!everything) return builder;
  for (const uint16_t number : info.optional) {
    if (number != 0) AddSampleField(builder, number);
  }
  return builder;
}

}  // namespace rochdale::crypto
