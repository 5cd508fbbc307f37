// One call as its handler sees it: who calls, when, until when.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"

namespace grpc {
class ServerContextBase;
}

namespace rochdale::rpc {

// Bit r stands for rochdale.common.v1.Role r.
using RoleSet = uint32_t;

enum class IdentityKind { kAnonymous, kPrincipal, kAgent, kService, kWorker };

// Who calls, as a token or the connection's certificate proved it; never from a field of the
// request.
struct Identity {
  IdentityKind kind = IdentityKind::kAnonymous;
  PrincipalId principal;            // kPrincipal: itself; kAgent: whose agent it is; else zero
  AgentId agent;                    // kAgent
  std::string service;              // kService: "filter", "ledger", ..., "operator", "witness"
  RunId run;                        // kWorker: the run that its token is for
  std::string worker;               // kWorker: the name of its session; empty: the run token itself
  crypto::PublicKey public_key;     // that signed the token; zero where none did
  RoleSet roles = 0;                // see access.h
  absl::Time until = absl::InfiniteFuture();  // expiry of the token, where it carries one

  bool IsAnonymous() const { return kind == IdentityKind::kAnonymous; }
  bool IsService(absl::string_view name) const {
    return kind == IdentityKind::kService && service == name;
  }
  // A registered principal or agent.
  bool IsPerson() const {
    return kind == IdentityKind::kPrincipal || kind == IdentityKind::kAgent;
  }
  // "anonymous", "principal:<uuid>", "agent:<uuid>", "service:<name>" or "worker:<run>": as in
  // a token's subject and in log lines.
  std::string ToString() const;
};

struct Call {
  Identity identity;
  absl::Time now;        // of the injected clock, once per call: the time of everything it records
  absl::Time deadline;   // of the system clock; never infinite
  std::string trace_id;  // 32 hexadecimal digits (W3C trace context)
  const grpc::ServerContextBase* context = nullptr;
  const std::atomic<bool>* draining = nullptr;

  // The value of a metadata key; "" where there is none, and what no key's value can be where there
  // are several: which one counts must not be open.
  std::string Metadata(const char* key) const;

  // True once nobody waits for the answer (cancelled, past the deadline) or the server stops. A
  // handler that loops or waits asks this at least once a second.
  bool Ended() const;
};

}  // namespace rochdale::rpc
