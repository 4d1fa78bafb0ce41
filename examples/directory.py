#!/usr/bin/env python3
"""A plugin for kitovufs that shows a directory of this computer; it needs Python's standard library only.

    [sources.mine]
    type = "plugin"
    command = ["/path/to/directory.py"]
    path = "/srv/files"
"""

import base64
import json
import os
import stat
import sys

root = None


class Refused(Exception):
    """Something that the host must hear, with its kind (docs/plugin-protocol.md, Errors)."""

    def __init__(self, kind, message, **more):
        super().__init__(message)
        self.data = {"kind": kind, **more}


def hello(params):
    abilities = ["attributes", "one_level", "conditional", "ranges", "ordered", "digest_from_listing"]
    schema = {"type": "object", "required": ["path"], "properties": {"path": {"type": "string"}}}
    return {
        "protocol": 1,
        "name": "directory",
        "version": "1.0",
        "capabilities": dict.fromkeys(abilities, True),
        "schema": schema,
    }


def configure(params):
    global root
    if "path" not in params["info"]:
        raise Refused("invalid_config", "`path` is missing", key="path", problem="missing")
    root = os.fsencode(os.path.expanduser(params["info"]["path"]))


def connect(params):
    local("/")


def list_path(params):
    entries = []
    top = local(params["path"])
    for item in os.scandir(top):
        try:
            status = item.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # it was removed meanwhile, and the directory is still there
        path = written(os.path.relpath(item.path, root))
        if stat.S_ISDIR(status.st_mode):
            entries.append({"path": path, "kind": "directory", "modified": decimal(status.st_mtime_ns)})
        elif stat.S_ISREG(status.st_mode):
            permissions = status.st_mode & 0o777
            entries.append({"path": path, "kind": "file", "permissions": permissions, **version(status)})
        if len(entries) == 500:
            notify("entries", id=params["id"], entries=entries)
            entries = []
    return {"entries": entries}


def create_remote_digest(params):
    path = local(params["path"])
    status = os.stat(path, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        raise Refused("is_a_directory", "it is a directory")
    return version(status)


def retrieve_file(params):
    with open(local(params["path"]), "rb") as remote, open(params["file"], "wb") as out:
        # The open file is asked, not the path: whatever happens to the path now, the bytes are of one version.
        status = os.fstat(remote.fileno())
        same_version(status, params["digest"])
        remote.seek(params.get("offset", 0))
        left = params.get("length", status.st_size)
        while left > 0:
            chunk = remote.read(min(left, 1 << 20))
            if not chunk:
                raise Refused("changed", "the file has become shorter")
            left -= len(chunk)
            if left == 0:
                same_version(os.fstat(remote.fileno()), params["digest"])
            out.write(chunk)
            out.flush()
    return {"modified": decimal(status.st_mtime_ns), "size": status.st_size}


def same_version(status, digest):
    if version(status)["digest"] != digest:
        raise Refused("changed", "the file has changed")


def version(status):
    digest = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"
    return {"digest": digest, "size": status.st_size, "modified": decimal(status.st_mtime_ns)}


def decimal(nanoseconds):
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"


def local(path):
    """The place of a path of the source; one that would lead out of it is refused, and all are while the directory is away."""
    path = base64.b64decode(path["base64"]) if isinstance(path, dict) else path.encode()
    if b".." in path.split(b"/") or b"\0" in path:
        raise Refused("not_found", "there is no such path")
    # Without this, everything in it would be taken for removed.
    if not os.path.isdir(root):
        raise Refused("unreachable", "the directory is not there: is its disk mounted?")
    return os.path.join(root, path.lstrip(b"/"))


def written(path):
    """A path as the protocol has it: text, or what is no text in base64."""
    try:
        return "/" + path.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(b"/" + path).decode()}


def notify(method, **params):
    say({"jsonrpc": "2.0", "method": method, "params": params})


def say(message):
    print(json.dumps(message), flush=True)


METHODS = {
    "hello": hello,
    "configure": configure,
    "connect": connect,
    "list_path": list_path,
    "create_remote_digest": create_remote_digest,
    "retrieve_file": retrieve_file,
    "disconnect": lambda params: None,
}
KINDS = {
    FileNotFoundError: "not_found",
    NotADirectoryError: "not_a_directory",
    IsADirectoryError: "is_a_directory",
    PermissionError: "permission_denied",
}


def answer(request):
    method = METHODS.get(request.get("method"))
    if method is None:
        return {"error": {"code": -32601, "message": "unknown method"}}
    try:
        return {"result": method({**request.get("params", {}), "id": request.get("id")}) or {}}
    except Refused as e:
        return {"error": {"code": -32000, "message": str(e), "data": e.data}}
    except OSError as e:
        return {"error": {"code": -32000, "message": str(e), "data": {"kind": KINDS.get(type(e), "failed")}}}


# The loop ends, and the plugin with it, when the host closes this plugin's standard input.
for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        say({"jsonrpc": "2.0", "id": request["id"], **answer(request)})
