"""Takes the pictures for scripts/pictures: of a page, over Chromium's DevTools protocol, and of a terminal, from what tmux captures."""

import base64
import html
import itertools
import json
import os
import re
import subprocess
import sys
import time
import urllib.request


class Browser:
    """Chromium without a window, and one page in it."""

    def __init__(self, scratch):
        command = ["chromium", "--headless", "--disable-gpu", "--remote-debugging-port=0", "--remote-allow-origins=*",
                   "--hide-scrollbars", "--no-first-run", f"--user-data-dir={scratch}/chromium"]
        if os.geteuid() == 0:
            command.append("--no-sandbox")
        self.process = subprocess.Popen(command + ["about:blank"], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.search(r"ws://([^/]+)/", line):
                break
        import websocket
        pages = json.load(urllib.request.urlopen(f"http://{found[1]}/json"))
        page = next(page for page in pages if page["type"] == "page")
        self.socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=60)
        self.numbers, self.requested = itertools.count(1), []

    def ask(self, method, **params):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            said = json.loads(self.socket.recv())
            if said.get("method") == "Network.requestWillBeSent":
                self.requested.append(said["params"]["request"]["url"])
            if said.get("id") == number:
                assert "error" not in said, (method, said)
                return said["result"]

    def value(self, expression):
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def until(self, expression):
        for _ in range(300):
            if self.value(expression):
                return
            time.sleep(0.1)
        raise SystemExit(f"still not: {expression}")


def take_page(url, scratch, out):
    browser = Browser(scratch)
    browser.ask("Network.enable")
    browser.ask("Page.enable")
    try:
        for width, scheme in [(1200, "light"), (1200, "dark"), (360, "light"), (360, "dark")]:
            browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
            browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            browser.ask("Page.navigate", url=url)
            browser.until("document.querySelectorAll('.card').length == 4 && document.querySelector('#waits b') != null")
            # A plot has something to show after some seconds.
            time.sleep(6)
            wide = browser.value("document.documentElement.scrollWidth")
            assert wide <= width, f"{wide} columns do not fit {width}"
            ground = browser.value("getComputedStyle(document.body).backgroundColor")
            lightness = sum(map(int, re.findall(r"\d+", ground)[:3]))
            assert (lightness > 384) == (scheme == "light"), f"{scheme}: {ground}"
            # Whoever looks at the picture has a home of another name.
            browser.value(f"place.textContent = place.textContent.replace({json.dumps(scratch)}, '/home/anna')")
            height = browser.value("document.documentElement.scrollHeight")
            picture = browser.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True,
                                  clip={"x": 0, "y": 0, "width": width, "height": height, "scale": 1})
            with open(f"{out}/page-{width}-{scheme}.png", "wb") as file:
                file.write(base64.b64decode(picture["data"]))
        focused = []
        for _ in range(2):
            for kind in ["keyDown", "keyUp"]:
                browser.ask("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
            focused.append(browser.value("document.activeElement.textContent"))
        assert focused == ["status.json", "metrics"], focused
        elsewhere = [to for to in browser.requested if not to.startswith((url, "data:"))]
        assert browser.requested and not elsewhere, elsewhere
    finally:
        browser.process.terminate()
        browser.process.wait()


COLOURS = {1: "#ff7b72", 2: "#3fb950", 3: "#d29922", 6: "#39c5cf", 8: "#8b949e"}


def take_terminal(scratch, out):
    lines = sys.stdin.read().replace("\x1b[m", "\x1b[0m").replace(scratch, "/home/anna").rstrip("\n").split("\n")
    columns = max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in lines)
    columns, char, row = max(columns, 100), 8.4, 18
    drawn, style = [], {}
    for number, line in enumerate(lines):
        at = 0
        for codes, text in re.findall(r"(?:\x1b\[([\d;]*)m)?([^\x1b]*)", line):
            # A colour by its number is three codes: 38;5;NUMBER.
            for code in re.findall(r"38;5;\d+|\d+", codes):
                match int(code.rsplit(";")[-1]) + (300 if ";" in code else 0):
                    case 0: style = {}
                    case 1: style["font-weight"] = "bold"
                    case 2: style["opacity"] = ".65"
                    case 22: style = {key: value for key, value in style.items() if key == "fill"}
                    case 39: style.pop("fill", None)
                    case colour if colour >= 300: style["fill"] = COLOURS.get(colour - 300, "#e6edf3")
                    case colour if 30 <= colour < 38: style["fill"] = COLOURS.get(colour - 30, "#e6edf3")
                    case 90: style["fill"] = COLOURS[8]
            how = "".join(f' {key}="{value}"' for key, value in style.items())
            # Where spaces stand in a row, what follows has a place of its own.
            for words in re.finditer(r"\S+(?: \S+)*", text):
                x, length = 12 + (at + words.start()) * char, len(words[0]) * char
                place = f'x="{x:.1f}" y="{12 + row * (number + .75):.1f}" textLength="{length:.1f}"'
                drawn.append(f"<text {place}{how}>{html.escape(words[0])}</text>")
            at += len(text)
    width, height = round(24 + columns * char), 24 + row * len(lines)
    with open(out, "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
                   f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/><g fill="#e6edf3" '
                   f'font-family="DejaVu Sans Mono, monospace" font-size="14">{"".join(drawn)}</g></svg>\n')


if sys.argv[1] == "page":
    take_page(*sys.argv[2:])
else:
    take_terminal(*sys.argv[2:])
