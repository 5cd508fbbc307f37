#include "libs/crypto/entry.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/canonical.h"

namespace rochdale::crypto {
namespace {

constexpr size_t kHeaderBytes = 2 + 16 + 8 + 1 + 2 + 1 + 16 + 16 + 16 + 2;
constexpr size_t kFieldMinBytes = 2 + 1 + 4;

absl::Status Invalid(absl::string_view message) { return Error("ENTRY_INVALID", message); }

bool IsNumber(FieldType type) { return type == FieldType::kU64 || type == FieldType::kI64; }

size_t EncodedBytes(const Field& field) {
  return 3 + (IsNumber(field.type) ? 8 : 4 + field.data.size());
}

absl::Status CheckField(const Field& field) {
  const auto invalid = [&](absl::string_view what) {
    return Invalid(absl::StrCat("field ", field.tag, ": ", what));
  };
  switch (field.type) {
    case FieldType::kU64:
    case FieldType::kI64:
      return field.data.empty() ? absl::OkStatus() : invalid("a number has no data");
    case FieldType::kBytes:
      return field.number == 0 ? absl::OkStatus() : invalid("bytes have no number");
    case FieldType::kText:
      if (field.number != 0) return invalid("text has no number");
      return IsValidUtf8(field.data) ? absl::OkStatus() : invalid("text is not UTF-8");
  }
  return invalid("unknown type");
}

// Everything but the layout itself: shared by both directions, so that they agree.
absl::Status CheckEntry(const Entry& entry) {
  if (entry.event_id.IsZero()) return Invalid("the event id is zero");
  if (entry.time_us < 0) return Invalid("the time is negative");
  if (ServiceName(entry.service).empty()) return Invalid("unknown service");
  if (ChainLinkName(entry.link).empty()) return Invalid("unknown link of the chain");
  size_t total = kHeaderBytes;
  const Field* previous = nullptr;
  for (const Field& field : entry.fields) {
    if (previous != nullptr && field.tag <= previous->tag) {
      return Invalid(absl::StrCat("field ", field.tag, " does not come after ", previous->tag));
    }
    RETURN_IF_ERROR(CheckField(field));
    total += EncodedBytes(field);
    if (total > kEntryMaxBytes) return Invalid("more than 65,535 bytes");
    previous = &field;
  }
  return absl::OkStatus();
}

Uuid ReadUuid(CanonicalReader& reader) {
  Uuid id;
  const absl::string_view raw = reader.Raw(id.bytes.size());
  std::copy(raw.begin(), raw.end(), id.bytes.begin());
  return id;
}

absl::StatusOr<Field> ReadField(CanonicalReader& reader) {
  Field field;
  field.tag = reader.U16();
  const uint8_t type = reader.U8();
  if (!reader.ok() || type < 1 || type > 4) return Invalid("unknown field type");
  field.type = static_cast<FieldType>(type);
  if (IsNumber(field.type)) {
    field.number = reader.U64();
  } else {
    field.data = std::string(reader.Prefixed32());
  }
  if (!reader.ok()) return Invalid("a field is cut off");
  return field;
}

absl::Status Missing(uint16_t tag, absl::string_view type) {
  return Invalid(absl::StrCat("no field ", tag, " of type ", type));
}

}  // namespace

absl::string_view ServiceName(Service service) {
  switch (service) {
    case Service::kGovernance: return "GOVERNANCE";
    case Service::kFilter: return "FILTER";
    case Service::kAttribution: return "ATTRIBUTION";
    case Service::kLedger: return "LEDGER";
    case Service::kPayout: return "PAYOUT";
  }
  return "";
}

absl::string_view ChainLinkName(ChainLink link) {
  switch (link) {
    case ChainLink::kAuthorise: return "AUTHORISE";
    case ChainLink::kSubmit: return "SUBMIT";
    case ChainLink::kPath: return "PATH";
    case ChainLink::kPay: return "PAY";
    case ChainLink::kAudit: return "AUDIT";
  }
  return "";
}

Field Field::U64(uint16_t tag, uint64_t value) { return {tag, FieldType::kU64, value, ""}; }
Field Field::I64(uint16_t tag, int64_t value) {
  return {tag, FieldType::kI64, static_cast<uint64_t>(value), ""};
}
Field Field::Bytes(uint16_t tag, absl::string_view value) {
  return {tag, FieldType::kBytes, 0, std::string(value)};
}
Field Field::Text(uint16_t tag, absl::string_view value) {
  return {tag, FieldType::kText, 0, std::string(value)};
}

const Field* Entry::Find(uint16_t tag) const {
  const auto found =
      std::lower_bound(fields.begin(), fields.end(), tag,
                       [](const Field& field, uint16_t wanted) { return field.tag < wanted; });
  return found != fields.end() && found->tag == tag ? &*found : nullptr;
}

absl::StatusOr<uint64_t> Entry::U64(uint16_t tag) const {
  const Field* field = Find(tag);
  if (field == nullptr || field->type != FieldType::kU64) return Missing(tag, "u64");
  return field->number;
}

absl::StatusOr<int64_t> Entry::I64(uint16_t tag) const {
  const Field* field = Find(tag);
  if (field == nullptr || field->type != FieldType::kI64) return Missing(tag, "i64");
  return static_cast<int64_t>(field->number);
}

absl::StatusOr<absl::string_view> Entry::Bytes(uint16_t tag) const {
  const Field* field = Find(tag);
  if (field == nullptr || field->type != FieldType::kBytes) return Missing(tag, "bytes");
  return absl::string_view(field->data);
}

absl::StatusOr<absl::string_view> Entry::Text(uint16_t tag) const {
  const Field* field = Find(tag);
  if (field == nullptr || field->type != FieldType::kText) return Missing(tag, "text");
  return absl::string_view(field->data);
}

absl::StatusOr<Digest> Entry::DigestAt(uint16_t tag) const {
  ASSIGN_OR_RETURN(const absl::string_view raw, Bytes(tag));
  const auto digest = Digest::FromBytes(raw);
  if (!digest.ok()) return Missing(tag, "digest");
  return *digest;
}

absl::StatusOr<Uuid> Entry::IdAt(uint16_t tag) const {
  ASSIGN_OR_RETURN(const absl::string_view raw, Bytes(tag));
  const auto id = Uuid::FromBytes(raw);
  if (!id.ok()) return Missing(tag, "id");
  return *id;
}

absl::StatusOr<std::string> EncodeEntry(const Entry& entry) {
  RETURN_IF_ERROR(CheckEntry(entry));
  size_t total = kHeaderBytes;
  for (const Field& field : entry.fields) total += EncodedBytes(field);
  CanonicalWriter out(total);
  out.U16(kEntryVersion).Raw(entry.event_id.value.AsBytes()).I64(entry.time_us);
  out.U8(static_cast<uint8_t>(entry.service)).U16(entry.kind).U8(static_cast<uint8_t>(entry.link));
  out.Raw(entry.cooperative.value.AsBytes()).Raw(entry.subject.AsBytes());
  out.Raw(entry.authorised_by.value.AsBytes()).U16(static_cast<uint16_t>(entry.fields.size()));
  for (const Field& field : entry.fields) {
    out.U16(field.tag).U8(static_cast<uint8_t>(field.type));
    if (IsNumber(field.type)) {
      out.U64(field.number);
    } else {
      out.Prefixed32(field.data);
    }
  }
  return std::move(out).Take();
}

absl::StatusOr<Entry> DecodeEntry(absl::string_view bytes) {
  if (bytes.size() > kEntryMaxBytes) return Invalid("more than 65,535 bytes");
  CanonicalReader reader(bytes);
  if (reader.U16() != kEntryVersion) return Invalid("not an entry of version 1");
  Entry entry;
  entry.event_id = {ReadUuid(reader)};
  entry.time_us = reader.I64();
  entry.service = static_cast<Service>(reader.U8());
  entry.kind = reader.U16();
  entry.link = static_cast<ChainLink>(reader.U8());
  entry.cooperative = {ReadUuid(reader)};
  entry.subject = ReadUuid(reader);
  entry.authorised_by = {ReadUuid(reader)};
  const uint16_t count = reader.U16();
  if (!reader.ok()) return Invalid("the header is cut off");
  if (count > reader.remaining() / kFieldMinBytes) return Invalid("more fields than bytes");
  entry.fields.reserve(count);
  for (uint16_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(Field field, ReadField(reader));
    entry.fields.push_back(std::move(field));
  }
  if (!reader.Finished()) return Invalid("bytes after the last field");
  RETURN_IF_ERROR(CheckEntry(entry));
  return entry;
}

}  // namespace rochdale::crypto
