"""What an agent has committed to, and the files that let a restarted program go on with it."""

import dataclasses
import json
import os
from pathlib import Path

from rochdale import documents, protos, uploads


@dataclasses.dataclass(frozen=True)
class Submission:
    """A signed commitment with the bytes it is to."""
    update_id: str
    blob: bytes
    commitment: "protos.common.SignedDocument"

    @property
    def sha256(self) -> str:
        return uploads.sha256(self.blob)


class Journal:
    """What a program needs to go on after a restart: one file pair per agent and round."""

    def __init__(self, folder: Path | None, agent_id: str, round_id: str):
        self._stem = folder / f"{round_id}-{agent_id}" if folder else None

    def save(self, submission: Submission) -> None:
        if self._stem is None:
            return
        self._stem.parent.mkdir(parents=True, exist_ok=True)
        meta = {"update_id": submission.update_id,
                "commitment": json.loads(documents.to_json(submission.commitment))}
        # The small file last: it is what makes the pair valid.
        for suffix, data in ((".safetensors", submission.blob),
                             (".json", json.dumps(meta).encode())):
            path, partial = self._stem.with_suffix(suffix), self._stem.with_suffix(".partial")
            with open(partial, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)

    def load(self) -> Submission | None:
        if self._stem is None or not self._stem.with_suffix(".json").exists():
            return None
        meta = json.loads(self._stem.with_suffix(".json").read_bytes())
        saved = Submission(meta["update_id"], self._stem.with_suffix(".safetensors").read_bytes(),
                           documents.from_json(json.dumps(meta["commitment"]).encode()))
        # A crash between the two files leaves bytes that the commitment is not to.
        return saved if documents.decode(saved.commitment).update_sha256 == saved.sha256 else None

    def forget(self) -> None:
        if self._stem is not None:
            for suffix in (".json", ".safetensors"):
                self._stem.with_suffix(suffix).unlink(missing_ok=True)
