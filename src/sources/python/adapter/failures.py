"""What an exception of a plugin means in the protocol. Everything that is not foreseen is `crashed`, with its traceback in the log."""

import errno
import socket
import sys
import traceback

from kitovufs_adapter import loading, streams

# How many exceptions that led to one are looked at.
LONGEST_CHAIN = 10

# Characters of a traceback that are told beside the log; its end says most.
LONGEST_TRACEBACK = 4000

_NETWORK = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# The methods that are about one file.
OF_A_FILE = ("create_remote_digest", "retrieve_file", "create_local_digest")


class BadPath(Exception):
    """A path leads out of the source."""


class ContractError(Exception):
    """A plugin's method returned what the contract does not allow."""


class NoPassword(Exception):
    """There is no password, and only the configuration can change that."""


class Failures:
    """Knows the exceptions of `kitovu.utils`, whoever provides it."""

    def __init__(self, utils):
        self._authentication = getattr(utils, "AuthenticationError", ())
        self._operation = getattr(utils, "PluginOperationError", ())
        self._usage = getattr(utils, "UsageError", ())

    def describe(self, error, method, info, is_told):
        """The `error` of a response.

        `info` is what `configure` was given; `is_told` says whether the plugin told the path that the call was about.
        """
        kind, message, more = self._kind(error, method, info)
        # The contract has no word for what is not there.
        if method in OF_A_FILE and not is_told and isinstance(error, self._operation) and kind == "failed":
            kind = "unknown_path"
        if kind == "crashed":
            told = _traceback(error)
            sys.stderr.write("{} ended with an exception that the contract does not know:\n{}".format(method, told))
            more = dict(more, traceback=streams.masked(told)[-LONGEST_TRACEBACK:])
        message = streams.masked(message)[:streams.LONGEST_MESSAGE]
        return {"code": -32000, "message": message, "data": dict(more, kind=kind)}

    def _kind(self, error, method, info):
        told = "{}: {}".format(type(error).__name__, error)
        text = str(error) or type(error).__name__
        if isinstance(error, loading.LoadError):
            return "invalid_config", text, {"key": error.key, "problem": "invalid"}
        if isinstance(error, NoPassword) and method == "configure":
            return "invalid_config", text, {"key": "password", "problem": "missing"}
        if isinstance(error, self._authentication):
            return "unauthenticated", text, {}
        if isinstance(error, self._operation):
            # What a plugin says in its own words may be an outage all the same.
            return _of_network(error) or "failed", text, {}
        if method == "configure":
            return self._of_configure(error, told, text, info)
        if isinstance(error, (self._usage, ContractError)):
            return "failed", text, {}
        if isinstance(error, BadPath):
            return "unknown_path", text, {}
        if isinstance(error, KeyError) and method in OF_A_FILE:
            return "unknown_path", "the plugin does not know this path: " + told, {}
        if isinstance(error, (NoPassword, streams.NoTerminal)):
            return "unauthenticated", text, {}
        if isinstance(error, NotImplementedError):
            return "unsupported", "the plugin does not implement {}".format(method), {}
        if isinstance(error, OSError):
            # A full disk is nobody's fault here.
            kind = "failed" if error.errno in _DISK else _of_network(error)
            return kind or "crashed", told, {}
        return "crashed", told, {}

    def _of_configure(self, error, told, text, info):
        if isinstance(error, KeyError) and error.args:
            wrong = error.args[0]
            key = _key_of(wrong, info)
            if key is not None:
                return "invalid_config", "`{}` has a value that the plugin does not know".format(key), _key(key, "invalid")
            if wrong not in info:
                return "invalid_config", "`{}` is missing".format(wrong), _key(str(wrong), "missing")
        if isinstance(error, (self._usage, streams.NoTerminal)):
            return "invalid_config", text, {"problem": "invalid"}
        if isinstance(error, ValueError):
            return "invalid_config", "the plugin refuses its settings: " + told, {"problem": "invalid"}
        return "crashed", told, {}


def _of_network(error):
    """What an error of the operating system says of the connection; none if it is about something else.

    Libraries have such errors of their own, which tell what led to them.
    """
    for _ in range(LONGEST_CHAIN):
        if not isinstance(error, Exception):
            return None
        if isinstance(error, (socket.timeout, TimeoutError)):
            return "timed_out"
        if isinstance(error, (ConnectionError, socket.gaierror)) or getattr(error, "errno", None) in _NETWORK:
            return "unreachable"
        error = error.__cause__ or error.__context__
    return None


def _key(key, problem):
    return {"key": key, "problem": problem}


def _key_of(wrong, info):
    """The key of the table that has this value, at any depth; none if there is none."""
    for key, value in info.items():
        if type(value) is type(wrong) and value == wrong:
            return key
        if isinstance(value, list) and wrong in value:
            return key
        if isinstance(value, dict) and _key_of(wrong, value) is not None:
            return key
    return None


def _traceback(error):
    trace = error.__traceback__
    # What the adapter did to get there is no news.
    while trace and trace.tb_frame.f_code.co_filename.startswith("<kitovufs_adapter/"):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))
