"""The plugin protocol on one side, kitovu's contract on the other."""

import argparse
import io
import json
import logging
import os
import pathlib
import signal
import sys
import time

from kitovufs_adapter import failures, loading, passwords, stand_ins, streams, wire

# Characters of a path; far beyond what any service has.
LONGEST_PATH = 1 << 15

# How the names of secret settings end.
SECRETS = ("password", "passwd", "passphrase", "secret", "token", "api_key", "access_key")

# Bytes of one `entries` line, and seconds that a told path waits for the next one at most.
BATCH_BYTES = 1 << 18
BATCH_SECONDS = 0.1


def main(arguments):
    """Serves one plugin until the host goes."""
    parser = argparse.ArgumentParser(prog="kitovufs-adapter")
    parser.add_argument("--path", action="append", default=[], help="a directory to import from")
    parser.add_argument("plugin", help="module:Class, or the name of an entry point")
    options = parser.parse_args(arguments)

    incoming, outgoing = streams.take()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    link = wire.Wire(incoming, outgoing)
    # Much of what libraries say at the lower level costs them time to say it.
    talkative = any(word in os.environ.get("KITOVUFS_LOG", "") for word in ("debug", "trace"))
    logging.basicConfig(handlers=[streams.Handler(link)], level=logging.DEBUG if talkative else logging.INFO)
    adapter = Adapter(options, link)
    for request in link.requests():
        link.send(adapter.answer(request))
    adapter.leave()
    streams.finish()
    return 0


class Adapter:
    """One plugin object, used by one call at a time."""

    def __init__(self, options, link):
        self._link = link
        self._name = options.plugin
        self._plugin = None
        self._broken = None
        self._failures = failures.Failures(None)
        self._schema = None
        self._info = {}
        self._connected = False
        # What a path of the protocol is to the plugin: the very object that it told.
        self._paths = {}
        try:
            loading.extend_path(options.path)
            utils = stand_ins.provide(logging.getLogger("kitovufs"))
            self._failures = failures.Failures(utils)
            self._passwords = passwords.Passwords(utils)
            self._plugin = loading.load(self._name)
            self._schema = self._read_schema()
        except loading.LoadError as error:
            # `hello` works nevertheless: `configure` is where wrong settings are told.
            self._broken = error

    def answer(self, request):
        """The response to one request."""
        method = request["method"]
        params = request.get("params") or {}
        response = {"id": request.get("id")}
        serve = getattr(self, "_serve_" + method, None)
        if serve is None:
            response["error"] = {"code": -32601, "message": "unknown method {}".format(method)}
            return response
        try:
            response["result"] = serve(params, response["id"]) or {}
        except wire.Cancelled:
            response["error"] = {"code": -32000, "message": "cancelled", "data": {"kind": "failed"}}
        except BaseException as error:
            # Also `SystemExit`: a plugin does not decide when its process ends.
            response["error"] = self._failures.describe(error, method, self._info, self._is_told(params))
        streams.finish()
        return response

    def leave(self):
        """The host has gone: ends the connection if there is one."""
        if self._connected:
            self._connected = False
            try:
                self._plugin.disconnect()
            except Exception as error:
                logging.getLogger("kitovufs").warning("disconnect: %s: %s", type(error).__name__, error)

    def _read_schema(self):
        try:
            schema = self._plugin.connection_schema()
            json.dumps(schema)
        except (AttributeError, NotImplementedError):
            return None
        except Exception as error:
            logging.getLogger("kitovufs").warning("connection_schema: %s: %s", type(error).__name__, error)
            return None
        return schema if isinstance(schema, dict) else None

    def _refuses_password(self):
        """Whether the schema allows no `password`: then it is not the plugin's, but what `get_password` answers."""
        schema = self._schema or {}
        return schema.get("additionalProperties") is False and "password" not in schema.get("properties", {})

    def _serve_hello(self, params, number):
        result = {
            "protocol": 1,
            "name": getattr(self._plugin, "NAME", None) or self._name,
            "capabilities": {"cancel": True},
        }
        if self._schema:
            result["schema"] = self._schema
            if self._refuses_password():
                properties = dict(self._schema.get("properties", {}), password={"type": "string"})
                result["schema"] = dict(self._schema, properties=properties)
        return result

    def _serve_configure(self, params, number):
        if self._broken:
            raise self._broken
        self._info = dict(params.get("info") or {})
        _hide(self._info)
        self._passwords.give(self._info.get("password"))
        info = dict(self._info)
        if self._refuses_password():
            info.pop("password", None)
        self._plugin.configure(info)

    def _serve_connect(self, params, number):
        self._plugin.connect()
        self._connected = True

    def _serve_disconnect(self, params, number):
        self._connected = False
        self._plugin.disconnect()

    def _serve_list_path(self, params, number):
        listed = self._plugin.list_path(self._path(params))
        try:
            paths = iter(listed)
        except TypeError:
            raise failures.ContractError("list_path returned {}, not paths".format(_shown(listed))) from None
        # What they are, files or the courses of a Moodle, the host finds out.
        entries, size, told, omitted = [], 0, time.monotonic(), _Omitted()
        for path in paths:
            self._link.check()
            text = _text(path)
            if len(text) > LONGEST_PATH:
                omitted.add(text, "its length is {} characters".format(len(text)))
                continue
            try:
                entries.append({"path": wire.encode_path(text)})
            except UnicodeEncodeError:
                omitted.add(text, "it cannot be written in bytes")
                continue
            self._paths[text] = path
            # A character becomes twelve bytes at most.
            size += 12 * len(text) + 64
            if size > BATCH_BYTES or time.monotonic() - told > BATCH_SECONDS:
                self._link.send({"method": "entries", "params": {"id": number, "entries": entries}})
                entries, size, told = [], 0, time.monotonic()
        if entries:
            self._link.send({"method": "entries", "params": {"id": number, "entries": entries}})
        omitted.tell()

    def _serve_create_remote_digest(self, params, number):
        return {"digest": _digest("create_remote_digest", self._plugin.create_remote_digest(self._path(params)))}

    def _serve_create_local_digest(self, params, number):
        file = pathlib.Path(_file(params))
        return {"digest": _digest("create_local_digest", self._plugin.create_local_digest(file))}

    def _serve_retrieve_file(self, params, number):
        file = _file(params)
        with _Staging(file, self._link) as staging:
            modified = self._plugin.retrieve_file(self._path(params), staging)
        if modified is None:
            return {}
        try:
            # As kitovu does it: what a plugin's local digest will see is what this sets.
            os.utime(file, (os.stat(file).st_atime, modified))
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise failures.ContractError(
                "retrieve_file returned {}, which is no time: {}".format(_shown(modified), error)
            ) from error
        nanoseconds = os.stat(file).st_mtime_ns
        sign = "-" if nanoseconds < 0 else ""
        return {"modified": "{}{}.{:09}".format(sign, *divmod(abs(nanoseconds), 10**9))}

    def _is_told(self, params):
        try:
            return self._spelling(wire.decode_path(params["path"])) is not None
        except Exception:
            return False

    def _spelling(self, text):
        """How the plugin told this path; none if it did not.

        What only an earlier process told comes with a slash in front, however it was told.
        """
        other = text[1:] if text.startswith("/") else "/" + text
        return next((spelling for spelling in (text, other) if spelling in self._paths), None)

    def _path(self, params):
        text = wire.decode_path(params["path"])
        spelling = self._spelling(text)
        if spelling is not None:
            return self._paths[spelling]
        if "\0" in text or ".." in text.split("/"):
            raise failures.BadPath("{!r} leads out of the source".format(text))
        return pathlib.PurePath(text)


class _Staging(io.BufferedWriter):
    """The file that is written: an ordinary one, but that a cancelled call gets no further."""

    def __init__(self, file, link):
        super().__init__(io.FileIO(file, "wb"))
        self._link = link
        self._flushed = time.monotonic()

    def write(self, data):
        self._link.check()
        written = super().write(data)
        # Growth is how the host sees that a slow service still answers.
        if time.monotonic() - self._flushed > 1:
            self.flush()
            self._flushed = time.monotonic()
        return written


class _Omitted:
    """What one listing leaves out, as a count with the first names and the reasons."""

    SHOWN = 3

    def __init__(self):
        self._count, self._shown = 0, []

    def add(self, text, why):
        self._count += 1
        if len(self._shown) < self.SHOWN:
            self._shown.append("{} ({})".format(_shown(text), why))

    def tell(self):
        if self._count:
            more = ", ..." if self._count > len(self._shown) else ""
            logging.getLogger("kitovufs").warning("paths left out: %d: %s%s", self._count, ", ".join(self._shown), more)


def _file(params):
    file = params["file"]
    return os.fsdecode(wire.decode_path(file).encode("utf-8", "surrogateescape"))


def _text(path):
    try:
        return os.fsdecode(os.fspath(path))
    except TypeError:
        raise failures.ContractError("list_path told {}, which is no path".format(_shown(path))) from None


def _digest(method, digest):
    if digest is None or digest == "":
        raise failures.ContractError("{} returned {}, not a digest".format(method, _shown(digest)))
    return str(digest)


def _hide(info):
    """Hides what must be a secret by its name, at any depth. (The host hides what the configuration calls one.)"""
    for key, value in info.items():
        if isinstance(value, dict):
            _hide(value)
        elif isinstance(value, str) and key.lower().replace("-", "_").endswith(SECRETS):
            streams.hide(value)


def _shown(value):
    shown = repr(value)
    return shown if len(shown) <= 100 else shown[:100] + "..."
