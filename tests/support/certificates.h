// Certificate authorities and certificates for tests, by the openssl command, in a folder of their
// own that goes with the object. A command that fails ends the test.
#pragma once

#include <string>

namespace rochdale::testing {

class Certificates {
 public:
  Certificates();
  ~Certificates();
  Certificates(const Certificates&) = delete;
  Certificates& operator=(const Certificates&) = delete;

  // NAME.crt and NAME.key of a root.
  void Authority(const std::string& name) const;
  // NAME.crt and NAME.key by `authority`, replaced at once where they are there. `san` as openssl
  // writes it: "DNS:localhost,URI:spiffe://...". `days` -1: it has expired.
  void Issue(const std::string& authority, const std::string& name, const std::string& san,
             int days = 2) const;
  // A file of both contents under the name `to`, replaced at once.
  void Concatenate(const std::string& one, const std::string& other, const std::string& to) const;

  std::string Path(const std::string& file) const { return dir_ + "/" + file; }

 private:
  void Run(const std::string& command) const;
  std::string dir_;
};

}  // namespace rochdale::testing
