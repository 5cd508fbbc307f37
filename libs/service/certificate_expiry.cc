#include "libs/service/certificate_expiry.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>

namespace rochdale::service {
namespace {

constexpr size_t kFileMax = 1 << 20;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes(kFileMax, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!in.is_open() || in.bad()) return absl::NotFoundError("it cannot be read");
  bytes.resize(static_cast<size_t>(in.gcount()));
  return bytes;
}

}  // namespace

absl::StatusOr<absl::Time> FirstExpiry(absl::string_view pem) {
  const std::unique_ptr<BIO, int (*)(BIO*)> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  std::optional<absl::Time> first;
  while (bio != nullptr) {
    const std::unique_ptr<X509, void (*)(X509*)> certificate(
        PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
    if (certificate == nullptr) break;
    std::tm parts{};
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &parts) != 1) {
      return absl::InvalidArgumentError("a certificate without a time at which it expires");
    }
    const absl::Time expires = absl::FromTM(parts, absl::UTCTimeZone());
    first = std::min(first.value_or(expires), expires);
  }
  // What ends the chain: nothing more, or something that is no certificate.
  const bool good_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (first.has_value() && good_end) return *first;
  return absl::InvalidArgumentError("no chain of certificates in PEM");
}

CertificateExpiry::CertificateExpiry(obs::Metrics& metrics, std::string path)
    : path_(std::move(path)),
      gauge_(metrics.AddGauge("rochdale_tls_certificate_expiry_seconds",
                              "Seconds until the first certificate of this process's TLS chain "
                              "expires; below 0: it has, or cannot be read.")) {}

void CertificateExpiry::Look(absl::Time now) const {
  const absl::StatusOr<std::string> pem = ReadFile(path_);
  const absl::StatusOr<absl::Time> expires =
      pem.ok() ? FirstExpiry(*pem) : absl::StatusOr<absl::Time>(pem.status());
  gauge_.Set(expires.ok() ? absl::ToDoubleSeconds(*expires - now) : -1);
}

}  // namespace rochdale::service
