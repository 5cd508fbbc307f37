#include "services/standalone/config.h"

namespace rochdale::standalone {

absl::StatusOr<config::Outcome> ParseFlags(int argc, const char* const* argv,
                                           StandaloneConfig& c) {
  config::Flags flags("rochdale-standalone",
                      "All five services in one process, with a private PostgreSQL.");
  flags.Text("data-dir", "everything that is kept: database, blobs, keys", &c.data_dir);
  flags.Text("address", "address to listen on; without TLS a loopback one", &c.address);
  flags.Int("port", "gRPC port of all services; 0: any free port", 0, 65535, &c.port);
  flags.Int("admin-port", "HTTP port of /metrics, /healthz, /readyz; 0: any free port", 0, 65535,
            &c.admin_port);
  flags.Bool("plaintext", "serve without TLS; for development, on loopback only", &c.plaintext);
  flags.Text("tls-certificate", "PEM chain of the server", &c.tls_certificate);
  flags.Text("tls-key", "PEM key of the server", &c.tls_key);
  service::AddServiceIdentityFlags(flags, c.identity);
  flags.Text("log-origin", "name of the log in its checkpoints; cannot be changed later",
             &c.log_origin);
  flags.Text("log-http",
             "IP address and port on which everybody may read the log over HTTP; port 0: any free "
             "one, see server.json; empty: none",
             &c.log_http);
  flags.List("witnesses", "witnesses of the log: URL=verifier key,...", &c.witnesses);
  flags.Int("workers", "attribution worker processes; 0: one per core", 0, 256, &c.workers);
  flags.Text("worker-device", "where workers evaluate: cpu, cuda or cuda:<n> (docs/devices.md)",
             &c.worker_device);
  c.governance.Add(flags);
  flags.Bool("fsync", "false: a crash of the machine may lose data; for tests", &c.fsync);
  flags.Choice("log-level", "lowest level that is logged", {"debug", "info", "warning", "error"},
               &c.log_level);
  return flags.Parse(argc, argv);
}

}  // namespace rochdale::standalone
