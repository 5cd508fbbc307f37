"""The demo from start to end. See scripts/demo for what it shows and takes."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

from demo import settings as knobs
from demo.display import Display, bar, table

FIGURE_CHARS = 56  # of one check's figure in the table; the report has all of it


class DemoFailed(RuntimeError):
    """The run cannot go on; the text says why."""


class Interrupted(BaseException):
    """A signal asked to stop."""


def _on_signal(number, _frame):
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # the way out is short, and not to be cut off
    raise Interrupted(signal.Signals(number).name)


def _others_may_enter(folder: Path) -> bool:
    return bool(folder.stat().st_mode & 0o001)


def data_folder(settings) -> Path:
    """Where the run keeps its data. Where we are root, PostgreSQL's own user has to reach it."""
    folder = settings.data or settings.out / "data"
    if os.geteuid() != 0:
        return folder
    closed = [p for p in folder.parents if p.exists() and not _others_may_enter(p)]
    if not closed:
        return folder
    if settings.data is not None:
        raise DemoFailed(f"other users cannot enter {closed[0]}, so PostgreSQL could not reach "
                         f"{folder}; choose another --data")
    return Path("/var/tmp/rochdale-demo")


class Demo:
    """Everything that has to be stopped again, in one place."""

    def __init__(self, settings, display: Display):
        self._settings, self._display = settings, display
        self._server = self._trainers = self._watch = self._plan = None
        self._people, self._workers = [], []
        self.data = data_folder(settings)
        self.finished = False

    # ---- Steps ----

    def run(self):
        begun = time.monotonic()
        self._open_data()
        self._start()
        world = self._prepare_data()
        founder, customer, participants, cooperative = self._found(world)
        rounds, first = self._train(founder, participants, cooperative, world)
        result = self._collect(participants, world, rounds, first)
        self._settle(founder, customer, participants, result)
        self._prove(founder, participants, result)
        result.wall_seconds = time.monotonic() - begun
        self.finished = True
        return result

    def _open_data(self) -> None:
        from demo.plan import Plan, is_ours
        settings, folder = self._settings, self.data
        if settings.resume and not (folder / "plan.json").exists():
            raise DemoFailed(f"there is nothing to resume in {folder}")
        if not settings.resume and folder.exists():
            if not is_ours(folder):
                raise DemoFailed(f"{folder} is not a demo's folder; it was left alone")
            # Not while another demo is at work there.
            lock = Plan(folder, settings)
            if (folder / "plan.json").exists():
                lock.take()
            shutil.rmtree(folder)
            lock.close()
        self._plan = Plan(folder, settings)
        self._plan.open(settings)

    def _start(self) -> None:
        from demo.server import Server
        from demo.training import Trainers
        self._display.step("starting rochdale-standalone: five services, one private PostgreSQL")
        self._server = Server(self._settings.programs / "rochdale-standalone",
                              self.data / "server", self._settings.port)
        self._trainers = Trainers(self._settings)
        self._server.start()
        self._display.note(f"serving on {self._server.target}; the log's key is "
                           f"{self._server.log_key}")

    def _prepare_data(self):
        from demo.data import make_world
        world = make_world(self._settings.seed, self._settings.members)
        sizes = ", ".join(f"{len(s.train):,}" for s in world.shards.values())
        self._display.note(f"Fashion-MNIST parted by Dirichlet(0.5): shards of {sizes} rows")
        return world

    def _found(self, world):
        from demo import people
        settings, plan, server = self._settings, self._plan, self._server
        self._display.step("founding the cooperative")
        founder = people.Person(plan, server.target, server.log_key, "founder", "Rosa, founder")
        customer = people.Person(plan, server.target, server.log_key, "customer", "Customer Inc.")
        participants = [people.Participant(plan, server.target, server.log_key, member)
                        for member in settings.members]
        self._people = [founder, customer, *participants]
        cooperative_id = people.found(plan, founder, customer, settings, world,
                                      self._display.note)
        self._display.step(f"{len(participants)} principals join, each with an agent")
        people.join_all(plan, participants, founder, cooperative_id, world, self._display.note)
        plan.once("training", lambda: founder.admin.start_training(
            settings.rounds, people.SCENARIO, cooperative_id))
        return founder, customer, participants, founder.client.cooperative(cooperative_id)

    # ---- Rounds ----

    def _train(self, founder, participants, cooperative, world):
        from demo import agents, training
        from demo.results import round_result
        settings, display = self._settings, self._display
        display.step(f"training: {settings.rounds} rounds of an MLP 784-256-128-10")
        self._watch = watch = agents.RoundWatch(cooperative)
        board = agents.Board(settings.members)
        watch.start()
        start = next(c for c in founder.client.transport.pages(
            "attribution", "ListCheckpoints", _list_checkpoints(cooperative.id), "checkpoints")
            if c.version == 0)
        _, first = training.evaluate(cooperative.checkpoint(start.sha256), world.test)
        display.note(f"before training the model knows {first:.1%} of the test images")
        self._workers = [agents.AgentWorker(p, settings, watch, board, self._trainers,
                                            display.note) for p in participants]
        display.follow(lambda: self._status(watch, board))
        for worker in self._workers:
            worker.start()
        found = []
        for number in range(1, settings.rounds + 1):
            self._wait_for_round(watch, number)
            round_ = next(r for r in cooperative.rounds() if r.number == number)
            sha256 = round_.next_sha256 or round_.base_sha256
            _, accuracy = training.evaluate(cooperative.checkpoint(sha256), world.test)
            found.append(round_result(round_, sha256, accuracy))
            self._tell(round_, found[-1], board)
        for worker in self._workers:
            worker.join(timeout=30)
        self._raise_errors()
        watch.stop()
        display.follow(None)
        return [r for r in cooperative.rounds() if r.number <= settings.rounds], (first, found)

    def _wait_for_round(self, watch, number: int) -> None:
        from demo import agents
        try:
            watch.wait(number, agents.CLOSED)
        except agents.Stopped:
            self._raise_errors()
            raise DemoFailed(f"round {number} did not close") from None
        except agents.Stalled:
            self._server.check()
            raise

    def _raise_errors(self) -> None:
        for worker in self._workers:
            if worker.error is not None:
                self._server.check()
                raise DemoFailed(f"{worker.member.name}'s agent failed: "
                                 f"{type(worker.error).__name__}: {worker.error}") \
                    from worker.error

    def _status(self, watch, board) -> str:
        from rochdale.rounds import round_state_name
        newest, total = watch.newest, self._settings.rounds
        if newest is None:
            return ""
        part = (newest.number - 1 + min(newest.state, 7) / 8) / total
        state = round_state_name(newest).lower()
        return (f"round {newest.number}/{total} {bar(part)} {state:<9} agents [{board.marks()}]"
                "  t: trains  c: committed  r: revealed")

    def _tell(self, round_, result, board) -> None:
        # The agents look a moment later than we do.
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not all(
                (round_.number, m.index) in board.final for m in board.members):
            time.sleep(0.05)
        refused = [f"{m.name} ({board.final[(round_.number, m.index)][1]})"
                   for m in board.members
                   if board.final.get((round_.number, m.index), (None,))[0] == "REJECTED"]
        loss = "-" if result.validation_loss is None else f"{result.validation_loss:.3f}"
        text = (f"round {round_.number}: validation loss {loss}, test accuracy "
                f"{result.test_accuracy:.1%}; {round_.admitted} admitted, {round_.applied} applied")
        if not result.closed:
            text = f"round {round_.number}: abandoned ({round_.reason})"
        self._display.note(text + (f"; refused: {', '.join(refused)}" if refused else ""))

    # ---- Money and proofs ----

    def _collect(self, participants, world, rounds, trained):
        from demo import results
        first, found = trained
        members = [results.member_result(p, world.shards.get(p.member.index), rounds)
                   for p in participants]
        return results.Result(settings=self._settings, rounds=found, members=members,
                              first_accuracy=first, resumed=self._plan.resumed,
                              log_key=self._server.log_key)

    def _settle(self, founder, customer, participants, result) -> None:
        from demo import results
        from rochdale import protos
        plan, cooperative = self._plan, founder.client.cooperative()
        tokens = knobs.REVENUE_MICROTOKENS / 1e6
        self._display.step(f"a customer pays {tokens:,.0f} tokens; the epoch closes")
        pool = founder.client.transport.call("payout", "GetPool", protos.payout.GetPoolRequest(
            pool_id=plan.id("revenue-pool"))).pool
        account = next(p.account_id for p in cooperative.info.pool_accounts
                       if p.name == "customer")
        plan.once("revenue", lambda: customer.admin.transfer(
            account, pool.account_id, knobs.REVENUE_MICROTOKENS, "REVENUE",
            "use of the fashion model", transfer_id=plan.id("revenue-transfer")))
        plan.once("epoch", lambda: founder.admin.close_epoch(
            pool.pool_id, 1, self._settings.rounds, epoch_id=plan.id("epoch"), wait=False))
        epoch = founder.admin.wait_for_settlement(plan.id("epoch"), timeout=120)
        result.revenue_microtokens = epoch.revenue_microtokens
        for member, participant in zip(result.members, participants):
            results.add_payment(member, participant, epoch.epoch_id)
        self._display.note(f"{epoch.paid_microtokens / 1e6:,.6f} of "
                           f"{epoch.revenue_microtokens / 1e6:,.6f} tokens paid to "
                           f"{epoch.recipients} recipients; everyone has a statement")

    def _prove(self, founder, participants, result) -> None:
        from demo import evidence, people
        from rochdale.rounds import Update
        settings, display, out = self._settings, self._display, self._settings.out
        display.step("proofs: receipts, evidence bundle, the offline auditor")
        for member, participant in zip(result.members, participants):
            if member.updates:
                result.receipts += 1
                update = Update.of(participant.agent, member.updates[-1].update_id)
                result.receipts_verified += bool(participant.agent.verify(update.receipt))
        display.note(f"{result.receipts_verified} of {result.receipts} members' receipts verify "
                     "under the log's key")
        bundle, copy = out / "evidence", out / "evidence-tampered"
        result.bundle = bundle.name
        summary = evidence.write_bundle(founder.client, people.SLUG, bundle, lambda text: None)
        result.bundle_summary = str(summary).splitlines()[0].replace(str(bundle), bundle.name)
        display.note(result.bundle_summary)
        program = settings.programs / "rochdale-verify"
        result.verification.append(evidence.verify_bundle(program, bundle, result.log_key))
        display.note(f"rochdale-verify: {result.verification[-1].detail}")
        file, place, bit = evidence.change_one_bit(bundle, copy, settings.seed)
        result.tampered = f"bit {bit} of byte {place:,} of {file}"
        result.verification.append(
            evidence.verify_tampered(program, copy, result.log_key, file))
        display.note(f"on a copy with {result.tampered} changed: "
                     f"{result.verification[-1].detail}")
        evidence.clear(copy)
        self._walk(bundle, result)

    def _walk(self, bundle: Path, result) -> None:
        from demo import evidence
        paid = max(result.members, key=lambda m: m.payment_microtokens)
        self._display.step(f"from {paid.name}'s payment back to a signature "
                           f"(rochdale audit chain --payment {paid.transfer_id})")
        verified, result.chain_text, result.chain_summary = evidence.walk_chain(
            bundle, result.log_key, paid.transfer_id)
        result.verification.append(verified)
        for line in result.chain_summary:
            self._display.note(line)
        (self._settings.out / "chain.txt").write_text(result.chain_text + "\n", encoding="utf-8")

    # ---- The way out ----

    def close(self) -> None:
        """Stops everything, whatever state it is in."""
        self._display.follow(None)
        if self._watch is not None:
            self._watch.stop()
        if self._trainers is not None:
            self._trainers.close()
        for worker in self._workers:
            worker.join(timeout=2)
        for person in self._people:
            person.close()
        if self._server is not None:
            self._server.stop()
        if self._plan is not None:
            self._plan.close()
            if self.finished and not self._settings.keep_data:
                shutil.rmtree(self.data, ignore_errors=True)


def _list_checkpoints(cooperative_id: str):
    from rochdale import protos
    return protos.attribution.ListCheckpointsRequest(cooperative_id=cooperative_id)


def _short(text: str, chars: int = FIGURE_CHARS) -> str:
    return text if len(text) <= chars else text[:chars - 1] + "…"


def show(result, out: Path, display: Display) -> None:
    """The table of the end and the check list."""
    revenue = result.revenue_microtokens or 1
    rows = [[m.name, m.role, len(m.updates), m.count("admitted"), m.count("projected"),
             m.count("refused"), m.applied, f"{m.credit_nanonats / 1e9:.6f}",
             f"{m.payment_microtokens / 1e6:,.6f}", f"{m.payment_microtokens / revenue:.1%}"]
            for m in result.members]
    rows.append(["", "", "", "", "", "", "", "", f"{result.payments_microtokens / 1e6:,.6f}", ""])
    display.say()
    display.say(table(["member", "role", "updates", "admitted", "projected", "refused", "applied",
                       "credit (nats)", "tokens", "share"], rows, set(range(2, 10))))
    display.say()
    marks = [["✓" if c.ok else "✗", c.name, _short(c.figure), c.target] for c in result.checks]
    display.say(table(["", "check", "found", "target"], marks))
    display.say()
    display.say(f"report: {out / 'report.html'}    figures: {out / 'report.json'}")


def main(argv=None) -> int:
    settings = knobs.parse(argv)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    display = Display(sys.stdout)
    demo, failure = None, None
    try:
        demo = Demo(settings, display)
        settings.out.mkdir(parents=True, exist_ok=True)
        result = demo.run()
    except Interrupted as stop:
        failure = f"stopped by {stop}"
    except Exception as error:  # noqa: BLE001  every failure ends the demo in order
        failure = f"{type(error).__name__}: {error}"
        if os.environ.get("ROCHDALE_DEMO_TRACE"):
            import traceback
            failure += "\n" + traceback.format_exc()
    try:
        if demo is not None:
            demo.close()
    except BaseException as error:  # noqa: BLE001
        failure = failure or f"stopping failed: {error}"
    if failure is not None:
        display.close()
        print(f"demo: {failure}", file=sys.stderr)
        if demo is not None and (demo.data / "plan.json").exists():
            print(f"demo: what was done is kept in {demo.data}; --resume goes on with it",
                  file=sys.stderr)
        return 130 if failure.startswith("stopped by") else 1
    return finish(result, settings, display)


def finish(result, settings, display) -> int:
    """Checks, table and reports. Returns the exit status."""
    from demo import checks, report, results
    result.checks = checks.evaluate(result)
    results.write_report_json(result, settings.out / "report.json")
    report.write(result, settings.out / "report.html")
    show(result, settings.out, display)
    display.close()
    failed = [c.name for c in result.checks if not c.ok]
    if failed:
        print(f"demo: {len(failed)} of {len(result.checks)} checks FAILED: {'; '.join(failed)}",
              file=sys.stderr)
        return 1
    print(f"{len(result.checks)} of {len(result.checks)} checks hold "
          f"({result.wall_seconds:.0f} s)")
    return 0
