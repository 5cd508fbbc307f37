// How long the certificate of this process is still good for, as a metric.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/obs/metrics.h"

namespace rochdale::service {

// When the first certificate of a PEM chain to expire does. INVALID_ARGUMENT where there is none,
// or one that cannot be read.
absl::StatusOr<absl::Time> FirstExpiry(absl::string_view pem);

// The gauge rochdale_tls_certificate_expiry_seconds: seconds until then; below 0 once it is past,
// and -1 where the file cannot be read.
class CertificateExpiry {
 public:
  // `path`: the chain as it is served; read at every Look, since renewal replaces it.
  CertificateExpiry(obs::Metrics& metrics, std::string path);
  void Look(absl::Time now) const;

 private:
  const std::string path_;
  obs::Gauge gauge_;
};

}  // namespace rochdale::service
