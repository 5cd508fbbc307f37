"""rochdale-standalone as a child: started, waited for, stopped whatever happens."""

import ctypes
import json
import os
import signal
import subprocess
import time
from pathlib import Path

START_SECONDS = 120.0
STOP_SECONDS = 60.0
LOG_LINES_SHOWN = 15
_PR_SET_PDEATHSIG = 1


class ServerFailed(RuntimeError):
    """The server did not start, or ended by itself."""


def _end_with_parent() -> None:
    # Even where the demo is killed outright, the server is asked to stop.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Server:
    """`target` is host:port, `log_key` the verifier key of its log, known from outside the log."""

    def __init__(self, program: Path, folder: Path, port: int):
        self._program, self._folder, self._port = program, folder, port
        self._process = None
        self.log_path = folder / "server.log"
        self.target = self.log_key = ""

    def start(self) -> None:
        """Returns once it serves. ServerFailed with the end of its log."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # PostgreSQL's own user must pass through, where we are root.
        self._folder.chmod(0o711)
        ready = self._folder / "server.json"
        ready.unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            # A session of its own: Ctrl-C in the terminal is for the demo, which stops it in order.
            self._process = subprocess.Popen(
                [self._program, "--data-dir", self._folder, "--plaintext", "--port",
                 str(self._port), "--admin-port", "0", "--log-level", "warning"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=_end_with_parent)
        deadline = time.monotonic() + START_SECONDS
        while not ready.exists():
            self.check()
            if time.monotonic() > deadline:
                raise ServerFailed(f"the server is not ready after {START_SECONDS:.0f} s"
                                   + self._log_end())
            time.sleep(0.05)
        about = json.loads(ready.read_text())
        self.target, self.log_key = f"127.0.0.1:{about['port']}", about["log_key"]

    def check(self) -> None:
        """ServerFailed where it has ended."""
        status = self._process.poll()
        if status is not None:
            raise ServerFailed(f"the server ended with status {status}" + self._log_end())

    def _log_end(self) -> str:
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        shown = lines[-LOG_LINES_SHOWN:]
        return f"; the end of {self.log_path}:\n" + "\n".join("  " + line for line in shown)

    def stop(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # Whatever it had started goes with it.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
