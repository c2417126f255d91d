# SPDX-License-Identifier: Apache-2.0
"""A page in headless Chromium, driven through the DevTools protocol: enough to look, click, type and print."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

START_S = 60.0
"""How long Chromium may take to start, and to answer one command."""

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-extensions", "--disable-background-networking", "--disable-component-update",
         "--remote-debugging-port=0")  # fmt: skip


class Page:
    """One tab. `complaints`: errors and warnings of the page; `requests`: the addresses that it asked for."""

    def __init__(self, address: str) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.happened: set[str] = set()
        self._address, self._count = address, 0
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Page:
        self._loop.run_until_complete(self._connect())
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.run_until_complete(self._disconnect())
        self._loop.close()

    async def _connect(self) -> None:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(self._address, max_msg_size=0)

    async def _disconnect(self) -> None:
        await self._socket.close()
        await self._session.close()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; returns its result. Raises RuntimeError when Chromium refuses it."""
        return self._loop.run_until_complete(asyncio.wait_for(self._send(method, parameters), START_S))

    async def _send(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        await self._socket.send_str(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await self._socket.receive_str())
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _note(self, event: str, details: dict[str, Any]) -> None:
        self.happened.add(event)
        if event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(details["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and details["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(details["args"]))
        elif event == "Log.entryAdded" and details["entry"]["level"] in ("error", "warning"):
            self.complaints.append(details["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])

    def open(self, path: Path, width_px: int, height_px: int = 900, script: bool = True) -> None:
        """Show a file in a window of this size, with or without script, until it is loaded."""
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        self.send("Emulation.setDeviceMetricsOverride", width=width_px, height=height_px, deviceScaleFactor=1,
                  mobile=False)  # fmt: skip
        self.happened.discard("Page.loadEventFired")
        self.send("Page.navigate", url=path.as_uri())
        end = time.monotonic() + START_S
        while "Page.loadEventFired" not in self.happened:
            if time.monotonic() > end:
                raise RuntimeError(f"{path} was not loaded in {START_S} s")
            self.send("Runtime.getIsolateId")  # reads the events that came in
            time.sleep(0.02)

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression. Raises RuntimeError when it throws."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"]))
        return result["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press a key on what has the focus."""
        text = "\r" if key == "Enter" else ""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def screenshot(self, whole: bool = False) -> bytes:
        """The window (or the whole page) as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def pdf(self) -> bytes:
        """The page as it would be printed."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])


@contextmanager
def opened(chromium: str, folder: Path) -> Iterator[Page]:
    """Start Chromium with its profile in `folder`, yield its tab, stop it again."""
    port = folder / "DevToolsActivePort"
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [chromium, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=log, stderr=log, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + START_S
        while not port.exists() or "\n" not in port.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Chromium did not start:\n{(folder / 'log.txt').read_text()[-2000:]}")
            time.sleep(0.05)
        with Page(asyncio.run(_tab(port.read_text().split()[0]))) as page:
            yield page
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def _tab(port: str) -> str:
    """The websocket address of the first tab."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                tabs = [tab for tab in await answer.json() if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)
