"""Headless Chromium driven over the DevTools protocol, without extra packages."""

import base64
import json
import os
import subprocess
import sys
import tempfile

# Chromium reads commands from file descriptor 3 and answers to 4.
_LAUNCH = (
    "import os, sys; read, write = (os.dup(int(number)) for number in sys.argv[1:3]);"
    "os.dup2(read, 3); os.dup2(write, 4); os.set_inheritable(3, True);"
    "os.set_inheritable(4, True); os.execv(sys.argv[3], sys.argv[3:])"
)
_OPTIONS = ("--headless", "--no-sandbox", "--no-zygote", "--disable-gpu", "--no-first-run")
_OPTIONS += ("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe")


class Chromium:
    """Browser process, closed on leaving the context."""

    def __init__(self, binary):
        commands, answers = os.pipe(), os.pipe()
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        given = (commands[0], answers[1])
        launch = [sys.executable, "-c", _LAUNCH, *map(str, given)]
        profile = f"--user-data-dir={self._profile.name}"
        self._process = subprocess.Popen(
            [*launch, binary, *_OPTIONS, profile, "about:blank"],
            pass_fds=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in given:
            os.close(number)
        self._write, self._read = commands[1], answers[0]
        self._rest = b""
        self._count = 0
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait()
        for number in (self._write, self._read):
            os.close(number)
        self._profile.cleanup()

    def call(self, method, session=None, **params):
        """Send a DevTools command and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != message["id"]:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def wait_for(self, method, session):
        """Read messages until the session reports this event."""
        while not any(e["method"] == method and e["sessionId"] == session for e in self.events):
            self.events.append(self._next())

    def open(self, path, *, width=1280, height=900, dark=False, script=True):
        """Open a local page in a new tab and wait until it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        tab.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme])
        tab.call("Emulation.setScriptExecutionDisabled", value=not script)
        tab.call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired", session)
        return tab

    def _next(self):
        while b"\0" not in self._rest:
            got = os.read(self._read, 1 << 20)
            assert got, "Chromium has ended"
            self._rest += got
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)


class Tab:
    """Page in the browser."""

    def __init__(self, browser, session):
        self._browser = browser
        self._session = session

    def call(self, method, **params):
        return self._browser.call(method, self._session, **params)

    def value(self, expression):
        """Evaluate a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def happened(self, *methods):
        """Return the parameters of this page's events of the given names."""
        mine = (e for e in self._browser.events if e.get("sessionId") == self._session)
        return [event["params"] for event in mine if event["method"] in methods]

    def middle_of(self, selector):
        """Scroll the first match of a selector into view and return its position."""
        box = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{box}.scrollIntoView({{block: 'center'}})")
        return self.value(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2, width])"
            f"({box}.getBoundingClientRect())"
        )

    def mouse(self, kind, x, y):
        self.call(
            "Input.dispatchMouseEvent",
            type=f"mouse{kind}",
            x=x,
            y=y,
            button="left",
            buttons=int(kind != "Released"),
            clickCount=1,
        )

    def touch(self, kind, *points):
        points = [{"x": x, "y": y} for x, y in points]
        self.call("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=points)

    def press(self, key):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self, path, clip=None):
        """Save a screenshot of the page, or of a clip (left, top, width, height)."""
        options = {"captureBeyondViewport": clip is None}
        if clip is not None:
            names = ("x", "y", "width", "height")
            options["clip"] = dict(zip(names, clip, strict=True)) | {"scale": 1}
            options["clip"]["y"] += self.value("scrollY")
        answer = self.call("Page.captureScreenshot", **options)
        path.write_bytes(base64.b64decode(answer["data"]))
