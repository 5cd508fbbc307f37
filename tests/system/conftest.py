"""Makes the SDK importable, generated code included. Without a built server nothing is tested here:
scripts/run_tests.py leaves the folder out then, and says so."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "sdk" / "python"))
subprocess.run([ROOT / "scripts" / "generate-sdk", "--if-stale"], check=True)
# Agents train side by side in threads of one process; more threads below them only wait for each
# other. Before anything loads a BLAS.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
for name in ("ROCHDALE_KEY", "ROCHDALE_IDENTITY", "ROCHDALE_COOPERATIVE", "ROCHDALE_TARGET"):
    os.environ.pop(name, None)
os.environ["ROCHDALE_HOME"] = "/nonexistent"  # nothing of this machine's own configuration


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; runs where ROCHDALE_LONG is set")


def pytest_collection_modifyitems(items):
    if os.environ.get("ROCHDALE_LONG"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes long; run with --long"))


@pytest.fixture(scope="module")
def module_dir():
    """A directory that PostgreSQL's own user may pass through: pytest keeps its own closed."""
    path = Path(tempfile.mkdtemp(prefix="rochdale-system-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def server_dir(module_dir, request):
    return module_dir / request.node.name.replace("[", "-").replace("]", "").replace("/", "-")
