// rochdale-module-evaluator MEMORY_BYTES: runs a TorchScript module for the program that started
// it, over the socket on its standard input (libs/learning/module_evaluator.h). Not for use by
// hand.
#include <sysexits.h>

#include "absl/strings/numbers.h"
#include "libs/learning/module_server.h"

int main(int argc, char** argv) {
  int64_t memory_bytes = 0;
  if (argc != 2 || !absl::SimpleAtoi(argv[1], &memory_bytes) || memory_bytes <= 0) return EX_USAGE;
  return rochdale::learning::ServeModule(/*socket=*/0, memory_bytes);
}
