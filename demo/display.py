"""What is seen while it runs: lines, and on a terminal one that moves."""

import shutil
import threading
import time

BAR_CHARS = 24
QUIET_SECONDS = 20.0  # between lines of progress where there is no terminal


class Display:
    """Thread-safe. `status` is a function that gives the moving line, or ""."""

    def __init__(self, stream):
        self._stream, self._lock = stream, threading.Lock()
        self._terminal = stream.isatty()
        self._shown, self._status, self._last_quiet = False, None, 0.0
        self._begun, self._stop = time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass  # a terminal that went away does not end the run

    def _clear(self) -> None:
        if self._shown:
            self._write("\r\x1b[2K")
            self._shown = False

    def say(self, text: str = "", bold: bool = False) -> None:
        with self._lock:
            self._clear()
            if text and bold and self._terminal:
                text = f"\x1b[1m{text}\x1b[0m"
            self._write(text + "\n")

    def step(self, text: str) -> None:
        self.say(f"[{clock(self.seconds)}] {text}", bold=True)

    def note(self, text: str) -> None:
        self.say("        " + text)

    def follow(self, status) -> None:
        with self._lock:
            self._status, self._last_quiet = status, time.monotonic()
            self._clear()

    def _run(self) -> None:
        while not self._stop.wait(0.25):
            with self._lock:
                line = self._status() if self._status else ""
                if not line:
                    continue
                line = f"[{clock(self.seconds)}] {line}"
                if self._terminal:
                    width = shutil.get_terminal_size().columns - 1
                    self._write("\r\x1b[2K" + line[:width])
                    self._shown = True
                elif time.monotonic() - self._last_quiet >= QUIET_SECONDS:
                    self._last_quiet = time.monotonic()
                    self._write(line + "\n")

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=2)
        with self._lock:
            self._clear()


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def bar(part: float, chars: int = BAR_CHARS) -> str:
    filled = round(max(0.0, min(1.0, part)) * chars)
    return "█" * filled + "░" * (chars - filled)


def table(head: list, rows: list, right: set = frozenset()) -> str:
    """A table in text; `right`: columns that are aligned to the right."""
    cells = [[str(c) for c in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ["  ".join(c.rjust(w) if i in right else c.ljust(w)
                       for i, (c, w) in enumerate(zip(row, widths))).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("─" * w for w in widths), *lines[1:]])
