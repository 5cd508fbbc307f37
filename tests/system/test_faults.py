"""Whatever is killed, and whenever: what was acknowledged stays, the round ends, credits are those
of a run that nothing disturbed, nothing is paid twice, and the log only grew.

Killed are the server (kill -9 takes all five services and their workers' parent), a worker, and the
PostgreSQL server. The instants are every state of a round as it can be seen from outside, and
random ones; the seed of those is printed, and ROCHDALE_FAULT_SEED repeats them.
"""

import os
import random
import signal
import threading
import time

import pytest

import checks
from cooperative import World, state_name
from rochdale import errors, rounds
from standalone import Server, descendants, processes

SEED = int(os.environ.get("ROCHDALE_FAULT_SEED") or random.SystemRandom().randrange(2**31))
ROUNDS = 5
REVENUE = 1_000_000_007
RECOVER_SECONDS = 60.0
STATES = ("OPEN", "REVEAL", "SCREEN", "EVALUATE", "APPLY")


@pytest.fixture(scope="module")
def undisturbed(module_dir):
    """{(round, member): credit} of a run in peace."""
    with Server(module_dir / "undisturbed" / "data") as server:
        world = World(server).found()
        world.start_training(ROUNDS)
        world.play(ROUNDS)
        checks.check_all(world)
        credits = world.credits()
        world.close()
    assert sum(credits.values()) > 0
    return credits


def is_outage(error) -> bool:
    return isinstance(error, (errors.Unavailable, errors.DeadlineExceeded)) or (
        error.code == "CANCELLED")


class Disturbed:
    """A world whose server may end at any time; it is started again as often as needed."""

    def __init__(self, world: World):
        self.world, self.kills, self.head = world, 0, checks.tree_head(world.founder)
        self.lock = threading.Lock()

    def kill(self) -> None:
        """kill -9 of the server, if it runs now."""
        with self.lock:
            if self.world.server.running():
                self.world.server.process.send_signal(signal.SIGKILL)
                self.kills += 1

    def look(self) -> None:
        """Remembers the newest tree head: whatever comes later has to contain it."""
        self.head = checks.check_grown(self.world.founder, self.head)

    def until(self, done):
        """What `done` returns once it returns something; it is called again after every end of
        the server."""
        deadline = time.monotonic() + RECOVER_SECONDS
        while True:
            assert time.monotonic() < deadline, f"no end:\n{self.world.server.log_tail()}"
            try:
                if not self.world.server.running():
                    with self.lock:
                        self.world.server.process.wait()
                        self.world.server.process = None
                        self.world.server.start()
                    self.look()
                result = done()
                if result is not None:
                    return result
            except errors.RochdaleError as error:
                # Ours only if the server has ended, or is about to.
                if not is_outage(error):
                    raise
                self._wait_for_end()
            time.sleep(0.005)

    def _wait_for_end(self) -> None:
        end = time.monotonic() + 5
        while self.world.server.running() and time.monotonic() < end:
            time.sleep(0.01)

    def step(self, number: int):
        """One look at the newest round and what follows from it; the round once it has ended."""
        round_ = self.world.newest()
        if round_ is None:
            return None
        if (round_.number, round_.state in (rounds.CLOSED, rounds.ABANDONED)) >= (number, True):
            return self.world.round(number)
        try:
            self.world.act(round_)
        except (errors.RoundUnavailable, errors.FailedPrecondition) as error:
            # The round moved on between look and act.
            assert error.reason == "ROUND_NOT_ACCEPTING", error
        return None

    def play(self, number: int) -> None:
        """Plays until round `number` has ended, whatever ends the server meanwhile."""
        assert state_name(self.until(lambda: self.step(number))) == "CLOSED"

    def settle(self, first: int, last: int):
        """The epoch over these rounds, checked."""
        epoch = self.until(lambda: self.world.settle(first, last, REVENUE))
        checks.check_epoch(self.world, epoch)
        assert self.world.balance(self.world.pool().account_id) == 0
        return epoch

    def check(self, undisturbed, last: int) -> None:
        """The world at rest after round `last` is as it would be had nothing happened."""
        self.at_rest()
        assert self.world.credits() == {
            about: credit for about, credit in undisturbed.items() if about[0] <= last}

    def at_rest(self) -> None:
        self.look()
        checks.check_all(self.world, self.head)


@pytest.fixture
def disturbed(server_dir):
    with Server(server_dir / "data") as server:
        world = World(server).found()
        yield Disturbed(world)
        world.close()


def kill_in(disturbed, state: str, number: int) -> bool:
    """Plays round `number` and kills the server as soon as the round is seen in `state`; False if
    the round was over before it was seen there."""
    wanted = rounds._ROUND.Value("ROUND_STATE_" + state)
    seen, stop = threading.Event(), threading.Event()
    client = disturbed.world.connect()

    def watch():
        while not stop.is_set():
            try:
                round_ = client.cooperative().current_round()
            except errors.RochdaleError:
                continue
            if round_.number == number and round_.state == wanted and round_.deadline_us:
                disturbed.kill()
                seen.set()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        disturbed.play(number)
    finally:
        stop.set()
        watcher.join()
        client.close()
    return seen.is_set()


def test_the_server_is_killed_in_every_state_of_a_round(disturbed, undisturbed):
    """One state per round. With close_early a round leaves COMMIT the moment it gets there, and
    APPLY soon: the random instants below have to find those."""
    disturbed.world.start_training(len(STATES))
    killed = [state for number, state in enumerate(STATES, 1) if kill_in(disturbed, state, number)]
    assert killed[:4] == list(STATES[:4]) and disturbed.kills == len(killed)
    disturbed.check(undisturbed, len(STATES))
    disturbed.settle(1, len(STATES))


def kill_at_random(disturbed, undisturbed, seed: int, kills: int, last: int) -> None:
    """Kills during rounds and during their settlement."""
    print(f"ROCHDALE_FAULT_SEED={seed}")
    rng = random.Random(seed)
    stop = threading.Event()
    disturbed.world.start_training(last)

    def disturb():
        while disturbed.kills < kills and not stop.wait(rng.uniform(0.02, 0.8)):
            disturbed.kill()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for number in range(1, last + 1):
            disturbed.play(number)
        disturbed.settle(1, last)
    finally:
        stop.set()
        thread.join()
    disturbed.until(lambda: True)
    disturbed.check(undisturbed, last)


def test_the_server_is_killed_at_random_instants(disturbed, undisturbed):
    kill_at_random(disturbed, undisturbed, SEED, kills=4, last=2)


@pytest.mark.long
@pytest.mark.parametrize("turn", range(20))
def test_the_server_is_killed_at_many_random_instants(disturbed, undisturbed, turn):
    kill_at_random(disturbed, undisturbed, SEED + 1 + turn, kills=12, last=ROUNDS)


def test_a_worker_is_killed(disturbed, undisturbed):
    """Its shard goes to another; the run ends with the same integers."""
    killed, stop = [], threading.Event()
    disturbed.world.start_training(2)

    def disturb():
        while not stop.is_set() and len(killed) < 3:
            for pid in disturbed.world.server.workers():
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                except ProcessLookupError:
                    continue
                break
            time.sleep(0.02)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        disturbed.play(2)
    finally:
        stop.set()
        thread.join()
    assert killed, "no worker was seen"
    assert disturbed.world.server.starts == 1, "the server itself ended"
    disturbed.check(undisturbed, 2)


def test_postgresql_is_killed(disturbed, undisturbed):
    """The server recovers or ends; started again, it goes on where the database stood."""
    world, killed = disturbed.world, []
    world.start_training(2)

    def step(number, wanted):
        round_ = world.newest()
        if number not in killed and round_ is not None and (
                (round_.number, round_.state) >= (number, wanted)):
            os.kill(world.server.postmaster(), signal.SIGKILL)
            killed.append(number)
            end = time.monotonic() + 20
            while world.server.running() and not answers(world):
                assert time.monotonic() < end, f"neither:\n{world.server.log_tail()}"
                time.sleep(0.05)
        return disturbed.step(number)

    for number, state in enumerate(("REVEAL", "EVALUATE"), 1):
        wanted = rounds._ROUND.Value("ROUND_STATE_" + state)
        disturbed.until(lambda n=number, w=wanted: step(n, w))
    assert killed == [1, 2]
    disturbed.check(undisturbed, 2)


def answers(world) -> bool:
    try:
        return world.newest() is not None
    except errors.RochdaleError:
        return False


def test_the_server_is_killed_while_epochs_are_settled(disturbed):
    """Between CloseEpoch and SETTLED, a little later each time: one epoch per round. Rows that an
    epoch retires are not drawn again, so credits are others than those of the run in peace."""
    disturbed.world.start_training(3)
    for number, delay in enumerate((0.0, 0.01, 0.03), 1):
        disturbed.play(number)
        disturbed.world.settle(number, number, REVENUE, wait=False)
        time.sleep(delay)
        disturbed.kill()
        disturbed._wait_for_end()
        epoch = disturbed.settle(number, number)
        assert (epoch.number, disturbed.world.pool().epochs) == (number, number)
    assert disturbed.kills == 3
    disturbed.at_rest()


@pytest.mark.long
@pytest.mark.parametrize("turn", range(10))
def test_the_server_is_killed_anywhere_in_a_settlement(disturbed, turn):
    print(f"ROCHDALE_FAULT_SEED={SEED + turn}")
    rng = random.Random(SEED + turn)
    # Each epoch retires the rows of its round, and the pool has rows for three.
    disturbed.world.start_training(3)
    for number in (1, 2, 3):
        disturbed.play(number)
        timer = threading.Timer(rng.uniform(0, 0.2), disturbed.kill)
        timer.start()
        disturbed.until(lambda n=number: disturbed.world.settle(n, n, REVENUE))
        timer.join()
        disturbed.settle(number, number)
    disturbed.at_rest()


# ---- Stopping ----


def traces(server) -> list:
    """What a server that has ended should not have left behind."""
    found = [f"process {pid}: {command}" for pid, (_, command) in processes().items()
             if str(server.data_dir) in command]
    found += [str(p) for p in (server.data_dir / "server.json",
                               server.data_dir / "postgres" / "postmaster.pid") if p.exists()]
    return found


def socket_dir(server) -> str:
    return (server.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[4]


def test_stopping_leaves_nothing_and_the_next_start_goes_on(disturbed, undisturbed):
    """SIGINT (Ctrl-C) at rest, SIGTERM while workers evaluate, and kill -9 then, after which
    PostgreSQL and the workers go by themselves, if a moment later."""
    world = disturbed.world
    world.start_training(3)
    for number, how in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGKILL), 1):
        if how == signal.SIGINT:
            disturbed.play(number)
        else:
            disturbed.until(lambda n=number: world.server.workers() or disturbed.step(n))
        before, socket = world.credits(), socket_dir(world.server)
        below = descendants(world.server.process.pid)
        assert any("postgres" in command for command in below.values())
        assert os.path.isdir(socket)
        if how == signal.SIGKILL:
            world.server.kill()
            deadline = time.monotonic() + 15
            while any(pid in processes() for pid in below) and time.monotonic() < deadline:
                time.sleep(0.05)
        else:
            assert world.server.stop(how) == 0
            assert not traces(world.server)
        assert not {pid: command for pid, command in below.items() if pid in processes()}
        assert not os.path.exists(socket)
        world.server.start()
        assert before.items() <= world.credits().items()
        disturbed.look()
        disturbed.play(number)
    disturbed.check(undisturbed, 3)
