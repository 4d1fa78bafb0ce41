"""From `module:Class`, or the name of an entry point, to a plugin object. Whatever is wrong is a `LoadError` that says what to do."""

import builtins
import importlib
import os
import pathlib
import sys
import typing

GROUP = "kitovu.sync.plugin"

# The plugins that come with kitovu and have no entry point there.
UPSTREAM = {"smb": "kitovu.sync.plugin.smb:SmbPlugin", "moodle": "kitovu.sync.plugin.moodle:MoodlePlugin"}

METHODS = (
    "configure",
    "connect",
    "disconnect",
    "list_path",
    "create_remote_digest",
    "create_local_digest",
    "retrieve_file",
)


class LoadError(Exception):
    """The plugin cannot be used; `key` is the setting to look at."""

    def __init__(self, message, key="plugin"):
        super().__init__(message)
        self.key = key


def extend_path(directories):
    """Lets modules be imported from these directories."""
    for directory in reversed(directories):
        if not os.path.isdir(directory):
            raise LoadError("there is no directory {}".format(directory), "path")
        sys.path.insert(0, directory)


def load(name):
    """The plugin object of this name."""
    # The contract's own example uses these two without importing them.
    builtins.pathlib, builtins.typing = pathlib, typing
    make = _find(name)
    _check(name, make)
    try:
        return make()
    except BaseException as error:  # Also `SystemExit`, here and below: that is no way to say what is wrong.
        raise LoadError("{}: cannot be made: {}".format(name, _told(error))) from error


def _find(name):
    if ":" in name:
        return _attribute(name)
    installed = _entry_points()
    values = sorted(installed.get(name, ()))
    if len(values) > 1:
        raise LoadError("several plugins are called {}; write one of: {}".format(name, ", ".join(values)))
    if values:
        return _attribute(values[0])
    upstream = {name: place for name, place in UPSTREAM.items() if _is_installed(place.partition(":")[0])}
    if name in upstream:
        return _attribute(upstream[name])
    known = ", ".join(sorted(set(installed) | set(upstream))) or "none"
    raise LoadError(
        'no plugin called {} is installed for {} (installed: {}); install it there, set `python` to the Python that has it, '
        'or write plugin = "module:Class"'.format(name, sys.executable, known)
    )


def _entry_points():
    """What is installed: for each name the places, `module:Class`."""
    try:
        from importlib import metadata
    except ImportError:  # Before Python 3.8 there is only setuptools' way.
        try:
            import pkg_resources
        except ImportError:
            return {}
        points = list(pkg_resources.iter_entry_points(GROUP))
        pairs = [(point.name, point.module_name + ":" + ".".join(point.attrs)) for point in points]
    else:
        found = metadata.entry_points()
        points = found.select(group=GROUP) if hasattr(found, "select") else found.get(GROUP, ())
        # After the place there may stand what a package needs for it, in brackets.
        pairs = [(point.name, point.value.partition("[")[0].strip()) for point in points]
    installed = {}
    for name, value in pairs:
        installed.setdefault(name, set()).add(value)
    return installed


def _is_installed(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def _attribute(place):
    module_name, _, path = (part.strip() for part in place.partition(":"))
    if not module_name or not path:
        raise LoadError('{!r} names no class; write plugin = "module:Class"'.format(place))
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # The module itself or a package around it, or something else that it imports.
        if error.name and (module_name + ".").startswith(error.name + "."):
            raise LoadError(
                "there is no module {} for {}; set `path` to the directory that it is in, or `python` to the "
                "Python that has it".format(error.name, sys.executable)
            ) from error
        raise LoadError(
            "{} needs the module {}, which is not installed for {}".format(module_name, error.name, sys.executable)
        ) from error
    except SyntaxError as error:
        where = "{}, line {}".format(error.filename, error.lineno)
        raise LoadError(
            "{}: this is no Python {}.{}: {}".format(where, sys.version_info[0], sys.version_info[1], error.msg)
        ) from error
    except BaseException as error:
        raise LoadError("{}: cannot be imported: {}".format(module_name, _told(error))) from error
    for part in path.split("."):
        if not hasattr(found, part):
            classes = [name for name, value in vars(found).items() if isinstance(value, type) and _is_own(value, found)]
            known = ", ".join(sorted(classes)) or "none"
            raise LoadError("there is no {} in {} (classes there: {})".format(path, module_name, known))
        found = getattr(found, part)
    return found


def _is_own(value, module):
    return value.__module__ == getattr(module, "__name__", None)


def _check(name, make):
    if not callable(make):
        raise LoadError("{} is no class".format(name))
    if not isinstance(make, type):
        return
    missing = [method for method in METHODS if not callable(getattr(make, method, None))]
    abstract = getattr(make, "__abstractmethods__", frozenset())
    missing += [method for method in METHODS if method in abstract]
    if missing:
        raise LoadError("{} lacks what the contract asks for: {}".format(name, ", ".join(missing)))
    if abstract:
        # Newer versions of kitovu ask for more than the contract does: `connection_schema`.
        make.__abstractmethods__ = frozenset()


def _told(error):
    return "{}: {}".format(type(error).__name__, error)
