#include "libs/obs/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace rochdale::obs {
namespace {

constexpr size_t kTextMax = 1'024;
constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Length of the well-formed UTF-8 sequence at the start of `text`, 0 if there is none (RFC 3629:
// no overlong forms, no surrogates, nothing above U+10FFFF).
size_t Utf8Length(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const auto continues = [&](size_t i, uint8_t low, uint8_t high) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1, 0x80, 0xBF) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const uint8_t low = first == 0xE0 ? 0xA0 : 0x80, high = first == 0xED ? 0x9F : 0xBF;
    return continues(1, low, high) && continues(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const uint8_t low = first == 0xF0 ? 0x90 : 0x80, high = first == 0xF4 ? 0x8F : 0xBF;
    return continues(1, low, high) && continues(2, 0x80, 0xBF) && continues(3, 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

// Through spdlog, one synchronous write per line; lines pass unchanged.
Logger::Sink StderrSink() {
  auto logger = std::make_shared<spdlog::logger>(
      "rochdale", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%v");
  logger->set_level(spdlog::level::trace);
  logger->flush_on(spdlog::level::trace);
  logger->set_error_handler([](const std::string&) {});
  return [logger](const std::string& line) {
    logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
  };
}

}  // namespace

absl::string_view LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return "DEBUG";
    case LogLevel::kInfo: return "INFO";
    case LogLevel::kWarning: return "WARNING";
    case LogLevel::kError: return "ERROR";
  }
  return "ERROR";
}

void AppendJsonString(absl::string_view text, std::string& json) {
  json.push_back('"');
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const char c = text[0];
    if (length == 0) {
      json.append(kReplacement.data(), kReplacement.size());
      text.remove_prefix(1);
      continue;
    }
    if (c == '"' || c == '\\') {
      json.push_back('\\');
      json.push_back(c);
    } else if (c == '\n') {
      json.append("\\n");
    } else if (length == 1 && (static_cast<uint8_t>(c) < 0x20 || c == 0x7F)) {
      absl::StrAppendFormat(&json, "\\u%04x", static_cast<uint8_t>(c));
    } else {
      json.append(text.data(), length);
    }
    text.remove_prefix(length);
  }
  json.push_back('"');
}

std::string ValidUtf8(absl::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    valid.append(length == 0 ? kReplacement.data() : text.data(),
                 length == 0 ? kReplacement.size() : length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return valid;
}

void Fields::Key(absl::string_view key) {
  json_.push_back(',');
  AppendJsonString(key, json_);
  json_.push_back(':');
}

Fields& Fields::Text(absl::string_view key, absl::string_view value) {
  Key(key);
  if (value.size() <= kTextMax) {
    AppendJsonString(value, json_);
    return *this;
  }
  // Cut at the start of a character, so that a valid text stays valid.
  size_t end = kTextMax;
  while (end > kTextMax - 4 && (static_cast<uint8_t>(value[end]) & 0xC0) == 0x80) --end;
  AppendJsonString(absl::StrCat(value.substr(0, end), "..."), json_);
  return *this;
}

Fields& Fields::Int(absl::string_view key, int64_t value) {
  Key(key);
  absl::StrAppend(&json_, value);
  return *this;
}

Fields& Fields::Number(absl::string_view key, double value) {
  Key(key);
  if (std::isfinite(value)) {
    absl::StrAppendFormat(&json_, "%.9g", value);
  } else {
    json_.append("null");
  }
  return *this;
}

Fields& Fields::Bool(absl::string_view key, bool value) {
  Key(key);
  json_.append(value ? "true" : "false");
  return *this;
}

Logger::Logger(absl::string_view service, LogLevel lowest, const Clock& clock)
    : Logger(service, lowest, clock, StderrSink()) {}

Logger::Logger(absl::string_view service, LogLevel lowest, const Clock& clock, Sink sink)
    : service_(service), lowest_(lowest), clock_(clock), sink_(std::move(sink)) {}

Logger::~Logger() = default;

void Logger::Log(LogLevel level, absl::string_view message, const Fields& fields) const {
  if (level < lowest_) return;
  std::string line = absl::StrCat(
      "{\"time\":\"", absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", clock_.Now(), absl::UTCTimeZone()),
      "\",\"level\":\"", LogLevelName(level), "\",\"service\":");
  AppendJsonString(service_, line);
  line.append(",\"message\":");
  AppendJsonString(message.substr(0, 8 * kTextMax), line);
  absl::StrAppend(&line, fields.json(), "}");
  sink_(line);
}

}  // namespace rochdale::obs
