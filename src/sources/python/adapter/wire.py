"""JSON-RPC 2.0, a message a line: reads requests in a thread of its own, so that `cancel` and the end are seen during a call."""

import base64
import json
import os
import queue
import threading

# Bytes of a line, as the protocol says.
LONGEST_LINE = 1 << 20

# Seconds that a call may go on once the host has gone.
GRACE = 5


class Cancelled(BaseException):
    """Nobody wants the running call's result any more. No `Exception`, so that no plugin takes it for a failure of its own."""


class Wire:
    """Both directions. Only `check` and the reading thread look at `cancel`."""

    def __init__(self, incoming, outgoing):
        self._incoming = incoming
        self._outgoing = outgoing
        self._requests = queue.Queue()
        self._cancelled = set()
        self._running = None
        self._gone = False
        self._sending = threading.Lock()
        threading.Thread(target=self._read, daemon=True, name="kitovufs requests").start()

    def requests(self):
        """Requests, one after the other, until the host goes."""
        while True:
            request = self._requests.get()
            if request is None:
                return
            self._running = request.get("id")
            yield request
            self._cancelled.discard(self._running)
            self._running = None

    def check(self):
        """To be called now and then during a call; raises `Cancelled` if it is one."""
        if self._gone or self._running in self._cancelled:
            raise Cancelled

    def send(self, message):
        """Sends one message; ends the process if nobody is there to read it."""
        line = json.dumps(dict(message, jsonrpc="2.0")).encode("ascii") + b"\n"
        try:
            # A plugin's threads may log while it answers.
            with self._sending:
                while line:
                    line = line[self._outgoing.write(line) :]
        except OSError:
            os._exit(1)

    def _read(self):
        for line in iter(lambda: self._incoming.readline(LONGEST_LINE + 1), b""):
            try:
                message = json.loads(line.decode("utf-8"))
            except ValueError:
                message = None
            if not isinstance(message, dict):
                self.send({"method": "log", "params": {"level": "warn", "message": "a line of the host is no message"}})
            elif message.get("method") == "cancel":
                # Of a call that is over already there is nothing to remember.
                self._cancelled.add((message.get("params") or {}).get("id"))
            elif "method" in message and "id" in message:
                self._requests.put(message)
        self._gone = True
        self._requests.put(None)
        # A call that hangs must not outlive the host.
        end = threading.Timer(GRACE, os._exit, [1])
        end.daemon = True
        end.start()


def encode_path(text):
    """A path as the protocol writes it. Bytes that are no UTF-8 stand in it as `os.fsdecode` puts them there."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return {"base64": base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")}


def decode_path(value):
    """The text of a path from the protocol."""
    if isinstance(value, dict):
        return base64.b64decode(value["base64"]).decode("utf-8", "surrogateescape")
    return value
