"""rochdale-standalone as a process: started, stopped and killed at will."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = Path(os.environ.get("ROCHDALE_PROGRAMS", ROOT / "build" / "release" / "bin"))
START_SECONDS = 60.0


def processes() -> dict:
    """{pid: (parent's pid, command line)} of everything that runs, zombies apart."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state not in "ZX":
            found[int(entry.name)] = (int(parent), command.strip())
    return found


def descendants(pid: int) -> dict:
    """{pid: command line} of the processes below one."""
    everything, below = processes(), {}
    pending = [pid]
    while pending:
        parent = pending.pop()
        for child, (its_parent, command) in everything.items():
            if its_parent == parent and child not in below:
                below[child] = command
                pending.append(child)
    return below


class Server:
    """rochdale-standalone over one data directory. May be started, stopped and killed repeatedly;
    it keeps its port, so that clients find it again."""

    def __init__(self, data_dir, secret: str = "system tests: not a secret at all"):
        self.data_dir = Path(data_dir)
        self.port, self.starts, self.process, self.info = 0, 0, None, {}
        self.data_dir.mkdir(parents=True, exist_ok=True)
        # The rows of every round follow from this secret.
        (self.data_dir / "attribution").mkdir(mode=0o700, exist_ok=True)
        path = self.data_dir / "attribution" / "secret"
        if not path.exists():
            path.write_text(secret)
            path.chmod(0o600)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        self.stop()
        if kind is not None:
            print(f"---- end of {self.log} ----\n" + self.log_tail())

    @property
    def log(self) -> Path:
        return self.data_dir.parent / (self.data_dir.name + ".log")

    def log_tail(self, lines: int = 40) -> str:
        """The end of its log without the calls that were answered."""
        kept = [line[:300] for line in self.log.read_text(errors="replace").splitlines()
                if '"message":"call"' not in line or '"code":"OK"' not in line]
        return "\n".join(kept[-lines:])

    def launch(self) -> "Server":
        """Starts the process and does not wait for it."""
        assert self.process is None, "it runs already"
        command = [PROGRAMS / "rochdale-standalone", "--data-dir", self.data_dir, "--plaintext",
                   "--port", str(self.port), "--admin-port", "0", "--fsync", "false",
                   "--workers", "2"]
        with open(self.log, "ab") as log:
            # A session of its own: a signal to the tests is not one to the server.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        self.starts += 1
        return self

    def start(self) -> "Server":
        """Starts it and waits until it serves."""
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while True:
            status = self.process.poll()
            assert status is None, f"the server ended with {status}:\n{self.log_tail()}"
            try:
                self.info = json.loads((self.data_dir / "server.json").read_text())
                if self.info["pid"] == self.process.pid:
                    break
            except (FileNotFoundError, ValueError):
                pass
            assert time.monotonic() < deadline, f"the server does not serve:\n{self.log_tail()}"
            time.sleep(0.02)
        self.port = self.info["port"]
        return self

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log_key(self) -> str:
        return self.info["log_key"]

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9, and nothing to clean up after it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self, how: int = signal.SIGTERM, timeout: float = 40.0) -> int | None:
        """Asks it to stop and returns its exit status; None where it did not run."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the server did not stop:\n{self.log_tail()}") from None

    def restart(self) -> "Server":
        if self.running():
            self.stop()
        elif self.process is not None:
            self.process = None
        return self.start()

    def workers(self) -> list:
        """Pids of the worker processes that run now."""
        return [pid for pid, command in descendants(self.process.pid).items()
                if "rochdale-attribution-worker" in command.partition(" ")[0]]

    def postmaster(self) -> int:
        return int((self.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
