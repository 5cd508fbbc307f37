"""What a run keeps so that an interrupted one can go on: ids, keys, and which steps are done.

Ids and keys are made before they are first used; a step that was cut off is repeated with the same
ones, and the services answer that it was done before.
"""

import fcntl
import json
import os
import threading
import uuid
from pathlib import Path

from rochdale import KeyPair, RochdaleError

_DONE_BEFORE = {"ALREADY_EXISTS", "COOPERATIVE_EXISTS", "KEY_IN_USE", "MEMBERSHIP_STATE"}


class PlanMismatch(RuntimeError):
    """The kept data is of a run with other settings, or of none."""


class DataInUse(RuntimeError):
    """Another demo works on this folder."""


class Plan:
    def __init__(self, folder: Path, settings):
        self.folder, self._path = folder, folder / "plan.json"
        self._lock, self._file = threading.Lock(), None
        self._settings = {name: getattr(settings, name) for name in ("agents", "rounds", "seed")}
        self._state = {"settings": self._settings, "ids": {}, "done": [], "resumed": 0}

    def take(self) -> None:
        """Takes the folder for this process. DataInUse."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = open(self.folder / "lock", "w", encoding="ascii")
        try:
            # Held by this process alone: it ends with it, however that is.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataInUse(f"{self.folder} is in use by another demo") from error

    def open(self, settings) -> None:
        """Takes the folder and what it holds. PlanMismatch, DataInUse."""
        self.take()
        if self._path.exists():
            state = json.loads(self._path.read_text())
            if not settings.fits(state["settings"]):
                kept = ", ".join(f"--{n} {v}" for n, v in state["settings"].items())
                raise PlanMismatch(f"{self.folder} is of a run with {kept}")
            state["resumed"] += 1
            self._state = state
        self._save()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _save(self) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self._state, indent=1))
        os.replace(partial, self._path)

    def id(self, name: str) -> str:
        with self._lock:
            if name not in self._state["ids"]:
                self._state["ids"][name] = str(uuid.uuid4())
                self._save()
            return self._state["ids"][name]

    def key(self, name: str) -> KeyPair:
        path = self.folder / "keys" / name
        if not path.exists():
            KeyPair.generate().save(path)
        return KeyPair.load(path)

    @property
    def resumed(self) -> int:
        """How often the run was interrupted and went on."""
        return self._state["resumed"]

    def is_done(self, step: str) -> bool:
        return step in self._state["done"]

    def once(self, step: str, act) -> None:
        """Does a step unless it was done; what the services say was done before counts as done."""
        if self.is_done(step):
            return
        try:
            act()
        except RochdaleError as error:
            if error.reason not in _DONE_BEFORE:
                raise
        with self._lock:
            self._state["done"].append(step)
            self._save()


def is_ours(folder: Path) -> bool:
    """Whether a folder is a demo's of this user, so that a new run may clear it."""
    if not folder.exists():
        return True
    return folder.stat().st_uid == os.geteuid() and (
        (folder / "plan.json").exists() or not any(folder.iterdir()))
