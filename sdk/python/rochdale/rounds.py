"""Taking part in a round: join, train, commit, upload, reveal, and see what became of it.

Every step may be repeated: ids follow from the agent's key and the round, the server answers a
repeated request once, and with a state_dir a restarted program goes on with the very bytes and
signature that it had committed to.
"""

import datetime
import time

from rochdale import documents, errors, explain as words, protos, safetensors, tensors, uploads
from rochdale.journal import Journal, Submission

_ROUND = protos.attribution.RoundState
OPEN, COMMIT, REVEAL = (_ROUND.Value("ROUND_STATE_" + s) for s in ("OPEN", "COMMIT", "REVEAL"))
CLOSED, ABANDONED = (_ROUND.Value("ROUND_STATE_" + s) for s in ("CLOSED", "ABANDONED"))
_COMMITTED, _UPLOADING = (words.STATES.Value("UPDATE_STATE_" + s)
                          for s in ("COMMITTED", "UPLOADING"))

JOIN_SECONDS = 3600.0
WAIT_SECONDS = 3600.0
POLL_SECONDS = (0.2, 1.0)  # first, longest
WATCH_SECONDS = 30.0


def round_state_name(round_) -> str:
    return _ROUND.Name(round_.state).removeprefix("ROUND_STATE_")


def accepts_joining(round_, after: int) -> bool:
    """Whether an agent may start on this round: open, prepared, and later than `after`."""
    return round_.state == OPEN and round_.deadline_us != 0 and round_.number > after


class Poll:
    """Pauses that grow, until a deadline."""

    def __init__(self, timeout: float, clock=time.monotonic):
        self._clock, self._end, self._pause = clock, clock() + timeout, POLL_SECONDS[0]

    def next_pause(self) -> float | None:
        """Seconds to sleep before looking again; None once the time is over."""
        left = self._end - self._clock()
        if left <= 0:
            return None
        pause, self._pause = min(self._pause, left), min(self._pause * 1.3, POLL_SECONDS[1])
        return max(pause, 0.01)


# ---- What is sent: shared by the synchronous and the asynchronous client ----


def make_submission(key, agent_id: str, round_, base: dict, state=None, delta=None,
                    sample_count: int = 1) -> Submission:
    """Signs a commitment to what training changed: give either `state` (the parameters after
    training) or `delta`. ValueError where it does not fit the model."""
    if (state is None) == (delta is None):
        raise ValueError("give the trained state or a delta, not both")
    if not agent_id:
        raise ValueError("only agents submit: connect with identity=\"agent:<uuid>\"")
    if not 1 <= sample_count <= 10**9:
        raise ValueError("sample_count is 1 to 10^9")
    arrays = tensors.delta_of(state, base) if delta is None else tensors.check_delta(
        tensors.to_arrays(delta), base)
    blob = tensors.delta_blob(arrays)
    digest = uploads.sha256(blob)
    update_id = key.derived_id("update", round_.round_id, agent_id, digest)
    commitment = protos.filter.UpdateCommitment(
        update_id=update_id, round_id=round_.round_id, agent_id=agent_id,
        base_sha256=round_.base_sha256, update_sha256=digest, size_bytes=len(blob),
        sample_count=sample_count, signed_time_us=documents.now_us())
    return Submission(update_id, blob, documents.sign(key, commitment))


def commit_request(key, submission: Submission):
    request_id = key.derived_id("commit", documents.digest(submission.commitment))
    return protos.filter.CommitUpdateRequest(request_id=request_id,
                                             commitment=submission.commitment)


def reveal_request(key, update_id: str):
    return protos.filter.RevealUpdateRequest(request_id=key.derived_id("reveal", update_id),
                                             update_id=update_id)


def is_mine(error: errors.RochdaleError) -> bool:
    """Whether a refused commitment may be one of ours that arrived before: worth a look."""
    return error.reason in ("UPDATE_EXISTS", "ALREADY_EXISTS", "REQUEST_ID_REUSED",
                            "ROUND_NOT_ACCEPTING")


def check_reveal(round_, update) -> str:
    """"reveal", "wait", or "done" where the update was revealed before. Raises where it is too
    late."""
    if update.state not in (_COMMITTED, _UPLOADING):
        return "done"
    if round_.state == ABANDONED:
        raise errors.RoundUnavailable(f"round {round_.number} was abandoned: {round_.reason}",
                                      reason="NOT_APPLIED_ABANDONED", code="FAILED_PRECONDITION")
    if round_.state > REVEAL:
        raise errors.RoundUnavailable(
            f"round {round_.number} went on to {round_state_name(round_)} before the update was "
            "revealed", reason="ROUND_NOT_ACCEPTING", code="FAILED_PRECONDITION")
    return "reveal" if round_.state == REVEAL else "wait"


# ---- The synchronous client ----


class RoundHandle:
    """The rounds of a cooperative, as a place to join."""

    def __init__(self, cooperative):
        self._cooperative = cooperative

    def join(self, timeout: float = JOIN_SECONDS, after: int | None = None) -> "Task":
        """Waits for an open round that this client has not submitted to yet and returns its task.
        `after`: only a round with a larger number. RoundUnavailable after `timeout` seconds."""
        cooperative, poll = self._cooperative, Poll(timeout)
        after = cooperative.submitted_round if after is None else after
        seen = None
        while True:
            try:
                seen = cooperative.current_round()
                if accepts_joining(seen, after):
                    return Task(cooperative, seen)
            except (errors.NotFound, errors.Unavailable):
                pass  # training has not started, or the server is being restarted
            pause = poll.next_pause()
            if pause is None:
                what = (f"the newest is {seen.number}, {round_state_name(seen)}"
                        if seen is not None else "training has not started")
                raise errors.RoundUnavailable(
                    f"no round opened within {timeout:.0f} s: {what}", code="DEADLINE_EXCEEDED")
            time.sleep(pause)


class Task:
    """One round to work on: its checkpoint, its rules, its deadline."""

    def __init__(self, cooperative, round_):
        self.cooperative, self.round = cooperative, round_
        self._client = cooperative.client
        self._base = None

    @property
    def number(self) -> int:
        return self.round.number

    @property
    def deadline(self) -> datetime.datetime:
        """Until when commitments are accepted."""
        return datetime.datetime.fromtimestamp(self.round.deadline_us / 1e6, datetime.timezone.utc)

    @property
    def rules(self) -> list:
        """The floor: rules that bind every update (common.v1.Rule)."""
        return list(self.cooperative.info.floor)

    @property
    def base(self) -> dict:
        """The base checkpoint, F32 numpy arrays by name."""
        if self._base is None:
            self._base = safetensors.load(
                self.cooperative.checkpoint_bytes(self.round.base_sha256))
        return self._base

    def checkpoint(self, framework: str | None = None) -> dict:
        """A copy of the base checkpoint's parameters, for load_state_dict: torch tensors where the
        program uses torch (or framework="torch"), else numpy arrays."""
        return tensors.in_framework(self.base, framework)

    def prepare(self, state=None, *, delta=None, sample_count: int = 1) -> Submission:
        """Signs the commitment and sends nothing. See submit."""
        return make_submission(self._client.key, self._client.agent_id, self.round, self.base,
                               state, delta, sample_count)

    def resume(self, **options) -> "Update | None":
        """Goes on with what this agent committed to before a restart (needs a state_dir); None
        where there is nothing."""
        submission = self._journal().load()
        return None if submission is None else self._submit(submission, **options)

    def submit(self, state=None, *, delta=None, sample_count: int = 1, progress=None,
               reveal: bool = True, upload_early: bool = False,
               timeout: float = WAIT_SECONDS) -> "Update":
        """Commits to what training changed, waits until commitments are closed, uploads, reveals.

        Nobody, the operator included, sees the update while something made of it could still be
        committed to.

        state         parameters after training: a state dict of PyTorch, or arrays by name
        delta         instead of state: the change itself, by name
        sample_count  number of training samples behind it
        progress      called with (bytes done, bytes in all) while uploading
        reveal        False: upload early and return; call update.reveal() later
        upload_early  upload right after committing, where the upload might not fit into the time
                      for reveals; whoever runs the filter then has it before all others commit

        What a state_dir holds for this round, from before a restart, goes instead of `state`.
        """
        submission = self._journal().load()
        if submission is None:
            submission = self.prepare(state, delta=delta, sample_count=sample_count)
        return self._submit(submission, progress, reveal, upload_early, timeout)

    def _journal(self) -> Journal:
        return Journal(self._client.state_dir, self._client.agent_id, self.round.round_id)

    def _submit(self, submission: Submission, progress=None, reveal: bool = True,
                upload_early: bool = False, timeout: float = WAIT_SECONDS) -> "Update":
        client = self._client
        self._journal().save(submission)
        try:
            update = Update(client, self._commit(submission), self.round)
        except errors.RochdaleError as error:
            if not isinstance(error, (errors.Unavailable, errors.DeadlineExceeded)):
                self._journal().forget()
            raise
        self.cooperative.submitted_round = max(self.cooperative.submitted_round, self.number)
        hold_back = reveal and not upload_early
        if hold_back and update.wait_for_reveal(timeout) == "done":
            self._journal().forget()
            return update
        uploads.upload(client.transport, "filter", client.key, "update", submission.blob, progress)
        if reveal:
            update.reveal(timeout)
            self._journal().forget()
        return update

    def _commit(self, submission: Submission):
        transport = self._client.transport
        try:
            return transport.call("filter", "CommitUpdate",
                                  commit_request(self._client.key, submission)).update
        except errors.RochdaleError as error:
            if not is_mine(error):
                raise
            try:
                known = get_update(transport, submission.update_id)
            except errors.RochdaleError:
                known = None
            if known is None or known.update_sha256 != submission.sha256:
                raise
            return known


def get_update(transport, update_id: str):
    return transport.call("filter", "GetUpdate",
                          protos.filter.GetUpdateRequest(update_id=update_id)).update


class Update:
    """An update of this client: where it stands, why, what it earned, and the proofs."""

    def __init__(self, client, proto, round_=None):
        self._client, self.proto, self._round = client, proto, round_

    @classmethod
    def of(cls, client, update_id: str) -> "Update":
        return cls(client, get_update(client.transport, update_id))

    @property
    def id(self) -> str:
        return self.proto.update_id

    @property
    def state(self) -> str:
        """"COMMITTED", ..., "ADMITTED", "PROJECTED", "REJECTED", "APPLIED", ..."""
        return words.state_name(self.proto)

    def refresh(self) -> "Update":
        self.proto = get_update(self._client.transport, self.id)
        return self

    def _round_now(self):
        self._round = self._client.transport.call(
            "attribution", "GetRound",
            protos.attribution.GetRoundRequest(round_id=self.proto.round_id)).round
        return self._round

    def reveal(self, timeout: float = WAIT_SECONDS) -> "Update":
        """Waits for the round's REVEAL and reveals. Repeating it is harmless."""
        self._wait_for_reveal(timeout, lambda: self._client.transport.call(
            "filter", "RevealUpdate", reveal_request(self._client.key, self.id)).update)
        return self

    def wait_for_reveal(self, timeout: float = WAIT_SECONDS) -> str:
        """Waits for the round's REVEAL: "reveal", or "done" where it was revealed before."""
        return self._wait_for_reveal(timeout, lambda: self.proto)

    def _wait_for_reveal(self, timeout: float, then) -> str:
        poll = Poll(timeout)
        while True:
            try:
                step = check_reveal(self._round_now(), self.refresh().proto)
                if step == "reveal":
                    self.proto = then()
                if step != "wait":
                    return step
            except errors.Unavailable:
                pass  # the server is being restarted
            pause = poll.next_pause()
            if pause is None:
                raise errors.DeadlineExceeded(f"update {self.id} could not be revealed within "
                                              f"{timeout:.0f} s", code="DEADLINE_EXCEEDED")
            time.sleep(pause)

    def wait(self, until: str = "final", timeout: float = WAIT_SECONDS) -> "Update":
        """Waits until the update is "decided" by the filter, or (by default) "final": rejected,
        applied or not applied. DeadlineExceeded after `timeout` seconds."""
        if until not in ("decided", "final"):
            raise ValueError("wait until \"decided\" or \"final\"")
        wanted = words.FINAL if until == "final" else words.DECIDED
        poll = Poll(timeout)
        while not self._has_reached(wanted):
            pause = poll.next_pause()
            if pause is None:
                raise errors.DeadlineExceeded(
                    f"update {self.id} is {self.state} after {timeout:.0f} s",
                    code="DEADLINE_EXCEEDED")
            time.sleep(pause)
        return self

    def _has_reached(self, wanted) -> bool:
        try:
            if self.refresh().proto.state in wanted:
                return True
            # An abandoned round leaves its updates where they were.
            if self._round_now().state == ABANDONED:
                self.refresh()
                return True
        except errors.Unavailable:
            pass  # the server is being restarted
        return False

    def decision(self):
        """The admission decision (filter.v1.Decision), or None before there is one."""
        try:
            return self._client.transport.call(
                "filter", "GetDecision",
                protos.filter.GetDecisionRequest(update_id=self.id)).decision
        except errors.NotFound:
            return None

    def credit(self):
        """The credit (attribution.v1.Credit), or None where there is none."""
        request = protos.attribution.ListCreditsRequest(
            cooperative_id=self.proto.cooperative_id, round_id=self.proto.round_id,
            principal_id=self.proto.principal_id)
        for credit in self._client.transport.pages("attribution", "ListCredits", request,
                                                   "credits"):
            if credit.update_id == self.id:
                return credit
        return None

    def explain(self) -> str:
        """Admitted, projected or rejected, and why, in words."""
        text = words.explain(self.proto, self.decision(), self.credit())
        if self._round is not None and self._round.state == ABANDONED:
            text += f"\n  round {self._round.number} was abandoned: {self._round.reason}"
        return text

    @property
    def event_ids(self) -> dict:
        """Log entries about the update, by step: commitment, decision, credit."""
        self.refresh()
        credit = self.credit()
        ids = {"commitment": self.proto.commitment_entry.event_id,
               "decision": self.proto.decision_entry.event_id,
               "credit": credit.entry.event_id if credit is not None else ""}
        return {step: event for step, event in ids.items() if event}

    @property
    def receipt(self):
        """The proof that the last step (credit, else decision, else commitment) is in the log.
        Waits while that entry is on its way there."""
        ids = self.event_ids
        if not ids:
            raise errors.NotFound(f"update {self.id} has no log entry yet", code="NOT_FOUND")
        return self._client.receipt(list(ids.values())[-1])

    def receipts(self) -> dict:
        """The proofs of all steps."""
        return {step: self._client.receipt(event) for step, event in self.event_ids.items()}
