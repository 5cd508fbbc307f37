# Compiler settings and the third-party packages, once for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

option(ROCHDALE_SANITIZE "Comma-separated -fsanitize= list, empty for none" "")
option(ROCHDALE_DEVICES "Let attribution workers evaluate on torch devices (docs/devices.md)" OFF)
option(ROCHDALE_LIBFUZZER "Build tests/fuzz as libFuzzer programs (clang only)" OFF)

add_library(rochdale_options INTERFACE)
# -ffp-contract=off: exact integers of the evaluator must not depend on fused multiply-add.
target_compile_options(rochdale_options INTERFACE -Wall -Wextra -Werror=return-type
                       -Wno-unused-parameter -Wno-missing-field-initializers -ffp-contract=off)
target_include_directories(rochdale_options INTERFACE ${CMAKE_SOURCE_DIR})
if(ROCHDALE_SANITIZE)
  target_compile_options(rochdale_options INTERFACE -fsanitize=${ROCHDALE_SANITIZE}
                         -fno-omit-frame-pointer)
  target_link_options(rochdale_options INTERFACE -fsanitize=${ROCHDALE_SANITIZE})
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(CURL REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(Catch2 2 REQUIRED)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(PQXX REQUIRED IMPORTED_TARGET libpqxx)
pkg_check_modules(PQ REQUIRED IMPORTED_TARGET libpq)
# Only libs/learning links Torch::Torch (see there); it is found there.
