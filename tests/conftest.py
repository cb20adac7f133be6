"""Fixtures that several folders use: real brokers, a real ladder, the shared data."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from secateur_server.adapters.embedded_broker import EmbeddedBroker, find_mosquitto

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "examples" / "digits"
SHARED = ROOT.parent / "shared" / "data"

# Tests never assert how long something takes: the machine may be busy.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """Start a Mosquitto of this test's own, and end it."""
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    broker = EmbeddedBroker(tmp_path / "broker")
    yield broker
    broker.stop()


@pytest.fixture(params=["mosquitto", "amqtt"])
def any_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """Run the test on each broker that Secateur embeds."""
    if request.param == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    broker = EmbeddedBroker(tmp_path / "broker", prefer_amqtt=request.param == "amqtt")
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def digits_ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prune the demo's model once into a ladder of three levels; tests only read it."""
    from secateur_server.pruning.pruner import PruneRequest, prune  # noqa: PLC0415 - slow
    from secateur_server.pruning.task import Options  # noqa: PLC0415 - slow

    out_dir = tmp_path_factory.mktemp("ladder") / "digits"
    prune(
        PruneRequest(
            model_path=DIGITS / "digits.tflite",
            calibration_path=DIGITS / "calibration.npz",
            evaluation_path=DIGITS / "evaluation.npz",
            out_dir=out_dir,
            method="channel",
            options=Options(levels=3),
        )
    )
    return out_dir


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of models and data that the project does not hold."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here: the models and data it holds are not committed")
    return SHARED
