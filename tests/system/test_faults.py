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
from cooperative import Server, World, descendants, processes, state_name
from rochdale import errors, rounds

SEED = int(os.environ.get("ROCHDALE_FAULT_SEED") or random.SystemRandom().randrange(2**31))
ROUNDS = 2
REVENUE = 1_000_000_007
RECOVER_SECONDS = 60.0


@pytest.fixture(scope="module")
def undisturbed(module_dir):
    """Credits and balances of a run in peace: ({(round, member): credit}, [balance])."""
    with Server(module_dir / "undisturbed" / "data") as server:
        world = World(server).found()
        world.start_training(ROUNDS)
        world.play(ROUNDS)
        epoch = world.settle(1, ROUNDS, REVENUE)
        checks.check_all(world)
        checks.check_epoch(world, epoch)
        result = world.credits(), [world.earned(m) for m in world.members]
        world.close()
    assert sum(result[0].values()) > 0
    return result


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
            except (errors.Unavailable, errors.DeadlineExceeded):
                # Ours only if the server has ended, or is about to.
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

    def finish(self, undisturbed) -> None:
        """Plays to the end, settles, and compares with the run in peace."""
        world = self.world
        for number in range(1, ROUNDS + 1):
            assert state_name(self.until(lambda n=number: self.step(n))) == "CLOSED"
        epoch = self.until(lambda: world.settle(1, ROUNDS, REVENUE))
        self.look()
        checks.check_all(world, self.head)
        checks.check_epoch(world, epoch)
        credits, balances = undisturbed
        assert world.credits() == credits
        assert [world.earned(m) for m in world.members] == balances
        assert world.pool().epochs == 1
        assert world.balance(world.pool().account_id) == 0


@pytest.fixture
def disturbed(server_dir):
    with Server(server_dir / "data") as server:
        world = World(server).found()
        world.start_training(ROUNDS)
        yield Disturbed(world)
        world.close()


def kill_in(disturbed, state: str, number: int = 1) -> bool:
    """Plays round `number` and kills the server as soon as the round is seen in `state`; False if
    the round was over before it was seen there."""
    wanted = rounds._ROUND.Value("ROUND_STATE_" + state)
    seen = threading.Event()
    stop = threading.Event()
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
        disturbed.until(lambda: (seen.is_set() and disturbed.world.server.running() or None)
                        or disturbed.step(number))
    finally:
        stop.set()
        watcher.join()
        client.close()
    return seen.is_set()


@pytest.mark.parametrize("state", ["OPEN", "REVEAL", "SCREEN", "EVALUATE", "APPLY"])
def test_the_server_is_killed_in_a_state_of_a_round(disturbed, undisturbed, state):
    """With close_early a round leaves COMMIT the moment it gets there: the random instants below
    have to find it."""
    killed = any(kill_in(disturbed, state, number) for number in range(1, ROUNDS + 1))
    disturbed.finish(undisturbed)
    if not killed:
        pytest.skip(f"no round was seen in {state}: it lasts for a moment only")


def kill_at_random(disturbed, undisturbed, seed: int, kills: int) -> None:
    print(f"ROCHDALE_FAULT_SEED={seed}")
    rng = random.Random(seed)
    stop = threading.Event()

    def disturb():
        while disturbed.kills < kills and not stop.wait(rng.uniform(0.02, 1.2)):
            disturbed.kill()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        disturbed.finish(undisturbed)
    finally:
        stop.set()
        thread.join()


def test_the_server_is_killed_at_random_instants(disturbed, undisturbed):
    kill_at_random(disturbed, undisturbed, SEED, kills=4)


@pytest.mark.long
@pytest.mark.parametrize("turn", range(20))
def test_the_server_is_killed_at_many_random_instants(disturbed, undisturbed, turn):
    kill_at_random(disturbed, undisturbed, SEED + 1 + turn, kills=8)


def test_a_worker_is_killed(disturbed, undisturbed):
    """Its shard goes to another; the run ends with the same integers."""
    killed, stop = [], threading.Event()

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
        disturbed.finish(undisturbed)
    finally:
        stop.set()
        thread.join()
    assert killed, "no worker was seen"
    assert disturbed.world.server.starts == 1, "the server itself ended"


@pytest.mark.parametrize("state", ["REVEAL", "EVALUATE"])
def test_postgresql_is_killed(disturbed, undisturbed, state):
    """The server recovers or ends; started again, it goes on where the database stood."""
    world = disturbed.world
    wanted, done = rounds._ROUND.Value("ROUND_STATE_" + state), []

    def step():
        round_ = world.newest()
        if not done and round_ is not None and round_.state >= wanted:
            os.kill(world.server.postmaster(), signal.SIGKILL)
            done.append(round_.number)
            end = time.monotonic() + 20
            while world.server.running() and not answers(world) and time.monotonic() < end:
                time.sleep(0.05)
            assert not world.server.running() or answers(world), (
                f"neither ended nor recovered:\n{world.server.log_tail()}")
        return disturbed.step(1)

    disturbed.until(step)
    assert done
    disturbed.finish(undisturbed)


def answers(world) -> bool:
    try:
        return world.newest() is not None
    except errors.RochdaleError:
        return False


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.15])
def test_the_server_is_killed_while_an_epoch_is_settled(disturbed, undisturbed, delay):
    world = disturbed.world
    for number in range(1, ROUNDS + 1):
        disturbed.until(lambda n=number: disturbed.step(n))
    world.settle(1, ROUNDS, REVENUE, wait=False)
    time.sleep(delay)
    disturbed.kill()
    disturbed._wait_for_end()
    assert disturbed.kills == 1
    disturbed.finish(undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("turn", range(20))
def test_the_server_is_killed_anywhere_in_a_settlement(disturbed, undisturbed, turn):
    rng = random.Random(SEED + turn)
    print(f"ROCHDALE_FAULT_SEED={SEED + turn}")
    world = disturbed.world
    for number in range(1, ROUNDS + 1):
        disturbed.until(lambda n=number: disturbed.step(n))
    timer = threading.Timer(rng.uniform(0, 1.0), disturbed.kill)
    timer.start()
    disturbed.until(lambda: world.settle(1, ROUNDS, REVENUE, wait=False))
    timer.join()
    disturbed.finish(undisturbed)


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


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stopping_leaves_nothing_and_the_next_start_goes_on(disturbed, undisturbed, how):
    world = disturbed.world
    disturbed.until(lambda: disturbed.step(1))
    before, socket = world.credits(), socket_dir(world.server)
    below = descendants(world.server.process.pid)
    assert any("postgres" in command for command in below.values()) and os.path.isdir(socket)
    assert world.server.stop(how) == 0
    left = {pid: command for pid, command in below.items() if pid in processes()}
    assert not left and not traces(world.server) and not os.path.exists(socket)
    world.server.start()
    assert world.credits() == before
    disturbed.look()
    disturbed.finish(undisturbed)


def test_kill_9_leaves_no_process(disturbed):
    """PostgreSQL and the workers go with the server, if a moment later."""
    world = disturbed.world
    disturbed.until(lambda: disturbed.step(1))
    below, socket = descendants(world.server.process.pid), socket_dir(world.server)
    world.server.kill()
    deadline = time.monotonic() + 15
    while left := [pid for pid in below if pid in processes()]:
        assert time.monotonic() < deadline, {pid: below[pid] for pid in left}
        time.sleep(0.05)
    assert not os.path.exists(socket)


def test_two_servers_do_not_share_a_directory(disturbed):
    world = disturbed.world
    second = Server(world.server.data_dir)
    second.launch()
    assert second.process.wait(timeout=20) != 0
    second.process = None
    assert world.newest() is not None
