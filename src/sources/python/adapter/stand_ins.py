"""Provides the modules that plugins for kitovu import, where kitovu itself is not installed.

Written from the contract, not from kitovu's sources. What only the tool itself uses is not here.
"""

import abc
import importlib
import pathlib
import sys
import types
import typing

JsonType = typing.Dict[str, typing.Any]


class Error(Exception):
    """Any failure that kitovu foresees."""


class UsageError(Error):
    """The user must change something."""


class NoPluginError(UsageError):
    """There is no such plugin."""


class InvalidSettingsError(UsageError):
    """A setting is wrong. Takes a text, or an object whose `error_message` is one."""

    def __init__(self, validator):
        super().__init__(getattr(validator, "error_message", validator))
        self.errors = getattr(validator, "errors", [])


class PluginOperationError(Error):
    """One operation of a plugin failed."""


class AuthenticationError(PluginOperationError):
    """The service did not accept the credentials."""


def sanitize_filename(name):
    """The path with what Windows allows in no name replaced by underscores; separators stay."""
    return pathlib.PurePath(str(name).translate({ord(bad): "_" for bad in ':*?"<>|'}))


class AbstractSyncPlugin(abc.ABC):
    """The seven methods that make a service readable."""

    NAME: typing.Optional[str] = None

    @abc.abstractmethod
    def configure(self, info):
        """Reads the plugin's settings."""

    @abc.abstractmethod
    def connect(self):
        """Connects to the service."""

    @abc.abstractmethod
    def disconnect(self):
        """Ends what `connect` began."""

    @abc.abstractmethod
    def create_local_digest(self, path):
        """The digest of a local file."""

    @abc.abstractmethod
    def create_remote_digest(self, path):
        """The digest of a remote file."""

    @abc.abstractmethod
    def list_path(self, path):
        """Paths of all files below a remote directory."""

    @abc.abstractmethod
    def retrieve_file(self, path, fileobj):
        """Writes a remote file to `fileobj`; returns the time of its last change, if known."""

    def connection_schema(self):
        """A JSON schema of the settings, if there is one."""
        raise NotImplementedError


def provide(log):
    """Makes `kitovu.utils` and `kitovu.sync.syncplugin` importable, kitovu's own if possible; returns the former."""
    for name in ("kitovu", "kitovu.sync"):
        _provide(name, _package, log)
    utils = _provide("kitovu.utils", _utils, log)
    _provide("kitovu.sync.syncplugin", _syncplugin, log)
    return utils


def _provide(name, make, log):
    try:
        return importlib.import_module(name)
    except Exception as error:
        # Not installed is the usual case. Anything else is worth a word: kitovu is there, but does not work here.
        if not isinstance(error, ModuleNotFoundError) or error.name != name:
            log.warning("kitovu's own %s cannot be used here (%s): kitovufs takes its place", name, error)
    module = make(types.ModuleType(name))
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def _package(module):
    module.__path__ = []
    return module


def _utils(module):
    for part in (
        JsonType,
        Error,
        UsageError,
        NoPluginError,
        InvalidSettingsError,
        PluginOperationError,
        AuthenticationError,
        sanitize_filename,
    ):
        name = "JsonType" if part is JsonType else part.__name__
        setattr(module, name, part)
    module.__getattr__ = _lacking(module.__name__)
    return module


def _syncplugin(module):
    module.AbstractSyncPlugin = AbstractSyncPlugin
    module.__getattr__ = _lacking(module.__name__)
    return module


def _lacking(module):
    def lacking(name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"kitovufs provides no {module}.{name}: install kitovu itself for this Python")

    return lacking
