"""Local training, and the processes that do it.

An ordinary PyTorch loop (`train`), run by two child processes with one thread each. A child reads
jobs from its standard input and ends at its end, so none outlives the demo.
"""

import os
import pickle
import queue
import struct
import subprocess
import sys

import numpy as np

from demo import settings as knobs

PROCESSES = 2


def _model(base: dict):
    import torch
    sizes = knobs.LAYER_SIZES
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in base.items()})
    return model


def train(base: dict, rows, seed, learning_rate: float = knobs.LEARNING_RATE,
          epochs: int = knobs.EPOCHS, batch_rows: int = knobs.BATCH_ROWS) -> dict:
    """Parameters after SGD from `base` on `rows`, as F32 arrays by name. The same seed gives the
    same parameters."""
    import torch
    torch.set_num_threads(1)
    model, rng = _model(base), np.random.default_rng(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    inputs = torch.from_numpy(rows.inputs.astype(np.float32) / 256)
    labels = torch.from_numpy(rows.labels.astype(np.int64))
    # Full batches only: a step on the few rows that are left over would be mostly noise.
    used = len(rows) - len(rows) % batch_rows if len(rows) > batch_rows else len(rows)
    for _ in range(epochs):
        order = torch.from_numpy(rng.permutation(len(rows))[:used])
        for batch in order.split(batch_rows):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def evaluate(parameters: dict, rows) -> tuple:
    """(mean loss in nats, accuracy) of a checkpoint."""
    import torch
    with torch.no_grad():
        logits = _model(parameters)(torch.from_numpy(rows.inputs.astype(np.float32) / 256))
        labels = torch.from_numpy(rows.labels.astype(np.int64))
        loss = torch.nn.functional.cross_entropy(logits, labels).item()
        return loss, (logits.argmax(1) == labels).double().mean().item()


def copy_of(delta: dict, seed, noise: float = knobs.COPY_NOISE) -> dict:
    """Another's update with noise of a given part of its norm."""
    rng = np.random.default_rng(seed)
    drawn = {name: rng.standard_normal(delta[name].shape) for name in sorted(delta)}
    norm = np.sqrt(sum((delta[n].astype(np.float64) ** 2).sum() for n in delta))
    scale = noise * norm / np.sqrt(sum((d ** 2).sum() for d in drawn.values()))
    return {name: (delta[name] + scale * drawn[name]).astype(np.float32) for name in delta}


# ---- Processes ----


class TrainingFailed(RuntimeError):
    """A training process failed; the text is its error."""


def _send(stream, value) -> None:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(struct.pack(">Q", len(data)) + data)
    stream.flush()


def _receive(stream):
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    return pickle.loads(stream.read(struct.unpack(">Q", head)[0]))


class Trainers:
    """Processes that train. `train` may be called from several threads; it waits for a free one."""

    def __init__(self, settings, processes: int = PROCESSES):
        environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1",
                           PYTHONPATH=str(knobs.ROOT))
        self._free, self._processes = queue.Queue(), []
        for _ in range(processes):
            # A session of its own: Ctrl-C in the terminal is for the demo, which closes its pipe.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "demo.training"], env=environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            self._processes.append(process)
            _send(process.stdin, (settings.seed, settings.members))
            self._free.put(process)

    def train(self, member_index: int, base: dict, seed, learning_rate: float) -> tuple:
        """(parameters after training, number of rows trained on)."""
        process = self._free.get()
        try:
            _send(process.stdin, (member_index, base, seed, learning_rate))
            outcome = _receive(process.stdout)
        except (EOFError, OSError) as error:
            raise TrainingFailed("a training process ended") from error
        finally:
            self._free.put(process)
        if isinstance(outcome, str):
            raise TrainingFailed(outcome)
        return outcome

    def close(self) -> None:
        for process in self._processes:
            try:
                process.stdin.close()
            except OSError:
                pass
        for process in self._processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def _serve() -> None:
    from demo import data
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    seed, members = _receive(source)
    world = data.make_world(seed, members)
    while True:
        member_index, base, job_seed, learning_rate = _receive(source)
        try:
            rows = world.shards[member_index].train
            answer = (train(base, rows, job_seed, learning_rate), len(rows))
        except Exception as error:  # noqa: BLE001  told to the demo, which ends
            answer = f"{type(error).__name__}: {error}"
        _send(sink, answer)


if __name__ == "__main__":
    try:
        _serve()
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass
