#!/usr/bin/env python3
"""A plugin for kitovufs. It shows two texts; replace them with what your service has.

Try it:  kitovufs plugin check --set greeting=Hello THIS_FILE
Show it, in ~/.config/kitovufs/config.toml:

    [sources.mine]
    type = "plugin"
    command = ["THIS_FILE, with its whole path"]
    greeting = "Hello"
"""

import hashlib
import json
import sys

files = {}


class Refused(Exception):
    """What the host must hear; the kinds are in the protocol's section on errors."""

    def __init__(self, kind, message, **more):
        super().__init__(message)
        self.data = {"kind": kind, **more}


def hello(params):
    return {
        "protocol": 1,
        "name": "my service",
        "capabilities": {"attributes": True, "one_level": True, "conditional": True, "content_digest": "sha256"},
    }


def configure(params):
    info = params["info"]
    if "greeting" not in info:
        raise Refused("invalid_config", "`greeting` is missing", key="greeting", problem="missing")
    files["/hello.txt"] = f"{info['greeting']}, world!\n".encode()
    files["/more/again.txt"] = b"And again.\n"


def connect(params):
    """Log in to your service here."""


def list_path(params):
    top = params["path"].rstrip("/") + "/"
    below = [path for path in files if path.startswith(top)]
    if not below and top != "/":
        raise Refused("not_found", f"there is no directory {params['path']}")
    entries = {}
    for path in below:
        name, slash, _ = path.removeprefix(top).partition("/")
        if slash:
            entries[name] = {"path": top + name, "kind": "directory"}
        else:
            entries[name] = {"path": path, "kind": "file", "size": len(files[path])}
    return {"entries": list(entries.values())}


def create_remote_digest(params):
    content = content_of(params["path"])
    return {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)}


def retrieve_file(params):
    content = content_of(params["path"])
    if hashlib.sha256(content).hexdigest() != params["digest"]:
        raise Refused("changed", "the file has changed")
    with open(params["file"], "wb") as out:
        out.write(content)


def disconnect(params):
    """Log out of your service here."""


def content_of(path):
    if path not in files:
        raise Refused("not_found", f"there is no file {path}")
    return files[path]


METHODS = [hello, configure, connect, list_path, create_remote_digest, retrieve_file, disconnect]


def answer(request):
    for method in METHODS:
        if method.__name__ == request["method"]:
            try:
                return {"result": method(request.get("params", {})) or {}}
            except Refused as e:
                return {"error": {"code": -32000, "message": str(e), "data": e.data}}
    return {"error": {"code": -32601, "message": "unknown method"}}


# Standard output is for messages only; print to sys.stderr what people should see in the log.
for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer(request)}), flush=True)
