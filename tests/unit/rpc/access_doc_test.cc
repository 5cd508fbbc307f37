// docs/access.md against the protos as they stand in the source tree.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "libs/rpc/access.h"
#include "rochdale/common/v1/access.pb.h"

namespace rochdale::rpc {
namespace {

// Every service of protos/rochdale, by name, from the descriptors that protoc makes.
class Sources {
 public:
  Sources() {
    const std::string root = ROCHDALE_SOURCE_DIR "/protos";
    std::string command = ROCHDALE_PROTOC " --include_imports --proto_path=" + root;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root + "/rochdale")) {
      if (entry.path().extension() == ".proto") command += " " + entry.path().string();
    }
    char out[] = "/tmp/rochdale_protos_XXXXXX";
    const int descriptor = mkstemp(out);
    REQUIRE(descriptor >= 0);
    close(descriptor);
    REQUIRE(std::system((command + " --descriptor_set_out=" + out).c_str()) == 0);
    google::protobuf::FileDescriptorSet set;
    std::ifstream file(out, std::ios::binary);
    REQUIRE(set.ParseFromIstream(&file));
    std::remove(out);
    for (const auto& one : set.file()) {
      const auto* built = pool_.BuildFile(one);
      REQUIRE(built != nullptr);
      for (int i = 0; i < built->service_count(); ++i) services.push_back(built->service(i));
    }
    std::sort(services.begin(), services.end(),
              [](const auto* a, const auto* b) { return a->full_name() < b->full_name(); });
  }

 private:
  google::protobuf::DescriptorPool pool_;

 public:
  std::vector<const google::protobuf::ServiceDescriptor*> services;
};

TEST_CASE("docs/access.md is the table of the protos", "[rpc]") {
  const Sources sources;
  const std::string path = ROCHDALE_SOURCE_DIR "/docs/access.md";
  const std::string page = AccessDocument(sources.services);
  if (std::getenv("ROCHDALE_WRITE_GOLDEN") != nullptr) std::ofstream(path) << page;
  std::ifstream file(path);
  std::stringstream committed;
  committed << file.rdbuf();
  INFO("write it anew: scripts/generate-docs");
  CHECK(committed.str() == page);
}

TEST_CASE("every rpc has a rule without repeats", "[rpc]") {
  const Sources sources;
  CHECK(sources.services.size() >= 5);
  for (const auto* service : sources.services) {
    for (int i = 0; i < service->method_count(); ++i) {
      const auto* method = service->method(i);
      INFO(method->full_name());
      const auto& rule = method->options().GetExtension(common::v1::access);
      CHECK(rule.roles_size() > 0);
      std::set<int> seen;
      for (const int role : rule.roles()) {
        CHECK(role != common::v1::ROLE_UNSPECIFIED);
        CHECK(common::v1::Role_IsValid(role));
        CHECK(seen.insert(role).second);
      }
    }
  }
}

}  // namespace
}  // namespace rochdale::rpc
