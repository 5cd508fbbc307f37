// Where an HTTP server listens: an IP address and a port.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rochdale::http {

struct Endpoint {
  std::string address = "127.0.0.1";  // "0.0.0.0" or "::" for every interface
  int port = 0;                       // 0: any free port

  // "127.0.0.1:7444", "[::1]:7444".
  std::string ToString() const;
  // INVALID_ARGUMENT for anything but the form above.
  static absl::StatusOr<Endpoint> Parse(absl::string_view text);
  bool operator==(const Endpoint&) const = default;
};

}  // namespace rochdale::http
