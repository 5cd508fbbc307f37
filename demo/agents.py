"""The agents at work: one thread each, which joins every round, trains, commits, reveals.

Agents see the cooperative through the SDK alone. Only two things are arranged between them, both in
the copier's favour: it commits last, and it is given another's update, as if that had leaked.
"""

import threading
import time

from rochdale import errors, protos, rounds as steps, tensors

from demo import settings as knobs, training

COPIER_WAITS_SECONDS = 90.0
WATCH_SECONDS = 60.0
STALLED_SECONDS = 420.0
_STATE = protos.attribution.RoundState
OPEN, REVEAL, SCREEN, CLOSED = (_STATE.Value(f"ROUND_STATE_{s}")
                                for s in ("OPEN", "REVEAL", "SCREEN", "CLOSED"))


class Stopped(Exception):
    """The run is over."""


class Stalled(RuntimeError):
    """A round did not move on for too long."""


class RoundWatch:
    """The newest round, as the service tells it."""

    def __init__(self, cooperative):
        self._cooperative, self._changed = cooperative, threading.Condition()
        self._newest, self._moved, self._stopped = None, time.monotonic(), False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _publish(self, round_) -> None:
        with self._changed:
            if self._newest is None or (round_.number, round_.state, round_.deadline_us) != (
                    self._newest.number, self._newest.state, self._newest.deadline_us):
                self._moved = time.monotonic()
            self._newest = round_
            self._changed.notify_all()

    def _run(self) -> None:
        transport = self._cooperative.client.transport
        request = protos.attribution.WatchRoundsRequest(cooperative_id=self._cooperative.id)
        while not self._stopped:
            try:
                for message in transport.stream("attribution", "WatchRounds", request,
                                                timeout=WATCH_SECONDS):
                    self._publish(message.round)
            except (errors.RochdaleError, ValueError):
                pass  # asked again; who waits notices if nothing moves
            time.sleep(0.1)

    @property
    def newest(self):
        return self._newest

    def wait(self, number: int, state: int):
        """The newest round once round `number` has come to `state`, or is over.
        Stopped, Stalled."""
        def reached():
            newest = self._newest
            if newest is None or newest.number < number:
                return False
            # An open round without a deadline is being prepared.
            return newest.number > number or (newest.state >= state and (
                newest.state != OPEN or newest.deadline_us != 0))

        with self._changed:
            while not reached():
                if self._stopped:
                    raise Stopped
                if time.monotonic() - self._moved > STALLED_SECONDS:
                    newest = self._newest
                    where = ("no round has opened" if newest is None else
                             f"round {newest.number} is {steps.round_state_name(newest)}")
                    raise Stalled(f"{where} since {STALLED_SECONDS:.0f} s")
                self._changed.wait(timeout=0.5)
            return self._newest


class Board:
    """How far every agent is in the current round, and this round's updates for the copier."""

    def __init__(self, members: list):
        self.members, self._changed = members, threading.Condition()
        self.stage = {m.index: " " for m in members}
        self.final = {}      # (round number, member index) -> (state, reason)
        self._deltas = {}    # of the current round, by member index
        self._committed = set()

    def set_stage(self, member, mark: str) -> None:
        self.stage[member.index] = mark

    def committed(self, number: int, member, delta) -> None:
        with self._changed:
            self._deltas = {k: d for k, d in self._deltas.items() if k[0] == number}
            self._deltas[(number, member.index)] = delta
            self._committed.add((number, member.index))
            self._changed.notify_all()

    def missed(self, number: int, member) -> None:
        with self._changed:
            self._committed.add((number, member.index))
            self._changed.notify_all()

    def leaked(self, number: int, victim, others: list):
        """The victim's update once all others have committed, or time is up; None without one."""
        with self._changed:
            self._changed.wait_for(
                lambda: all((number, m.index) in self._committed for m in others),
                timeout=COPIER_WAITS_SECONDS)
            return self._deltas.get((number, victim.index))

    def marks(self) -> str:
        return "".join(self.stage[m.index] for m in self.members)


class AgentWorker:
    """One agent over all rounds."""

    def __init__(self, participant, settings, watch: RoundWatch, board: Board, trainers, say):
        self._participant, self.member = participant, participant.member
        self._settings, self._watch, self._board = settings, watch, board
        self._trainers, self._say = trainers, say
        self.error = None
        self._thread = threading.Thread(target=self._run, name=self.member.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            for number in range(1, self._settings.rounds + 1):
                self._board.set_stage(self.member, "·")
                try:
                    self._take_part(number)
                except (errors.RoundUnavailable, errors.FailedPrecondition) as error:
                    self._board.missed(number, self.member)
                    self._say(f"{self.member.name} missed round {number}: {error.reason}")
                    self._watch.wait(number, CLOSED)
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001  the run ends with it
            self.error = error
            self._watch.stop()

    def _take_part(self, number: int) -> None:
        round_ = self._watch.wait(number, OPEN)
        if round_.number > number or round_.state >= SCREEN:
            return  # a resumed run: this round went on without us
        cooperative = self._participant.agent.cooperative()
        if round_.state == OPEN:
            task = cooperative.round().join(after=number - 1, timeout=20)
            update = self._train_and_submit(task)
        else:
            task = steps.Task(cooperative, round_)
            update = task.resume(reveal=False)
        if update is None:
            return
        self._board.set_stage(self.member, "c")
        self._watch.wait(number, REVEAL)
        update.reveal(timeout=60)
        self._board.set_stage(self.member, "r")
        self._watch.wait(number, CLOSED)
        update.refresh()
        self._board.final[(number, self.member.index)] = (update.state, update.proto.reason)

    def _train_and_submit(self, task):
        if self.member.role == "copier":
            return self._copy_and_submit(task)
        self._board.set_stage(self.member, "t")
        seed = [self._settings.seed, 2, self.member.index, task.number]
        state, rows = self._trainers.train(self.member.index, task.base, seed,
                                           knobs.learning_rate(task.number))
        update = task.submit(state, sample_count=rows, reveal=False)
        self._board.committed(task.number, self.member, tensors.delta_of(state, task.base))
        return update

    def _copy_and_submit(self, task):
        honest = [m for m in self._board.members if m.role == "honest"]
        victim = honest[task.number % len(honest)]
        others = [m for m in self._board.members if m.index != self.member.index]
        delta = self._board.leaked(task.number, victim, others)
        if delta is None:
            return task.resume(reveal=False)
        copied = training.copy_of(delta, [self._settings.seed, 3, task.number])
        return task.submit(delta=copied, sample_count=5_000, reveal=False)
