"""The three standard streams: the protocol keeps its own two, and everything else that is printed goes to the log.

A plugin may print, read its standard input and run programs without harming the protocol. No secret reaches the log.
"""

import builtins
import getpass
import io
import logging
import os
import sys
import urllib.parse

# Characters of a message; what is longer helps nobody.
LONGEST_MESSAGE = 4000

# Shorter secrets than this would blot out ordinary words.
SHORTEST_SECRET = 4

_LEVELS = ((logging.ERROR, "error"), (logging.WARNING, "warn"), (logging.INFO, "info"), (logging.DEBUG, "debug"), (0, "trace"))

_secrets = []


class NoTerminal(Exception):
    """The plugin asked the user something, and nobody is there."""


def take():
    """Takes standard input and output away from everybody else, and returns them as streams of bytes."""
    incoming = open(os.dup(0), "rb")
    outgoing = open(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)
    sys.stdout = sys.stderr = _Log.text()
    builtins.input = getpass.getpass = _refuse
    return incoming, outgoing


def hide(secret):
    """From now on, this text is shown nowhere."""
    if len(secret) < SHORTEST_SECRET:
        return
    for form in {secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret), repr(secret)[1:-1]}:
        if form not in _secrets:
            _secrets.append(form)
    # What contains another goes first.
    _secrets.sort(key=len, reverse=True)


def masked(text):
    """The text without secrets."""
    for secret in _secrets:
        text = text.replace(secret, "[secret]")
    return text


class _Log(io.RawIOBase):
    """Standard error, line by line, without secrets."""

    @classmethod
    def text(cls):
        buffered = io.BufferedWriter(cls(), buffer_size=1)
        return io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace", write_through=True)

    def __init__(self):
        super().__init__()
        self._line = b""

    def writable(self):
        return True

    def fileno(self):
        return 2

    def isatty(self):
        return False

    def write(self, data):
        data = bytes(data)
        self._line += data
        # A secret may come in pieces, but none has a line break in it.
        end = self._line.rfind(b"\n") + 1
        if end == 0 and len(self._line) > 1 << 16:
            end = len(self._line)
        self._emit(end)
        return len(data)

    def finish(self):
        self._emit(len(self._line))

    def _emit(self, end):
        lines, self._line = self._line[:end], self._line[end:]
        for secret in _secrets:
            lines = lines.replace(secret.encode("utf-8", "surrogateescape"), b"[secret]")
        try:
            while lines:
                lines = lines[os.write(2, lines) :]
        except OSError:
            pass  # Nobody reads the log any more.


class Handler(logging.Handler):
    """Sends what is logged to the host with its level, which standard error would lose."""

    def __init__(self, link):
        super().__init__()
        self._link = link
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record):
        try:
            message = masked(self.format(record))[:LONGEST_MESSAGE]
        except Exception:
            self.handleError(record)
            return
        level = next(word for number, word in _LEVELS if record.levelno >= number)
        self._link.send({"method": "log", "params": {"level": level, "message": message}})


def finish():
    """Writes what stands in the last, unfinished line of the log."""
    sys.stderr.flush()
    sys.stderr.buffer.raw.finish()


def _refuse(prompt="", *_ignored, **_ignored_too):
    raise NoTerminal(
        "the plugin asks {!r}, but nobody is there to answer: set `password` in the source's table, "
        "or store it with `kitovufs login`".format(str(prompt))
    )
