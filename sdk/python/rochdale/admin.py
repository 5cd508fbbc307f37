"""What principals and founders do. Every method signs a document with the client's key and sends
it; the document's digest and signature go into the log.

    alice = rochdale.connect(target, key=KeyPair.generate())
    alice.admin.register_principal("Alice")          # the client is now principal:<id>
    agent_key = KeyPair.generate()
    agent = alice.admin.register_agent(agent_key, "Alice's agent")
    alice.admin.request_membership("demo")
    founder.admin.approve_membership(alice.principal_id, "demo")
    alice.admin.consent("demo")
    alice.admin.grant_mandate(agent.agent_id, "demo")
"""

import hmac
import secrets
import time
import unicodedata
import uuid

from rochdale import documents, errors, protos, tensors, uploads

gov, flt, att = protos.governance, protos.filter, protos.attribution
pay, rul = protos.payout, protos.rule

YEAR_SECONDS = 365 * 24 * 3600
SETTLE_SECONDS = 600.0


def new_id() -> str:
    return str(uuid.uuid4())


def owner_id(key: bytes, identity: str) -> str:
    """A verifier's id of a person or enterprise: HMAC-SHA256 of its verified identity (what is
    the same whoever asks for it: say country, register and number), in Unicode form NFKC without
    spaces around it. The same identity and key give the same id; without the key, of at least 32
    bytes, an id says nothing. Verifiers of one network share the key: an owner whom two of them
    know by different ids would be two."""
    if len(key) < 32:
        raise ValueError("the key needs at least 32 bytes")
    name = unicodedata.normalize("NFKC", identity).strip()
    if not name:
        raise ValueError("the identity is empty")
    return hmac.new(key, name.encode(), "sha256").hexdigest()


def rule(rule_id: str, kind: str, mode: str = "UNSPECIFIED", probe_ids=(), eps_nanonats: int = 0,
         bound_micro: int = 0, explanation: str = ""):
    """A typed rule: kind is INTEGRITY, MAGNITUDE, AUTHORITY, ORIGINALITY, VALUE_DIRECTION,
    VALUE_EFFECT, GROUP_HARM or FIT; mode REFUSE, PROJECT or REVIEW (or the kind's default). In a
    floor, a VALUE_EFFECT of mode REFUSE or REVIEW also bounds the round's step as a whole."""
    return rul.Rule(id=rule_id, kind="RULE_KIND_" + kind, mode="RULE_MODE_" + mode,
                    probe_ids=probe_ids, eps_nanonats=eps_nanonats, bound_micro=bound_micro,
                    explanation=explanation)


def pool(name: str, amount_microtokens: int, owner=b""):
    """An account that the genesis funds; owner: the principal's public key, else the
    cooperative's own."""
    owner = getattr(owner, "public_key", owner)
    return gov.GenesisPool(name=name, amount_microtokens=amount_microtokens,
                           owner_public_key=owner if isinstance(owner, str) else owner.hex())


def preferences(scenario: str, criteria):
    """Weights in one scenario; criteria: (probe id, weight in basis points, scale in nano-nats);
    weights sum to 10,000."""
    return flt.ScenarioPreferences(scenario=scenario, criteria=[
        flt.Criterion(probe_id=probe, weight_bp=weight, scale_nanonats=scale)
        for probe, weight, scale in criteria])


class Admin:
    """The acts of one principal (client.admin). Each returns the message the service answered."""

    def __init__(self, client):
        if client.key is None:
            raise ValueError("people sign what they do: connect with a key")
        self._client, self._key, self._transport = client, client.key, client.transport

    def sign(self, message) -> "protos.common.SignedDocument":
        return documents.sign(self._key, message)

    def _call(self, service, method, request, **kw):
        request.request_id = new_id()
        return self._transport.call(service, method, request, **kw)

    def _cooperative_id(self, cooperative) -> str:
        return getattr(cooperative, "id", None) or self._client.cooperative(cooperative).id

    # ---- Registry ----

    def register_principal(self, display_name: str, kind: str = "PERSON", principal_id=None):
        """Registers this key as a principal (PERSON or ENTERPRISE); the client acts as it from
        then on. Repeating it with a key that is registered already raises KEY_IN_USE."""
        document = self.sign(gov.PrincipalRegistration(
            principal_id=principal_id or new_id(), kind="PRINCIPAL_KIND_" + kind,
            display_name=display_name, signed_time_us=documents.now_us(),
            salt=secrets.token_hex(32)))
        response = self._call("governance", "RegisterPrincipal",
                              gov.RegisterPrincipalRequest(registration=document))
        self._client.identify("principal:" + response.principal.principal_id)
        return response.principal

    def register_agent(self, agent_key, display_name: str, agent_id=None):
        """Registers an agent of this principal; agent_key proves that it is the agent's."""
        agent_id, principal_id = agent_id or new_id(), self._client.principal_id
        proof = agent_key.sign(f"rochdale-agent:{agent_id}:{principal_id}".encode())
        document = self.sign(gov.AgentRegistration(
            agent_id=agent_id, principal_id=principal_id, public_key=agent_key.public_hex,
            proof_of_possession=proof.hex(), display_name=display_name,
            signed_time_us=documents.now_us()))
        return self._call("governance", "RegisterAgent",
                          gov.RegisterAgentRequest(registration=document)).agent

    def set_agent_pause(self, agent_id: str, paused: bool = True, reason: str = ""):
        document = self.sign(gov.AgentPause(agent_id=agent_id, paused=paused, reason=reason,
                                            signed_time_us=documents.now_us()))
        return self._call("governance", "SetAgentPause",
                          gov.SetAgentPauseRequest(pause=document)).agent

    def attest_kyc(self, principal_id: str, level: int, seconds: int = YEAR_SECONDS,
                   signed_time_us=None, wait: bool = True, beneficial_owners=()):
        """By a registered verifier (a founder of the network's first cooperative, where the
        operator named no others): what the principal may do from now on, for `seconds`. Level 0
        receives only; 1, 2 and 3 send 100 tokens a day, 10,000, any number (by default). A later
        attestation replaces it; one signed earlier raises KYC_ATTESTATION_STALE. With wait: returns
        once the ledger knows it: a transfer that came before would be refused for good.
        beneficial_owners: who owns the principal in truth, at most 16 ids of 64 lower-case
        hexadecimal digits (owner_id makes them), the same for the same person in every
        attestation. Principals that share one are one lineage: one update of theirs counts in a
        round. They stand until another attestation, expired or not. Returns the Principal."""
        signed = documents.now_us() if signed_time_us is None else signed_time_us
        document = self.sign(gov.KycAttestation(
            principal_id=principal_id, level=level, signed_time_us=signed,
            expires_us=signed + seconds * 1_000_000, beneficial_owners=beneficial_owners))
        principal = self._call("governance", "AttestKyc",
                               gov.AttestKycRequest(attestation=document)).principal
        if wait:
            self._client.money.wait_until_logged(principal.kyc_entry.event_id)
        return principal

    # ---- Membership and mandates ----

    def request_membership(self, cooperative=None):
        document = self.sign(gov.MembershipApplication(
            cooperative_id=self._cooperative_id(cooperative),
            principal_id=self._client.principal_id, signed_time_us=documents.now_us()))
        return self._call("governance", "RequestMembership",
                          gov.RequestMembershipRequest(application=document)).member

    def approve_membership(self, principal_id: str, cooperative=None):
        """By a founder."""
        document = self.sign(gov.MembershipApproval(
            cooperative_id=self._cooperative_id(cooperative), principal_id=principal_id,
            signed_time_us=documents.now_us()))
        return self._call("governance", "ApproveMembership",
                          gov.ApproveMembershipRequest(approval=document)).member

    def consent(self, cooperative=None, rules_version=None, rules_sha256=None):
        """Consents to the rules as they stand, or to the version and digest that were read."""
        cooperative_id = self._cooperative_id(cooperative)
        if rules_version is None or rules_sha256 is None:
            info = self._transport.call("governance", "GetCooperative", gov.GetCooperativeRequest(
                cooperative_id=cooperative_id)).cooperative
            rules_version, rules_sha256 = info.rules_version, info.rules_sha256
        document = self.sign(gov.RuleConsent(
            cooperative_id=cooperative_id, principal_id=self._client.principal_id,
            rules_version=rules_version, rules_sha256=rules_sha256,
            signed_time_us=documents.now_us()))
        return self._call("governance", "ConsentToRules",
                          gov.ConsentToRulesRequest(consent=document)).member

    def leave(self, cooperative=None):
        document = self.sign(gov.MembershipWithdrawal(
            cooperative_id=self._cooperative_id(cooperative),
            principal_id=self._client.principal_id, signed_time_us=documents.now_us()))
        return self._call("governance", "LeaveCooperative",
                          gov.LeaveCooperativeRequest(withdrawal=document)).member

    def grant_mandate(self, agent_id: str, cooperative=None, actions=("SUBMIT_UPDATE",),
                      seconds: int = YEAR_SECONDS, consents_to_publication: bool = False,
                      mandate_id=None, **limits):
        """Lets an agent act until `seconds` from now; replaces the agent's earlier mandate here.
        `limits`: further fields of the Mandate. With the action SPEND those are
        budget_per_day_microtokens and budget_total_microtokens (without them nothing may be spent),
        and counterparty_account_ids (without them: any)."""
        now = documents.now_us()
        document = self.sign(gov.Mandate(
            mandate_id=mandate_id or new_id(), cooperative_id=self._cooperative_id(cooperative),
            principal_id=self._client.principal_id, agent_id=agent_id,
            actions=["MANDATE_ACTION_" + a for a in actions], not_before_us=now,
            expires_us=now + seconds * 1_000_000, consents_to_publication=consents_to_publication,
            **limits))
        return self._call("governance", "GrantMandate",
                          gov.GrantMandateRequest(mandate=document)).mandate

    def revoke_mandate(self, mandate_id: str):
        document = self.sign(gov.MandateRevocation(mandate_id=mandate_id,
                                                   signed_time_us=documents.now_us()))
        return self._call("governance", "RevokeMandate",
                          gov.RevokeMandateRequest(revocation=document)).mandate

    # ---- Values ----

    def register_probe(self, name: str, inputs, labels, cooperative=None, probe_id=None,
                       protected: bool = False, of_cooperative: bool = False, progress=None):
        """Uploads labelled rows (inputs U8 [N, D], labels U8 [N]) and registers them as a probe of
        this principal, or (by a founder) of the cooperative."""
        digest = uploads.upload(self._transport, "filter", self._key, "probe",
                                tensors.dataset_blob(inputs, labels), progress)
        document = self.sign(flt.Probe(
            probe_id=probe_id or new_id(), cooperative_id=self._cooperative_id(cooperative),
            principal_id="" if of_cooperative else self._client.principal_id, name=name,
            data_sha256=digest, protected=protected))
        return self._call("filter", "RegisterProbe",
                          flt.RegisterProbeRequest(registration=document)).probe

    def set_profile(self, cooperative=None, preferences=(), constraints=(), focus=(),
                    fit_threshold_micro: int = 0, explanation: str = "", version=None):
        """Signs a value profile: preferences per scenario (see preferences()), hard constraints
        (see rule()). Without a version: one more than the last."""
        cooperative_id = self._cooperative_id(cooperative)
        if version is None:
            version = self._profile_version(cooperative_id) + 1
        document = self.sign(flt.ValueProfile(
            cooperative_id=cooperative_id, principal_id=self._client.principal_id,
            version=version, focus=focus, preferences=preferences, constraints=constraints,
            fit_threshold_micro=fit_threshold_micro, explanation=explanation,
            signed_time_us=documents.now_us()))
        return self._call("filter", "SetProfile", flt.SetProfileRequest(profile=document))

    def _profile_version(self, cooperative_id: str) -> int:
        try:
            return self._transport.call("filter", "GetProfile", flt.GetProfileRequest(
                cooperative_id=cooperative_id)).version
        except errors.RochdaleError as error:
            if error.reason in ("PROFILE_MISSING", "NOT_FOUND"):
                return 0
            raise

    # ---- Founding and training ----

    def found_cooperative(self, name: str, slug: str, founders=(), threshold: int = 1,
                          parameters=None, floor=(), pools=(), cooperative_id=None):
        """Founds a cooperative. founders: KeyPairs that sign besides this client's key;
        parameters: name -> value; floor: see rule(); pools: see pool()."""
        signers = [self._key, *founders]
        genesis = gov.Genesis(
            cooperative_id=cooperative_id or new_id(), name=name, slug=slug,
            founder_public_keys=[k.public_hex for k in signers], founder_threshold=threshold,
            parameters=[gov.ParameterValue(name=n, value=_text(v))
                        for n, v in sorted((parameters or {}).items())],
            floor=floor, pools=pools, signed_time_us=documents.now_us())
        request = gov.FoundCooperativeRequest(
            genesis=[documents.sign(key, genesis) for key in signers])
        return self._call("governance", "FoundCooperative", request).cooperative

    def change_parameter(self, name: str, value, reason: str, cooperative=None, founders=()):
        """By as many founders as the genesis asks for."""
        cooperative_id = self._cooperative_id(cooperative)
        version = self._transport.call("governance", "GetParameters", gov.GetParametersRequest(
            cooperative_id=cooperative_id)).version
        change = gov.ParameterChange(
            cooperative_id=cooperative_id, value=gov.ParameterValue(name=name, value=_text(value)),
            expected_version=version, reason=reason, signed_time_us=documents.now_us())
        request = gov.ChangeParameterRequest(
            change=[documents.sign(key, change) for key in (self._key, *founders)])
        return self._call("governance", "ChangeParameter", request).change

    def register_module(self, module: bytes, cooperative=None, progress=None) -> str:
        """Uploads a TorchScript module (what torch.jit.save writes) and registers its digest, so
        that it can be the cooperative's model. Returns the digest."""
        digest = uploads.upload(self._transport, "attribution", self._key, "module", module,
                                progress)
        self._say_of_module(digest, False, cooperative)
        return digest

    def withdraw_module(self, digest: str, cooperative=None) -> None:
        """The digest is registered no longer: rounds of such a model do not open."""
        self._say_of_module(digest, True, cooperative)

    def _say_of_module(self, digest: str, withdraws: bool, cooperative) -> None:
        document = self.sign(att.ModuleRegistration(
            cooperative_id=self._cooperative_id(cooperative), module_sha256=digest,
            withdraws=withdraws, signed_time_us=documents.now_us()))
        self._call("attribution", "RegisterModule",
                   att.RegisterModuleRequest(registration=document))

    def create_model(self, layer_sizes=(), kind: str = "MLP", init_seed: int = 1,
                     cooperative=None, *, image=None, channels=None, transformer=None,
                     torchscript=None):
        """Registers the model and makes checkpoint 0. Returns (Model, Checkpoint).

        kind MLP or SOFTMAX_REGRESSION: layer_sizes are the widths from input to output. With image
        = (channels, height, width) and the channels of each convolution it is a CONVNET, whose
        layer_sizes are those of the linear layers behind (the last: classes). With transformer =
        {"context", "vocabulary", "width", "heads", "blocks", "mlp_width"} it is a
        CHARACTER_TRANSFORMER. With torchscript, what modules.describe() says of a registered
        module, it is that module, with the parameters that it has (no init_seed). The bounds are
        those of rochdale.attribution.v1.ModelSpec."""
        spec = att.ModelSpec(layer_sizes=layer_sizes)
        if image is not None:
            kind = "CONVNET"
            spec.convnet.CopyFrom(att.Convnet(
                image_channels=image[0], image_height=image[1], image_width=image[2],
                channels=channels))
        if transformer is not None:
            kind = "CHARACTER_TRANSFORMER"
            spec.transformer.CopyFrom(att.CharacterTransformer(**transformer))
        if torchscript is not None:
            kind, init_seed = "TORCHSCRIPT", 0
            spec.torchscript.CopyFrom(att.TorchScript(**torchscript))
        spec.kind = att.ModelKind.Value("MODEL_KIND_" + kind)
        document = self.sign(att.ModelRegistration(
            cooperative_id=self._cooperative_id(cooperative), spec=spec,
            init_seed=init_seed, signed_time_us=documents.now_us()))
        response = self._call("attribution", "CreateModel",
                              att.CreateModelRequest(registration=document), timeout=120.0)
        return response.model, response.checkpoint

    def seal_validation_pool(self, inputs, labels, cooperative=None, progress=None):
        """Uploads and seals the validation rows (inputs U8 [N, D], labels U8 [N])."""
        digest = uploads.upload(self._transport, "attribution", self._key, "validation",
                                tensors.dataset_blob(inputs, labels), progress)
        document = self.sign(att.ValidationPoolSealing(
            cooperative_id=self._cooperative_id(cooperative), data_sha256=digest,
            signed_time_us=documents.now_us()))
        return self._call("attribution", "SealValidationPool",
                          att.SealValidationPoolRequest(sealing=document), timeout=120.0)

    def start_training(self, rounds: int, scenario: str = "default", cooperative=None):
        document = self.sign(att.TrainingPlan(
            cooperative_id=self._cooperative_id(cooperative), rounds=rounds, scenario=scenario,
            signed_time_us=documents.now_us()))
        return self._call("attribution", "StartTraining",
                          att.StartTrainingRequest(plan=document), timeout=120.0).round

    def roll_back(self, checkpoint_sha256: str, reason: str, cooperative=None):
        """Goes back to an earlier checkpoint of the lineage; the round under way is abandoned.

        Gives the new version, which has the old digest. STALE_VERSION where the newest checkpoint
        changed meanwhile.
        """
        cooperative_id = self._cooperative_id(cooperative)
        newest = self._transport.call(
            "attribution", "GetCheckpoint",
            att.GetCheckpointRequest(cooperative_id=cooperative_id)).checkpoint
        document = self.sign(att.CheckpointRollback(
            cooperative_id=cooperative_id, checkpoint_sha256=checkpoint_sha256,
            newest_sha256=newest.sha256, reason=reason, signed_time_us=documents.now_us()))
        return self._call("attribution", "RollBackCheckpoint",
                          att.RollBackCheckpointRequest(rollback=document)).checkpoint

    def compare(self, a_sha256: str, b_sha256: str, cooperative=None):
        """Starts an A/B test of two checkpoints of the lineage on visible validation rows."""
        document = self.sign(att.CheckpointComparison(
            cooperative_id=self._cooperative_id(cooperative), a_sha256=a_sha256,
            b_sha256=b_sha256, signed_time_us=documents.now_us()))
        return self._call("attribution", "CompareCheckpoints",
                          att.CompareCheckpointsRequest(comparison=document)).comparison

    def comparison(self, comparison_id: str):
        """The A/B test as it stands: see `state` and `verdict`."""
        return self._transport.call("attribution", "GetComparison", att.GetComparisonRequest(
            comparison_id=comparison_id)).comparison

    # ---- Money ----

    def open_account(self, label: str = "", kind: str = "PERSON", account_id=None,
                     asset: str = "token"):
        """Opens a ledger account of this principal."""
        return self._client.money.open_account(label, kind, account_id, asset)

    def accounts(self, owner_id: str | None = None) -> list:
        return self._client.money.accounts(owner_id)

    def transfer(self, debit_account_id: str, credit_account_id: str, amount_micro: int,
                 kind: str = "SPEND", reference: str = "", **options):
        """As client.money.transfer, where everything else about money is."""
        return self._client.money.transfer(debit_account_id, credit_account_id, amount_micro,
                                           kind=kind, reference=reference, **options)

    def create_pool(self, cooperative=None, pool_id=None):
        """Creates the cooperative's revenue pool; its account_id receives revenue."""
        document = self.sign(pay.PoolCreation(
            pool_id=pool_id or new_id(), cooperative_id=self._cooperative_id(cooperative),
            signed_time_us=documents.now_us()))
        return self._call("payout", "CreatePool", pay.CreatePoolRequest(creation=document)).pool

    def close_epoch(self, pool_id: str, first_round: int, last_round: int, epoch_id=None,
                    wait: bool = True, timeout: float = SETTLE_SECONDS):
        """Shares the pool's revenue by the credits of these rounds. With wait: returns once
        everything is paid (SETTLED), or carried over."""
        document = self.sign(pay.EpochClosing(
            epoch_id=epoch_id or new_id(), pool_id=pool_id, first_round=first_round,
            last_round=last_round, signed_time_us=documents.now_us()))
        epoch = self._call("payout", "CloseEpoch", pay.CloseEpochRequest(closing=document),
                           timeout=120.0).epoch
        return self.wait_for_settlement(epoch.epoch_id, timeout) if wait else epoch

    def wait_for_settlement(self, epoch_id: str, timeout: float = SETTLE_SECONDS):
        deadline = time.monotonic() + timeout
        while True:
            epoch = self._transport.call("payout", "GetEpoch",
                                         pay.GetEpochRequest(epoch_id=epoch_id)).epoch
            if epoch.state in (pay.EPOCH_STATE_SETTLED, pay.EPOCH_STATE_CARRIED_OVER):
                return epoch
            if time.monotonic() >= deadline:
                raise errors.DeadlineExceeded(
                    f"epoch {epoch.number} is not settled after {timeout:.0f} s",
                    code="DEADLINE_EXCEEDED")
            time.sleep(0.25)


def _text(value) -> str:
    """A parameter's value as the catalogue writes it."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
