// A small HTTP client over libcurl: one request at a time, connections kept for the next one.
//
// http and https (certificates checked), no proxy, no redirects; time and size of an answer are
// bounded.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace rochdale::http {

struct Reply {
  int code = 0;
  std::string type;  // of the header Content-Type; may be empty
  std::string body;
};

// Not thread-safe.
class Client {
 public:
  // `timeout` for a whole request; `body_bytes_max` for its answer.
  Client(absl::Duration timeout, size_t body_bytes_max);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Any answer of the server, whatever its code. UNAVAILABLE where there is none in time, or one
  // that is too long; INVALID_ARGUMENT for a malformed URL.
  absl::StatusOr<Reply> Get(const std::string& url);
  absl::StatusOr<Reply> Post(const std::string& url, absl::string_view body);

 private:
  absl::StatusOr<Reply> Perform(const std::string& url, const absl::string_view* body);

  void* curl_;
  const absl::Duration timeout_;
  const size_t body_bytes_max_;
};

}  // namespace rochdale::http
