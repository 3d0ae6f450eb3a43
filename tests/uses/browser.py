# SPDX-License-Identifier: GPL-3.0-or-later
"""Drive a headless Chromium over a pipe, by its DevTools protocol: no driver, no socket, no other package."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.system import LabError, Need, find_program, install

__all__ = ["Browser", "Page", "launch"]

_OPTIONS = (
    "--headless",
    "--no-sandbox",  # root has no other; nothing but our own page is opened
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_DEADLINE = 60.0


class Browser:
    """A running Chromium; messages end with a NUL (file descriptors 3 and 4 of the process)."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; events that come meanwhile are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        deadline = time.monotonic() + _DEADLINE
        while True:
            answer = self._next(deadline)
            if answer.get("id") != self._number:
                self.events.append(answer)
            elif "error" in answer:
                raise LabError(f"{method}: {answer['error']['message']}")
            else:
                return dict(answer["result"])

    def wait(self, method: str) -> dict[str, Any]:
        """Return the next event of that name that has not been taken yet."""
        deadline = time.monotonic() + _DEADLINE
        while True:
            for event in self.events:
                if event.get("method") == method:
                    self.events.remove(event)
                    return event
            self.events.append(self._next(deadline))

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self._read, 1 << 20) if ready else b""
            if not piece:
                raise LabError("Chromium has not answered in time" if not ready else "Chromium has ended")
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def open(self, url: str, *, scripts: bool = True, width: int = 1280, height: int = 900) -> Page:
        """Open a page in a tab of its own, with nothing that another one has kept."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events.clear()
        page.call("Page.navigate", url=url)
        self.wait("Page.loadEventFired")
        return page


class Page:
    """A page that has been loaded."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol for this page."""
        return self.browser.call(method, session=self.session, **parameters)

    def run(self, script: str) -> Any:
        """Return the value of an expression of JavaScript."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise LabError(
                done["exceptionDetails"].get("exception", {}).get("description", "a script failed")
            )
        return done["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + _DEADLINE
        while not self.run(script):
            if time.monotonic() > deadline:
                raise LabError(f"never true: {script}")
            self.run("new Promise(requestAnimationFrame)")

    def press(self, key: str, *, code: int, text: str = "") -> None:
        """Press and release a key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, text=text)

    def prefer(self, **features: str) -> None:
        """Emulate media features such as prefers_color_scheme="dark", or media="print"."""
        media = features.pop("media", "")
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", media=media, features=named)

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def shoot(self, path: Path, *, whole: bool = False) -> None:
        """Save a picture of what is seen, or of the whole page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def requests(self) -> list[str]:
        """Return the address of everything that the page has asked for since it was opened."""
        self.run("1")
        return [
            event["params"]["request"]["url"]
            for event in self.browser.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Return the errors of scripts, and what the content security policy has kept from running."""
        self.run("1")
        said = []
        for event in self.browser.events:
            if event.get("method") == "Runtime.exceptionThrown":
                said.append(str(event["params"]["exceptionDetails"].get("text")))
            elif event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                said.append(str(event["params"]["entry"]["text"]))
        return said


@contextlib.contextmanager
def launch(options: Sequence[str] = ()) -> Iterator[Browser]:
    """Start Chromium, installing Debian's where there is none, and end it afterwards."""
    install([Need(what="chromium", packages=("chromium",))], purpose="looking at pages")
    to_browser, write = os.pipe()
    read, from_browser = os.pipe()
    # 3 and 4 in the child, whatever their numbers are here
    shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        command = [str(find_program("chromium")), *_OPTIONS, f"--user-data-dir={profile}", *options]
        process = subprocess.Popen(
            ["bash", "-c", shell, "browser", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(to_browser, from_browser),
            env={**os.environ, "HOME": profile},
        )
        os.close(to_browser)
        os.close(from_browser)
        browser = Browser(write, read)
        try:
            yield browser
            browser.call("Browser.close")
        finally:
            os.close(write)
            os.close(read)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
