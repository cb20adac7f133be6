"""What a model answers reaches a file of lines, standard output, and an MQTT topic."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from secateur_agent.core.probation import UNSEEN
from secateur_agent.engine import find_engine
from secateur_agent.inference.commands import Load, ReplaySpec, ResultReady, ResultSpec
from secateur_agent.inference.frame import Answered
from secateur_agent.inference.results import Results, describe
from secateur_protocols.codec import MAX_MESSAGE_BYTES, decode, decode_document, encode
from secateur_protocols.event import DeviceEvent
from secateur_protocols.plain import MAX_NUMBERS
from secateur_protocols.result import Result
from secateur_protocols.topics import result_topic
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from support.agent_process import AgentProcess, begin_at
from support.inference import DIGITS, Running, configure, lane
from support.listener import Listener
from support.published import PublishedLadder

pytestmark = pytest.mark.engine

FRAMES = DIGITS.parent / "evaluation.npz"
LOAD = Load(
    ticket=1, model="digits", version="1", level=2, precision="f", digest="a" * 64, path=""
)


def wait_until(holds: Callable[[], object]) -> None:
    until_s = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def answered() -> Answered:
    model = find_engine().load(DIGITS.read_bytes())
    sample = np.load(FRAMES)["x"][0]
    return Answered(LOAD, model, model.infer([model.inputs[0].encode(sample)]), 1.5)


def spec(
    lines: Path | str | None = None, rate_hz: float = 0.0, size: int = 10**6
) -> ResultSpec:
    name = str(lines) if lines is not None else None
    return ResultSpec(mqtt_rate_hz=rate_hz, lines=name, lines_max_bytes=size)


def test_each_answer_of_a_lane_is_a_line_that_says_who_answered_what(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    source = ReplaySpec(path=str(FRAMES), rate_hz=200)
    one = replace(lane(source=source), results=spec(path))
    with Running(configure(one)) as running:
        running.load(level=1)
        wait_until(lambda: path.exists() and path.read_text().count("\n") >= 20)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    data = np.load(FRAMES)
    assert [line["label"] for line in lines] == data["y"][: len(lines)].tolist()
    model = find_engine().load(DIGITS.read_bytes())
    for line, sample in zip(lines[:20], data["x"][:20], strict=True):
        expected = model.infer([model.inputs[0].encode(sample)])[0]
        (output,) = line["outputs"]
        assert np.array_equal(np.array(output["data"], np.float32), expected.ravel())
        assert output["shape"] == list(expected.shape)
        assert (line["model"], line["version"], line["level"]) == ("digits", "1", 1)


def test_no_more_results_than_the_rate_go_to_the_control_process(tmp_path: Path) -> None:
    source = ReplaySpec(path=str(FRAMES), rate_hz=500)
    path = tmp_path / "r.jsonl"
    one = replace(lane(source=source), results=spec(path, rate_hz=2.0))
    with Running(configure(one)) as running:
        running.load()
        began_s = time.monotonic()
        for _ in range(3):
            assert running.wait_for(ResultReady).model == "digits"
        assert time.monotonic() - began_s >= 0.9  # the third is due a second after the first
    assert path.read_text().count("\n") > 50


def tell_all(results: Results, answer: Answered, count: int) -> None:
    results.start()
    for _ in range(count):
        results.tell(answer, None)
        time.sleep(0.001)
    results.stop()


def test_a_full_file_of_lines_makes_room_and_never_loses_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    complaints: list[str] = []
    results = Results(
        spec(path, size=10_000), publish=lambda _: None, complain=complaints.append
    )
    tell_all(results, answered(), 200)
    sizes = [each.stat().st_size for each in tmp_path.iterdir()]
    assert {each.name for each in tmp_path.iterdir()} <= {"r.jsonl", "r.jsonl.1"}
    assert max(sizes) < 11_000
    assert complaints == []


def test_a_disk_that_is_full_is_reported_once_and_harms_nothing() -> None:
    complaints: list[str] = []
    results = Results(spec("/dev/full"), publish=lambda _: None, complain=complaints.append)
    tell_all(results, answered(), 20)
    assert complaints == ["cannot write results to /dev/full: No space left on device"]


def test_results_that_nobody_takes_are_left_out_and_never_block() -> None:
    results = Results(spec(rate_hz=1.0), publish=lambda _: None, complain=lambda _: None)
    answer = answered()
    for _ in range(100_000):
        results.tell(answer, None)
    results.start()
    results.stop()


def test_whatever_a_model_gives_the_message_is_valid_and_short_enough() -> None:
    answer = answered()
    info = replace(answer.model.outputs[0], name="evil\x1b\n" + "x" * 300)
    shapes = [(1, MAX_NUMBERS - 1), (1, 1), (1, 1), (3000,), *[(1, 1)] * 20]

    class Odd:
        inputs = answer.model.inputs
        outputs = (info,) * len(shapes)

        def infer(self, inputs: Any) -> Any:  # noqa: ANN401 - never called
            raise NotImplementedError

    values = tuple(np.full(shape, -1.2345678e-30, np.float32) for shape in shapes)
    odd = replace(answer, model=Odd(), outputs=values)
    described = describe(odd, 7, max_numbers=MAX_NUMBERS)
    document = json.dumps({**described, "boot": 1, "sequence": 0}).encode()
    result = decode_document(Result, document)
    payload = encode(result)
    assert len(payload) < MAX_MESSAGE_BYTES
    assert decode(Result, payload) == result
    held = [output.data is not None for output in result.outputs]
    assert held == [True, True, False, False, False, False, False, False]


@pytest.mark.broker
def test_a_frame_on_one_topic_becomes_a_result_on_another(
    mosquitto: EmbeddedBroker, published: PublishedLadder, tmp_path: Path
) -> None:
    data = np.load(FRAMES)
    got: list[Result] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    topic = result_topic("default", "meter-7", "digits")
    client.on_message = lambda _c, _u, received: got.append(
        decode(Result, bytes(received.payload))
    )
    client.connect("127.0.0.1", mosquitto.port)
    client.subscribe(topic)
    client.loop_start()
    with (
        AgentProcess(tmp_path / "agent", mosquitto.url, FRAMES) as agent,
        Listener(mosquitto.url) as listener,
    ):
        head = agent.config_path.read_text().partition("[models.source]")[0]
        agent.config_path.write_text(
            head + '[models.source]\nkind = "mqtt"\ntopic = "camera/1"\n'
            'dtype = "float32"\nshape = [64]\n[models.results]\nmqtt_rate_hz = 1000\n'
        )
        begin_at(agent, listener, published, 1)
        listener.wait_for(DeviceEvent, lambda said: UNSEEN in said.text)
        listener.send("camera/1", b"not a frame")
        sample = data["x"][0].astype(np.float32)
        while not got:
            listener.send("camera/1", sample.tobytes())
        assert "Traceback" not in agent.log
    client.loop_stop()
    client.disconnect()
    (output,) = got[0].outputs
    assert output.data is not None
    assert int(np.argmax(output.data)) == data["y"][0]
    assert (got[0].level, got[0].digest) == (1, published.ladder.levels[1].digest)
