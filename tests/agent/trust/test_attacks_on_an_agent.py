"""A real agent under attack: refused with its reason, and what ran answers on, untouched."""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secateur_protocols.ota import Ota, ReasonCode, UpdateState
from secateur_protocols.state import Desired, DesiredModel, LadderRef
from secateur_protocols.telemetry import Telemetry
from secateur_server.adapters.artifacts_http import ArtifactsServer
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from secateur_server.core.context import Published
from support.agent_process import EVALUATION, AgentProcess
from support.listener import Listener
from support.signed import SignedRegistry
from support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.engine, pytest.mark.slow]


class Attacked:
    """What the owner has signed, and what an attacker serves in its place."""

    def __init__(self, folder: Path, ladder_dir: Path) -> None:
        self.owner = SignedRegistry(folder / "owner")
        self.ladder_dir = ladder_dir
        self.first = self.owner.publish(ladder_dir).ref
        self._served = folder / "served"
        self.serve(self.owner)
        self._server = ArtifactsServer(self._served / "blobs", host="127.0.0.1", port=0)
        self._server.start()
        self._revision = 0

    def stop(self) -> None:
        self._server.stop()

    @property
    def metadata_dir(self) -> Path:
        return self._served / "metadata"

    def serve(self, registry: SignedRegistry) -> None:
        """Serve a registry as it is now."""
        shutil.rmtree(self._served, ignore_errors=True)
        shutil.copytree(registry.metadata_dir.parent, self._served)

    def desired(self, ladder: LadderRef, level: int, model: str = "digits") -> Desired:
        self._revision += 1
        wish = DesiredModel(
            model=model, ladder=ladder, level=level, deadline_ms=5000.0, reason="test"
        )
        url = f"http://127.0.0.1:{self._server.port}/blobs"
        return Desired(revision=self._revision, artifacts_url=url, models=(wish,))


@pytest.fixture
def attacked(tmp_path: Path, digits_ladder: Path) -> Iterator[Attacked]:
    site = Attacked(tmp_path, digits_ladder)
    yield site
    site.stop()


def tamper_with_metadata(site: Attacked, _evil: SignedRegistry) -> LadderRef:
    second = site.owner.publish(site.ladder_dir, version="2").ref
    site.serve(site.owner)
    path = site.metadata_dir / "timestamp.json"
    signed = path.read_bytes()
    forged = re.sub(rb'("expires": ?")2', rb"\g<1>9", signed)
    assert forged != signed
    path.write_bytes(forged)
    return second


def sign_with_unknown_keys(site: Attacked, evil: SignedRegistry) -> LadderRef:
    theirs = evil.publish(site.ladder_dir, version="3").ref
    site.serve(evil)
    return theirs


def name_a_ladder_that_is_not_listed(site: Attacked, _evil: SignedRegistry) -> LadderRef:
    site.serve(site.owner)
    return site.first.model_copy(update={"version": "99"})


def sign_for_other_hardware(site: Attacked, _evil: SignedRegistry) -> LadderRef:
    other = site.owner.publish(site.ladder_dir, version="5", hardware=("jetson",)).ref
    site.serve(site.owner)
    return other


def name_another_ladder_by_a_listed_version(site: Attacked, _evil: SignedRegistry) -> LadderRef:
    site.serve(site.owner)
    digest = hashlib.sha256(b"another").hexdigest()
    return site.first.model_copy(update={"digest": digest})


def send_metadata_without_end(site: Attacked, _evil: SignedRegistry) -> LadderRef:
    sixth = site.owner.publish(site.ladder_dir, version="6").ref
    site.serve(site.owner)
    with (site.metadata_dir / "timestamp.json").open("ab") as file:
        file.truncate(1 << 24)
    return sixth


ATTACKS: tuple[tuple[Callable[[Attacked, SignedRegistry], LadderRef], ReasonCode], ...] = (
    (tamper_with_metadata, ReasonCode.SIGNATURE_INVALID),
    (sign_with_unknown_keys, ReasonCode.SIGNATURE_INVALID),
    (name_a_ladder_that_is_not_listed, ReasonCode.VERSION_FLOOR),
    (sign_for_other_hardware, ReasonCode.UNSUPPORTED_HARDWARE),
    (name_another_ladder_by_a_listed_version, ReasonCode.SIGNATURE_INVALID),
    (send_metadata_without_end, ReasonCode.SIGNATURE_INVALID),
)


def wait_for_answers(listener: Listener, level: int) -> None:
    listener.wait_for(
        Telemetry,
        lambda said: any(each.answered > 0 and each.level == level for each in said.models),
        since=len(listener.heard),
    )


def test_attacks_are_refused_with_their_reason_and_the_running_model_answers_on(
    mosquitto: EmbeddedBroker, listener: Listener, attacked: Attacked, tmp_path: Path
) -> None:
    evil = SignedRegistry(tmp_path / "evil")
    root = f'root = "{attacked.owner.root_path}"'
    with AgentProcess(tmp_path / "agent", mosquitto.url, EVALUATION, trust=root) as agent:
        agent.start()
        listener.desire(attacked.desired(attacked.first, 2))
        listener.wait_for_level(2)
        record = agent.state_dir / "models" / "digits.json"
        before = record.read_bytes()
        blobs = sorted(each.name for each in (agent.state_dir / "blobs").iterdir())
        for attack, reason in ATTACKS:
            ladder = attack(attacked, evil)
            since = len(listener.heard)
            listener.desire(attacked.desired(ladder, 0))
            told = listener.wait_for(
                Ota,
                lambda said: any(each.state is UpdateState.FAILED for each in said.updates),
                since=since,
            )
            assert told.updates[0].reason is reason, attack.__name__
            wait_for_answers(listener, 2)
        assert record.read_bytes() == before
        assert sorted(each.name for each in (agent.state_dir / "blobs").iterdir()) == blobs
        attacked.serve(attacked.owner)
        honest = attacked.owner.publish(attacked.ladder_dir, version="7").ref
        attacked.serve(attacked.owner)
        since = len(listener.heard)
        listener.desire(attacked.desired(honest, 1))
        listener.wait_for_level(1, since=since)
        assert "Traceback" not in agent.log


@pytest.fixture
def tampered(attacked: Attacked) -> Published:
    """Publish a version of which one artifact is changed on its way."""
    second = attacked.owner.publish(attacked.ladder_dir, version="2")
    attacked.serve(attacked.owner)
    blob = attacked.metadata_dir.with_name("blobs") / second.ladder.levels[1].digest
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    blob.with_name(f"{blob.name}.gz").unlink(missing_ok=True)
    return second


def tried(listener: Listener, since: int) -> int:
    """Count how often a download was begun."""
    told = (each for each in listener.heard[since:] if isinstance(each, Ota))
    return sum(
        update.state is UpdateState.DOWNLOADING for each in told for update in each.updates
    )


def test_a_tampered_artifact_never_runs_and_an_honest_one_does(
    mosquitto: EmbeddedBroker,
    listener: Listener,
    attacked: Attacked,
    tampered: Published,
    tmp_path: Path,
) -> None:
    root = f'root = "{attacked.owner.root_path}"'
    with AgentProcess(tmp_path / "agent", mosquitto.url, EVALUATION, trust=root) as agent:
        agent.start()
        listener.desire(attacked.desired(attacked.first, 2))
        listener.wait_for_level(2)
        since = len(listener.heard)
        listener.desire(attacked.desired(tampered.ref, 1))
        wait_until(lambda: tried(listener, since) > 1)
        assert not (agent.state_dir / "blobs" / tampered.ladder.levels[1].digest).exists()
        wait_for_answers(listener, 2)
        listener.desire(attacked.desired(tampered.ref, 0))
        listener.wait_for_level(0, since=since)


@pytest.mark.nightly
def test_a_tampered_artifact_is_given_up_with_its_reason(
    mosquitto: EmbeddedBroker,
    listener: Listener,
    attacked: Attacked,
    tampered: Published,
    tmp_path: Path,
) -> None:
    root = f'root = "{attacked.owner.root_path}"'
    with AgentProcess(tmp_path / "agent", mosquitto.url, EVALUATION, trust=root) as agent:
        agent.start()
        since = len(listener.heard)
        listener.desire(attacked.desired(tampered.ref, 1))
        told = listener.wait_for(
            Ota,
            lambda said: any(each.state is UpdateState.FAILED for each in said.updates),
            since=since,
            timeout_s=300.0,
        )
        assert told.updates[0].reason is ReasonCode.DIGEST_MISMATCH
        assert not (agent.state_dir / "blobs" / tampered.ladder.levels[1].digest).exists()
