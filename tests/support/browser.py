"""A headless Chromium that a test drives through its DevTools protocol: no driver."""

import base64
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

WAIT_S = 60.0
"""How long what a page is to show may take: the machine may be busy."""

FLAGS = [
    "--headless=new",
    "--no-sandbox",  # a container's root has none to give
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--remote-debugging-port=0",
]


def find_chromium() -> str | None:
    """Find the program under one of its names."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def _connect(port: str, path: str) -> ClientConnection:
    # Unasked pings would draw from the generator that property tests watch.
    return connect(f"ws://127.0.0.1:{port}{path}", max_size=2**26, ping_interval=None)


class Browser:
    """One Chromium with one page. A context manager: it ends with it."""

    def __init__(self, *, width: int = 1280, height: int = 800) -> None:
        program = find_chromium()
        assert program is not None, "chromium is not installed"
        self._folder = Path(tempfile.mkdtemp(prefix="browser-"))
        self._numbers = itertools.count(1)
        self.errors: list[str] = []
        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self._folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._socket: ClientConnection | None = None
        try:
            self._attach()
            self.resize(width, height)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def resize(self, width: int, height: int, *, is_phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=is_phone,
        )

    def prefer(self, scheme: str) -> None:
        """Prefer ``light`` or ``dark``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def go(self, address: str) -> None:
        """Open an address, and wait until its document has been read."""
        self.run("window.__old = true")
        answer = self.call("Page.navigate", url=address)
        assert "errorText" not in answer, answer
        self.wait_for("!window.__old && document.readyState === 'complete'")

    def run(self, script: str) -> Any:  # noqa: ANN401 - whatever JSON the page gives
        """Evaluate an expression in the page, and give its value."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, script: str, *, timeout_s: float = WAIT_S) -> Any:  # noqa: ANN401 - whatever JSON the page gives
        """Wait until an expression is true in the page, and give its value."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                value = self.run(script)
            except AssertionError:  # the page is changing
                value = None
            if value:
                return value
            assert time.monotonic() < until, f"{script} was not so; {self.text()[:2000]}"
            time.sleep(0.05)

    def wait_for_text(self, words: str, *, inside: str = "body") -> None:
        script = f"document.querySelector({json.dumps(inside)})?.innerText"
        self.wait_for(f"({script} || '').includes({json.dumps(words)})")

    def text(self, inside: str = "body") -> str:
        found = self.run(f"document.querySelector({json.dumps(inside)})?.innerText || ''")
        return str(found)

    def fill(self, selector: str, value: str) -> None:
        """Write into a field as a user would, or choose in a list."""
        self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            f" e.value = {json.dumps(value)};"
            " e.dispatchEvent(new Event('input', {bubbles: true}));"
            " e.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    def click(self, selector: str) -> None:
        quoted = json.dumps(selector)
        self.wait_for(f"!!document.querySelector({quoted})")
        self.run(f"document.querySelector({quoted}).click()")

    def press(self, key: str, code: int) -> None:
        """Press a key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                text="\r" if key == "Enter" and kind == "keyDown" else "",
            )

    def photograph(self, path: Path, *, is_whole: bool = True) -> None:
        """Write a picture of the page, PNG."""
        answer = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=is_whole
        )
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method of the protocol, and give its result."""
        assert self._socket is not None
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message: dict[str, Any] = json.loads(self._socket.recv(WAIT_S))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        """Keep what a developer would see in red: errors of scripts, and what was blocked."""
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"])[:500])
        entry = params.get("entry", {})
        if message.get("method") == "Log.entryAdded" and entry.get("source") in {
            "security",
            "javascript",
        }:
            self.errors.append(f"{entry.get('text')} {entry.get('url', '')}"[:500])
        if message.get("method") == "Page.javascriptDialogOpening":
            assert self._socket is not None
            answer = {"method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self._socket.send(json.dumps({"id": next(self._numbers), **answer}))

    def _attach(self) -> None:
        port_file = self._folder / "DevToolsActivePort"
        until = time.monotonic() + WAIT_S
        while not (port_file.exists() and port_file.read_text().count("\n")):
            assert time.monotonic() < until, "chromium did not start"
            assert self._process.poll() is None, "chromium ended at once"
            time.sleep(0.05)
        port, path = port_file.read_text().split()
        self._socket = _connect(port, path)
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        self._socket.close()
        page_path = re.sub(r"/browser/.*", f"/page/{page}", path)
        self._socket = _connect(port, page_path)
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
