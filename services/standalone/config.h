// What rochdale-standalone is told from outside.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/flags.h"
#include "libs/service/service_identity.h"
#include "services/governance/module.h"

namespace rochdale::standalone {

struct StandaloneConfig {
  std::string data_dir = "rochdale-data";
  std::string address = "127.0.0.1";
  int64_t port = 7443;
  int64_t admin_port = 9443;
  bool plaintext = false;
  std::string tls_certificate;
  std::string tls_key;
  service::ServiceIdentityConfig identity;  // of services that stand apart, and of the witness
  std::string log_origin = "rochdale.local/log";
  std::string log_http = "127.0.0.1:0";
  std::vector<std::string> witnesses;
  int64_t workers = 0;
  std::string worker_device = "cpu";
  governance::GovernanceFlags governance;
  bool fsync = true;
  std::string log_level = "info";
};

// kExit where --help or --version was answered.
absl::StatusOr<config::Outcome> ParseFlags(int argc, const char* const* argv,
                                           StandaloneConfig& config);

}  // namespace rochdale::standalone
