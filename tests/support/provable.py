"""A ladder whose golden outputs are known, and a scripted device that gives them."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np

from secateur_protocols.manifest import Ladder
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Desired, ProofOfRun, Reported, ReportedModel
from secateur_protocols.telemetry import Served
from secateur_protocols.topics import Leaf
from support.scripted_device import ScriptedDevice
from support.situations import (
    artifact_of,
    digest_of,
    make_ladder,
    make_measured,
    make_telemetry,
)

OUTPUTS = np.linspace(0.0, 1.0, 64, dtype=np.float32).reshape(1, 1, 8, 8, 1)

RIGHT_OF_100 = 97


def write_provable_ladder(folder: Path, version: str) -> Ladder:
    """Write what ``prune`` would; every level gives the same golden outputs."""
    content = io.BytesIO()
    np.savez(content, input_0=OUTPUTS, output_0=OUTPUTS)
    golden = content.getvalue()
    ladder = make_ladder(version=version)
    levels = tuple(
        each.model_copy(
            update={
                "golden": each.golden.model_copy(
                    update={"digest": digest_of(golden), "size_bytes": len(golden)}
                )
            }
        )
        for each in ladder.levels
    )
    ladder = ladder.model_copy(update={"levels": levels})
    folder.mkdir(parents=True)
    (folder / "ladder.json").write_text(json.dumps(ladder.model_dump(mode="json")))
    for each in levels:
        path = folder / f"level-{each.level}"
        path.with_suffix(".tflite").write_bytes(artifact_of(ladder.model, version, each.level))
        path.with_suffix(".golden.npz").write_bytes(golden)
    return ladder


class ProvableDevice:
    """Does what is wanted at once, proves it, and measures the same whatever it runs."""

    def __init__(self, device: ScriptedDevice, ladders: dict[str, Ladder]) -> None:
        self.device = device
        self.versions: list[str] = []
        self.p95_ms = dict.fromkeys(ladders, 3.0)
        self._ladders = ladders
        self._sequence = 0
        self._answered = 0
        self._switches = 0
        self._recent_ms: list[float] = []
        self._desired: Desired | None = None

    @property
    def version(self) -> str:
        return self.versions[-1] if self.versions else ""

    def birth(self) -> None:
        online = Presence(state=PresenceState.ONLINE, boot=1, session=1)
        self.device.say(Leaf.PRESENCE, online)
        self.device.say(Leaf.INFO, self.device.info)

    def live(self) -> None:
        """Do what has come, and say what was measured since."""
        while (desired := self.device.newest_desired()) is not None:
            self._desired = desired
            version = desired.models[0].ladder.version
            if version != self.version:
                self.versions.append(version)
                self._switches += 1
                self._recent_ms = []
            self._report(desired)
        if self._desired is not None:
            self._measure(self._desired)

    def _report(self, desired: Desired) -> None:
        wish = desired.models[0]
        manifest = self._ladders[wish.ladder.version].levels[wish.level]
        golden = hashlib.sha256(OUTPUTS.tobytes()).hexdigest()
        model = ReportedModel(
            model=wish.model,
            version=wish.ladder.version,
            level=wish.level,
            digest=manifest.digest,
            proof=ProofOfRun(digest=manifest.digest, golden_digest=golden),
        )
        self._sequence += 1
        reported = Reported(
            boot=1, sequence=self._sequence, revision=desired.revision, models=(model,)
        )
        self.device.say(Leaf.REPORTED, reported)

    def _measure(self, desired: Desired) -> None:
        wish = desired.models[0]
        ladder = self._ladders[wish.ladder.version]
        self._answered += 100
        self._recent_ms = [*self._recent_ms, self.p95_ms[wish.ladder.version]][-16:]
        served = Served(level=wish.level, answered=100, labelled=100, correct=RIGHT_OF_100)
        measured = make_measured(ladder, wish.level, self._recent_ms).model_copy(
            update={
                "answered": self._answered,
                "switches": self._switches,
                "served": (served,),
            }
        )
        self._sequence += 1
        self.device.say(Leaf.TELEMETRY, make_telemetry(measured, sequence=self._sequence))
