#include "libs/learning/module_sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "libs/base/errors.h"

namespace rochdale::learning {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "say which architecture system calls are numbered by"
#endif

// Of x86-64, the numbers of another calling convention begin here.
constexpr uint32_t kOtherNumbers = 0x40000000;

// What a computation has no use for. Reading and writing what is open already goes on.
constexpr int kRefused[] = {
#if defined(__x86_64__)
    SYS_open,     SYS_creat,  SYS_unlink, SYS_rename, SYS_mkdir,   SYS_rmdir, SYS_link,
    SYS_symlink,  SYS_chmod,  SYS_chown,  SYS_fork,   SYS_vfork,   SYS_mknod,
#endif
    SYS_openat,   SYS_openat2,    SYS_unlinkat,      SYS_renameat2,  SYS_mkdirat,
    SYS_linkat,   SYS_symlinkat,  SYS_fchmodat,      SYS_fchownat,   SYS_mknodat,
    SYS_truncate, SYS_socket,     SYS_socketpair,    SYS_connect,    SYS_bind,
    SYS_listen,   SYS_accept,     SYS_accept4,       SYS_execve,     SYS_execveat,
    SYS_ptrace,   SYS_kill,       SYS_tkill,         SYS_process_vm_readv,
    SYS_process_vm_writev,        SYS_mount,         SYS_umount2,    SYS_pivot_root,
    SYS_chroot,   SYS_setns,      SYS_unshare,       SYS_bpf,        SYS_perf_event_open,
    SYS_memfd_create,             SYS_io_uring_setup, SYS_userfaultfd, SYS_keyctl,
    SYS_add_key,  SYS_request_key, SYS_pidfd_open,   SYS_open_by_handle_at,
};

std::vector<sock_filter> Filter() {
  const auto load = [](uint32_t offset) {
    return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset);
  };
  const auto result = [](uint32_t value) { return sock_filter BPF_STMT(BPF_RET | BPF_K, value); };
  constexpr uint32_t kRefuse = SECCOMP_RET_ERRNO | EPERM;
  std::vector<sock_filter> filter;
  filter.push_back(load(offsetof(seccomp_data, arch)));
  filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0));
  filter.push_back(result(SECCOMP_RET_KILL_PROCESS));
  filter.push_back(load(offsetof(seccomp_data, nr)));
#if defined(__x86_64__)
  filter.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kOtherNumbers, 0, 1));
  filter.push_back(result(kRefuse));
#endif
  for (const int call : kRefused) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1));
    filter.push_back(result(kRefuse));
  }
  filter.push_back(result(SECCOMP_RET_ALLOW));
  return filter;
}

// A sanitizer's own maps are terabytes, and count: under it a module may take what there is.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kBoundsMemory = false;
#else
constexpr bool kBoundsMemory = true;
#endif

bool Limit(int resource, rlim_t most) {
  const rlimit limit{most, most};
  return setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) == 0;
}

}  // namespace

absl::Status ShutIn(int64_t memory_bytes) {
  std::vector<sock_filter> filter = Filter();
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  const bool shut = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                    (!kBoundsMemory || Limit(RLIMIT_DATA, static_cast<rlim_t>(memory_bytes))) &&
                    Limit(RLIMIT_FSIZE, 0) && Limit(RLIMIT_CORE, 0) &&
                    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
  if (shut) return absl::OkStatus();
  return Error("DEVICE_UNFIT", "this machine cannot shut a module's process in");
}

}  // namespace rochdale::learning
