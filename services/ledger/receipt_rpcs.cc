#include <utility>

#include "libs/base/status_macros.h"
#include "services/ledger/convert.h"
#include "services/ledger/ledger_service.h"

namespace rochdale::ledger {

grpc::Status LedgerService::GetReceipt(grpc::ServerContext* context,
                                       const v1::GetReceiptRequest* request,
                                       v1::GetReceiptResponse* response) {
  return rpc::Handle(context, calls_, [&](const rpc::Call& call) -> absl::Status {
    EntryName name;
    name.index = request->log_index();
    if (!request->event_id().empty()) {
      ASSIGN_OR_RETURN(const Uuid event, ParseOnlyId(request->event_id(), "event_id"));
      name.event_id = {event};
    }
    ASSIGN_OR_RETURN(Receipt receipt, published_.ReceiptOf(name, call.deadline));
    response->set_log_index(receipt.index);
    response->set_receipt(std::move(receipt.text));
    return absl::OkStatus();
  });
}

}  // namespace rochdale::ledger
