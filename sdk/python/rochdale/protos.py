"""The generated messages and stubs under short names: `protos.governance.Mandate`.

Made by scripts/generate-sdk; importing this without them says so.
"""

try:
    from rochdale._proto import entry_table, reasons
    from rochdale._proto.rochdale.attribution.v1 import attribution_pb2 as attribution
    from rochdale._proto.rochdale.attribution.v1 import attribution_pb2_grpc as attribution_grpc
    from rochdale._proto.rochdale.common.v1 import common_pb2 as common
    from rochdale._proto.rochdale.common.v1 import rule_pb2 as rule
    from rochdale._proto.rochdale.filter.v1 import filter_pb2 as filter  # noqa: A004
    from rochdale._proto.rochdale.filter.v1 import filter_pb2_grpc as filter_grpc
    from rochdale._proto.rochdale.governance.v1 import governance_pb2 as governance
    from rochdale._proto.rochdale.governance.v1 import governance_pb2_grpc as governance_grpc
    from rochdale._proto.rochdale.ledger.v1 import ledger_pb2 as ledger
    from rochdale._proto.rochdale.ledger.v1 import ledger_pb2_grpc as ledger_grpc
    from rochdale._proto.rochdale.payout.v1 import payout_pb2 as payout
    from rochdale._proto.rochdale.payout.v1 import payout_pb2_grpc as payout_grpc
    from rochdale._proto.rochdale_google.rpc import error_details_pb2 as error_details
    from rochdale._proto.rochdale_google.rpc import status_pb2 as status
except ModuleNotFoundError as missing:
    if not (missing.name or "").startswith("rochdale._proto"):
        raise ModuleNotFoundError(
            f"{missing}; Debian 12 has it as python3-grpcio, python3-protobuf, python3-nacl or "
            "python3-numpy (scripts/install-deps installs them)", name=missing.name) from missing
    raise ImportError(
        "the generated code of the Rochdale SDK is missing: run scripts/generate-sdk in the "
        "repository") from missing

__all__ = [
    "attribution", "attribution_grpc", "common", "entry_table", "error_details", "filter",
    "filter_grpc", "governance", "governance_grpc", "ledger", "ledger_grpc", "payout",
    "payout_grpc", "reasons", "rule", "status",
]
