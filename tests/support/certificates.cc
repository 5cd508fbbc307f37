#include "tests/support/certificates.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"

namespace rochdale::testing {

Certificates::Certificates() {
  char path[] = "/tmp/rochdale_certificates_XXXXXX";
  if (mkdtemp(path) == nullptr) std::abort();
  dir_ = path;
}

Certificates::~Certificates() {
  std::error_code error;
  std::filesystem::remove_all(dir_, error);
}

void Certificates::Authority(const std::string& name) const {
  Run(absl::StrCat("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ",
                   name, ".key -out ", name, ".crt -days 2 -subj /CN=", name));
}

void Certificates::Issue(const std::string& authority, const std::string& name,
                         const std::string& san, int days) const {
  Run(absl::StrCat(
      "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ", name,
      ".key.new -out ", name, ".csr -subj /CN=", name, " && printf 'subjectAltName=", san, "' > ",
      name, ".ext && openssl x509 -req -in ", name, ".csr -CA ", authority, ".crt -CAkey ",
      authority, ".key -CAcreateserial -days ", days, " -extfile ", name, ".ext -out ", name,
      ".crt.new && mv ", name, ".key.new ", name, ".key && mv ", name, ".crt.new ", name, ".crt"));
}

void Certificates::Concatenate(const std::string& one, const std::string& other,
                               const std::string& to) const {
  Run(absl::StrCat("cat ", one, " ", other, " > ", to, ".new && mv ", to, ".new ", to));
}

void Certificates::Run(const std::string& command) const {
  const std::string line = absl::StrCat("cd ", dir_, " && (", command, ") > last.log 2>&1");
  if (std::system(line.c_str()) == 0) return;
  std::fprintf(stderr, "failed: %s\n", line.c_str());
  std::abort();
}

}  // namespace rochdale::testing
