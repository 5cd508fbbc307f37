// Small files that must be there, whole, after a crash: what a process was told not to forget.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rochdale {

// Replaces the content of `path`: written beside it (path.next), flushed, renamed, and the folder
// flushed. After OK the new content survives a crash of the machine; after UNAVAILABLE the file
// holds the old content or the new one, never anything else. One writer at a time.
absl::Status WriteDurably(const std::string& path, absl::string_view bytes);

// Nothing where there is no such file. UNAVAILABLE where it cannot be read or has more than
// `bytes_max` bytes.
absl::StatusOr<std::optional<std::string>> ReadWhole(const std::string& path, size_t bytes_max);

}  // namespace rochdale
