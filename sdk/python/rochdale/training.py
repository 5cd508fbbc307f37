"""A training loop around rounds, for an ordinary PyTorch model:

    def train(model, task):
        ...                       # your loop, from the checkpoint that model has now
        return samples_seen

    with rochdale.connect("localhost:7443") as coop:
        for update in rochdale.training.take_part(coop, model, train, rounds=10):
            print(update.explain())
"""

import time

from rochdale.rounds import JOIN_SECONDS, WAIT_SECONDS

DEADLINE_MARGIN_SECONDS = 5.0


class TimeLeft:
    """For training loops that stop in time: `while time_left(): one more batch`."""

    def __init__(self, task, margin: float = DEADLINE_MARGIN_SECONDS):
        self._end = task.round.deadline_us / 1e6 - margin

    def __call__(self) -> bool:
        return time.time() < self._end


def take_part(client, model, train, rounds: int | None = None, cooperative: str | None = None,
              until: str = "final", join_timeout: float = JOIN_SECONDS,
              wait_timeout: float = WAIT_SECONDS, progress=None):
    """Yields this agent's update of each round once it is decided or (by default) final.

    model   has load_state_dict and state_dict, with the parameters of the cooperative's model
    train   called with (model, task); may return the number of samples it trained on
    rounds  how many; None: until none opens within join_timeout (RoundUnavailable)
    """
    done = 0
    while rounds is None or done < rounds:
        task = client.round(cooperative).join(timeout=join_timeout)
        update = task.resume(progress=progress, timeout=wait_timeout)
        if update is None:
            model.load_state_dict(task.checkpoint())
            samples = train(model, task)
            update = task.submit(model.state_dict(), sample_count=int(samples or 1),
                                 progress=progress, timeout=wait_timeout)
        yield update.wait(until, wait_timeout)
        done += 1
