"""Makes the SDK importable, generated code included, and gives tests a fake cooperative."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "sdk" / "python"))
subprocess.run([ROOT / "scripts" / "generate-sdk", "--if-stale"], check=True)

from fake_server import FakeCooperative  # noqa: E402


@pytest.fixture
def fake():
    server = FakeCooperative()
    yield server
    server.stop()


@pytest.fixture
def agent(fake, monkeypatch, tmp_path):
    """A client of the fake, as its agent; nothing of this machine's own configuration."""
    import rochdale
    for name in ("ROCHDALE_KEY", "ROCHDALE_IDENTITY", "ROCHDALE_COOPERATIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROCHDALE_HOME", str(tmp_path / "home"))
    with rochdale.connect(fake.target, key=fake.agent_key,
                          identity=f"agent:{fake.agent_id}") as client:
        client.transport._sleep = lambda seconds: None
        yield client
