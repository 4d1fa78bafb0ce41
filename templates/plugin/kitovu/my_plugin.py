"""A plugin for kitovu and kitovufs. It shows two texts; replace them with what your service has.

Try it:  kitovufs plugin check --python my_plugin:MyPlugin --set path=THIS_DIRECTORY --set greeting=Hello
Show it, in ~/.config/kitovufs/config.toml:

    [sources.mine]
    type = "python"
    plugin = "my_plugin:MyPlugin"
    path = ["THIS_DIRECTORY, with its whole path"]
    greeting = "Hello"
"""

import hashlib
import pathlib

from kitovu import utils
from kitovu.sync import syncplugin


class MyPlugin(syncplugin.AbstractSyncPlugin):
    """Texts. Raise utils.AuthenticationError for a wrong password, and utils.PluginOperationError for other failures."""

    NAME = "mine"

    def __init__(self):
        self._files = {}

    def connection_schema(self):
        return {"type": "object", "properties": {"greeting": {"type": "string"}}, "required": ["greeting"]}

    def configure(self, info):
        self._files = {
            pathlib.PurePath("/hello.txt"): "{}, world!\n".format(info["greeting"]).encode(),
            pathlib.PurePath("/more/again.txt"): b"And again.\n",
        }

    def connect(self):
        """Log in to your service here."""

    def disconnect(self):
        """Log out of your service here."""

    def list_path(self, path):
        """Tells the paths of all files below a directory."""
        for file in self._files:
            if path in file.parents:
                yield file

    def create_remote_digest(self, path):
        """Tells the version of a file: the same text means the same bytes."""
        return hashlib.sha256(self._content(path)).hexdigest()

    def create_local_digest(self, path):
        """Tells the same of a copy on this computer."""
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def retrieve_file(self, path, fileobj):
        """Writes the bytes, and returns the time of the last change, in seconds, if that is known."""
        fileobj.write(self._content(path))

    def _content(self, path):
        if path not in self._files:
            raise utils.PluginOperationError("there is no file {}".format(path))
        return self._files[path]
