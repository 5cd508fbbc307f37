// Log lines: one JSON object per line on standard error.
//
// Every line has "time" (RFC 3339, UTC, microseconds), "level", "service", "message" and then the
// fields in the order in which they were added. Ids and digests may be logged; payloads, tokens,
// personal data and secrets never.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"

namespace rochdale::obs {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// INFO, WARNING, ... as it stands in a line.
absl::string_view LogLevelName(LogLevel level);

// Appends `text` to `json` as a JSON string with its quotes. Control characters are escaped and
// bytes that are not UTF-8 become U+FFFD, so that any input gives one valid line.
void AppendJsonString(absl::string_view text, std::string& json);

// `text` with every byte that is not part of well-formed UTF-8 replaced by U+FFFD.
std::string ValidUtf8(absl::string_view text);

// Ordered key-value pairs of one line. Keys are fixed words of the code (snake_case, units last:
// latency_ms); a repeated key is a defect of the caller. Text is cut at 1,024 bytes.
//   logger.Info("opened", obs::Fields().Text("account", id.ToString()).Int("floor", floor));
class Fields {
 public:
  Fields& Text(absl::string_view key, absl::string_view value);
  Fields& Int(absl::string_view key, int64_t value);
  Fields& Number(absl::string_view key, double value);  // not finite: null
  Fields& Bool(absl::string_view key, bool value);

  // `,"key":value` for every pair; empty where there are none.
  const std::string& json() const { return json_; }

 private:
  void Key(absl::string_view key);
  std::string json_;
};

// Writes lines. Thread-safe; a line is written whole. Never fails or throws: a line that cannot be
// written is lost.
class Logger {
 public:
  using Sink = std::function<void(const std::string& line)>;  // without the line feed

  // To standard error through spdlog. `clock` must outlive the logger.
  Logger(absl::string_view service, LogLevel lowest, const Clock& clock);
  // To `sink` (tests), which must be thread-safe.
  Logger(absl::string_view service, LogLevel lowest, const Clock& clock, Sink sink);
  ~Logger();

  void Log(LogLevel level, absl::string_view message, const Fields& fields = {}) const;
  void Debug(absl::string_view message, const Fields& fields = {}) const {
    Log(LogLevel::kDebug, message, fields);
  }
  void Info(absl::string_view message, const Fields& fields = {}) const {
    Log(LogLevel::kInfo, message, fields);
  }
  void Warning(absl::string_view message, const Fields& fields = {}) const {
    Log(LogLevel::kWarning, message, fields);
  }
  void Error(absl::string_view message, const Fields& fields = {}) const {
    Log(LogLevel::kError, message, fields);
  }

 private:
  const std::string service_;
  const LogLevel lowest_;
  const Clock& clock_;
  Sink sink_;
};

}  // namespace rochdale::obs
