// Writes the sample's bundle for programs in other languages, and prints the log's key.
//   verify_sample DIR [FAULT [MEMBERS [restarted|RULE|MODEL]]]
//       FAULT: a number of Fault; RULE: of aggregation; MODEL: the JSON of a spec of 16 inputs and
//       4 classes
//   verify_sample --faults                  the faults that any verifier has to find
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/integration/verify/sample_cooperative.h"

int main(int argc, char** argv) {
  using rochdale::verify::Fault;
  if (argc > 1 && std::string(argv[1]) == "--faults") {
    for (const Fault fault :
         {Fault::kRefusedIsCredited, Fault::kRefusedIsApplied, Fault::kMildVerdict,
          Fault::kVerdictAgainstNumbers, Fault::kFloorStopsEarly, Fault::kEarlyBeyondHalf,
          Fault::kOtherProbeRows, Fault::kUnsignedCommitment, Fault::kNoAuthority,
          Fault::kWrongSeed, Fault::kChosenRows, Fault::kWrongSums, Fault::kWrongCredit,
          Fault::kWrongNext, Fault::kWrongBlob, Fault::kWrongShare, Fault::kPaidTwice,
          Fault::kPaidNothing, Fault::kCreditCountedTwice, Fault::kOverdraft, Fault::kNotSettled,
          Fault::kWrongCreditFile, Fault::kForgedHead, Fault::kOtherOrder,
          Fault::kOtherVerdict, Fault::kLateStop, Fault::kOtherRefusal, Fault::kRefusedIsKept,
          Fault::kValuesDropped, Fault::kValuesNeverTested, Fault::kBoundDropped,
          Fault::kBoundLifted, Fault::kOtherValueSums, Fault::kOtherReason,
          Fault::kOtherLineages, Fault::kTwoOfALineage, Fault::kOwnersSecond,
          Fault::kAttestationHidden, Fault::kOwnersApart, Fault::kOwnerOfNobody,
          Fault::kRestartByStranger, Fault::kRestartOfNothing, Fault::kRestartOfAnother,
          Fault::kRestartToldOtherwise}) {
      std::printf("%d\n", static_cast<int>(fault));
    }
    return 0;
  }
  if (argc < 2) return 2;
  const auto fault = argc > 2 ? static_cast<Fault>(std::atoi(argv[2])) : Fault::kNone;
  const int members = argc > 3 ? std::atoi(argv[3]) : 3;
  const std::string last = argc > 4 ? argv[4] : "";
  const auto model = rochdale::learning::ParseModelSpec(
      last.find('{') == 0 ? last : R"({"kind":"MLP","layer_sizes":[16,8,4]})");
  if (!model.ok()) return 2;
  const auto rule = rochdale::learning::ParseAggregationRule(last);
  const rochdale::verify::SampleCooperative sample(
      fault, members, /*restarted=*/last == "restarted", *model,
      rule.value_or(rochdale::learning::AggregationRule::kMean));
  sample.Write(argv[1]);
  std::printf("%s\n", sample.origin().ToString().c_str());
}
