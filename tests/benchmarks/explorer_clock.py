"""How long the explorer takes to answer: read from its websocket, in a real browser or without one.

An answer begins when the browser sends what a person did, and ends when the server has said that the script ran to its
end. Both moments are those at which Chromium's network service saw the frames, so neither drawing nor this program adds
to them. The time that a person waits, drawing included, is taken in the page itself by its own clock.
"""

import base64
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Page
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from websockets.sync.client import connect

__all__ = ["BrowserClock", "Times", "WebsocketUser"]

QUIET_SECONDS = 0.15
"""When nothing more is sent for so long after a script has ended, the answer is whole."""
PATIENCE_SECONDS = 60.0
EARLY = ForwardMsg.FINISHED_EARLY_FOR_RERUN

_OWN_CLOCK = """
window.__began = null
window.__ended = null
const begin = () => { if (window.__began === null) window.__began = performance.now() }
for (const kind of ["pointerdown", "keydown"]) window.addEventListener(kind, begin, true)
new MutationObserver((changes) => {
  for (const { target } of changes)
    if (target.getAttribute("data-test-script-state") === "notRunning") window.__ended = performance.now()
}).observe(document, { subtree: true, attributeFilter: ["data-test-script-state"] })
"""


@dataclass(frozen=True)
class Times:
    """Milliseconds of one answer.

    Attributes:
        server: from the frame that asks to the frame that says that the script has ended.
        browser: from the press in the page until it shows that nothing runs any more; None where not taken.
        sent: of the asking frame, seconds on Chromium's clock.
        kilobytes: received.
    """

    server: float
    browser: float | None
    sent: float
    kilobytes: float


@dataclass
class BrowserClock:
    """Watches the websocket of a page. Make it before the page is opened."""

    page: Page
    asked: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    received: int = 0

    def __post_init__(self) -> None:
        self.page.add_init_script(_OWN_CLOCK)
        session = self.page.context.new_cdp_session(self.page)
        session.on("Network.webSocketFrameSent", self._sent)
        session.on("Network.webSocketFrameReceived", self._received)
        session.send("Network.enable")

    def _sent(self, event: dict[str, Any]) -> None:
        message = BackMsg()
        message.ParseFromString(base64.b64decode(event["response"]["payloadData"]))
        if message.WhichOneof("type") == "rerun_script":
            self.asked.append(event["timestamp"])

    def _received(self, event: dict[str, Any]) -> None:
        payload = base64.b64decode(event["response"]["payloadData"])
        self.received += len(payload)
        message = ForwardMsg()
        message.ParseFromString(payload)
        if message.WhichOneof("type") == "script_finished" and message.script_finished != EARLY:
            self.ended.append(event["timestamp"])

    def start(self) -> None:
        """Forgets what was seen."""
        self.asked, self.ended, self.received = [], [], 0
        self.page.evaluate("window.__began = window.__ended = null")

    def stop(self) -> Times:
        """Waits for the end of the answer."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (self.asked and self.ended and self.ended[-1] > self.asked[-1]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer within {PATIENCE_SECONDS:.0f} s at {self.page.url}")
            self.page.wait_for_timeout(10)
        seen = len(self.asked), len(self.ended)
        self.page.wait_for_timeout(QUIET_SECONDS * 1000)
        if (len(self.asked), len(self.ended)) != seen:  # one thing led to another
            return self.stop()
        began, ended = self.page.evaluate("[window.__began, window.__ended]")
        own = None if began is None or ended is None or ended < began else ended - began
        return Times(1000 * (self.ended[-1] - self.asked[0]), own, self.asked[0], self.received / 1000)

    def of(self, action: Callable[[], object]) -> Times:
        """The times of the answer to an action."""
        self.start()
        action()
        return self.stop()


@dataclass
class WebsocketUser:
    """A person without a browser: speaks to the server as the page in a browser does.

    Attributes:
        address: of the explorer, as `http://127.0.0.1:8501`.
        page: name of the page in the address; empty for Home.
        query: parameters of the address.
        errors: exceptions that the page showed.
        inputs: label of a number input to its identity.
    """

    address: str
    page: str
    query: dict[str, str]
    errors: list[str] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._open = ExitStack()
        self._socket = self._open.enter_context(
            connect(
                f"{self.address.replace('http', 'ws', 1)}/_stcore/stream",
                subprotocols=["streamlit"],  # type: ignore[list-item]
                origin=self.address,  # type: ignore[arg-type]
                max_size=None,
            )
        )
        self._page_hash = ""
        self._query = urlencode(self.query)

    def open(self) -> float:
        """Opens the page; milliseconds until it is whole."""
        return self._ask(ClientState(query_string=self._query, page_name=self.page))

    def enter(self, label: str, number: int) -> float:
        """Enters a number, as by typing it; milliseconds until the page is whole. Without such an input: runs anew."""
        states = []
        if label in self.inputs:
            states.append(WidgetState(id=self.inputs[label], int_value=number))
        return self._ask(
            ClientState(
                query_string=self._query,
                page_script_hash=self._page_hash,
                widget_states=WidgetStates(widgets=states),
            )
        )

    def close(self) -> None:
        """Leaves."""
        self._open.close()

    def _ask(self, state: ClientState) -> float:
        began = time.perf_counter()
        self._socket.send(BackMsg(rerun_script=state).SerializeToString())
        while True:
            message = ForwardMsg()
            message.ParseFromString(self._socket.recv(timeout=PATIENCE_SECONDS))  # type: ignore[arg-type]
            kind = message.WhichOneof("type")
            if kind == "navigation":
                self._page_hash = message.navigation.page_script_hash
            elif kind == "page_info_changed":
                self._query = message.page_info_changed.query_string
            elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                self._look_at(message.delta.new_element)
            elif kind == "script_finished" and message.script_finished != EARLY:
                return 1000 * (time.perf_counter() - began)

    def _look_at(self, element: Any) -> None:
        kind = element.WhichOneof("type")
        if kind == "number_input":
            self.inputs[element.number_input.label] = element.number_input.id
        elif kind == "exception":
            self.errors.append(f"{self.page}: {element.exception.type} {element.exception.message}")
