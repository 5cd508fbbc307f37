"""Rochdale: take part in a training cooperative from Python.

    import rochdale
    with rochdale.connect("localhost:7443") as coop:
        task = coop.round("demo").join()
        ...

Needs the generated code: scripts/generate-sdk in the repository.
"""

from rochdale import aio, errors, training
from rochdale.client import Client, Cooperative, connect
from rochdale.errors import RochdaleError
from rochdale.keys import KeyPair
from rochdale.receipts import Receipt, Verification
from rochdale.rounds import Submission, Task, Update
from rochdale.statements import Statements
from rochdale.transport import Tls

__version__ = "0.1.0"

__all__ = ["Client", "Cooperative", "KeyPair", "Receipt", "RochdaleError", "Statements",
           "Submission", "Task", "Tls", "Update", "Verification", "aio", "connect", "errors",
           "training"]
