// The metric of a certificate's remaining time, on certificates by the openssl command.
#include "libs/service/certificate_expiry.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>

#include "absl/time/clock.h"
#include "tests/support/certificates.h"

namespace rochdale::service {
namespace {

constexpr double kDay = 86'400;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

double SecondsLeft(const std::string& path, absl::Time now) {
  obs::Metrics metrics;
  const CertificateExpiry expiry(metrics, path);
  expiry.Look(now);
  const std::string text = metrics.Expose();
  const std::string name = "\nrochdale_tls_certificate_expiry_seconds ";
  const size_t at = text.find(name);
  REQUIRE(at != std::string::npos);
  return std::stod(text.substr(at + name.size()));
}

TEST_CASE("the metric says how long a certificate is good for", "[service]") {
  const rochdale::testing::Certificates files;
  files.Authority("ca");
  files.Issue("ca", "server", "DNS:localhost", 30);
  files.Issue("ca", "brief", "DNS:localhost", 3);
  files.Issue("ca", "old", "DNS:localhost", -1);
  files.Concatenate("server.crt", "brief.crt", "chain.crt");
  const absl::Time now = absl::Now();
  CHECK(SecondsLeft(files.Path("server.crt"), now) == Approx(30 * kDay).margin(60));
  // The first of the chain to expire counts, wherever it stands.
  CHECK(SecondsLeft(files.Path("chain.crt"), now) == Approx(3 * kDay).margin(60));
  CHECK(SecondsLeft(files.Path("brief.crt"), now + absl::Hours(24)) ==
        Approx(2 * kDay).margin(60));
  CHECK(SecondsLeft(files.Path("old.crt"), now) < 0);
  CHECK(SecondsLeft(files.Path("no such file"), now) == -1);
  CHECK(SecondsLeft(files.Path("server.key"), now) == -1);
}

TEST_CASE("a chain that is cut off has no expiry", "[service]") {
  const rochdale::testing::Certificates files;
  files.Authority("ca");
  files.Issue("ca", "server", "DNS:localhost");
  const std::string whole = ReadFile(files.Path("server.crt"));
  REQUIRE(FirstExpiry(whole).ok());
  CHECK_FALSE(FirstExpiry(whole + whole.substr(0, whole.size() / 2)).ok());
  CHECK_FALSE(FirstExpiry(whole.substr(0, whole.size() / 2)).ok());
  CHECK_FALSE(FirstExpiry("").ok());
}

}  // namespace
}  // namespace rochdale::service
