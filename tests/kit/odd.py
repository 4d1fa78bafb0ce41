#!/usr/bin/env python3
"""A plugin that does what a test tells it to: its settings say which files it has and what it does wrong.

files         a file with {path = content}
capabilities  {…}                 as in the answer to `hello`
schema        {…}
variables     [names]             those that are in the environment are noted as "has NAME" for every process
limits        true                notes the longest file that it may write at each hello
wrong         {method = what}     see `misbehave`; what begins with "once " happens only once in the life of `journal`
journal       file                every request is written there: method, a blank, path; "start" for every process
"""

import json
import os
import resource
import socket
import sys
import time
import zlib

info = json.loads(sys.argv[1])
with open(info["files"]) as table:
    files = {path: content.encode() for path, content in json.load(table).items()}
journal = info.get("journal", "/dev/null")


def note(text):
    with open(journal, "a") as out:
        out.write(text + "\n")


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def raw(text):
    os.write(1, text.encode())


def fail(id, kind, **more):
    say({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": f"refused with {kind}", "data": {"kind": kind, **more}}})


def entry(path):
    made = {"path": path}
    if info.get("capabilities", {}).get("attributes"):
        made.update(kind="file", size=len(files[path]), modified=1700000000.5)
    if info.get("capabilities", {}).get("digest_from_listing"):
        made["digest"] = digest(files[path])
    return made


def digest(content):
    return f"{len(content)}:{zlib.crc32(content):x}"


def take():
    """The next request, which is read before the last one is answered."""
    request = json.loads(sys.stdin.readline())
    note(f"{request['method']} {request.get('params', {}).get('path', '')}".strip())
    return request


def misbehave(what, id, params):
    """Whether that was the answer."""
    what, _, more = what.partition(":")
    if what == "hang":
        time.sleep(3600)
    elif what == "die":
        os._exit(3)
    elif what == "say and die":
        sys.stderr.write("no module named x\n")
        sys.stderr.flush()
        os._exit(3)
    elif what == "die in mid-frame":
        raw('{"jsonrpc":"2.0","id":')
        os._exit(3)
    elif what == "die while writing":
        with open(params["file"], "wb") as out:
            out.write(files[params["path"]][:1])
        os._exit(3)
    elif what == "garbage":
        raw("hello, this is a print\n\n[1]\n")
        return False
    elif what == "broken entries":
        raw('{"jsonrpc":"2.0","method":"entries","params":{"id":%d,"entries":[{"path":"/a"},{"pa\n' % id)
        return False
    elif what == "no line end":
        while True:
            raw("x" * 65536)
    elif what == "long line":
        raw(json.dumps({"jsonrpc": "2.0", "id": id, "result": {"digest": "x" * (2 << 20)}}) + "\n")
    elif what == "flood":
        while True:
            raw('{"jsonrpc":"2.0","method":"changed","params":{"path":"/a"}}\n' * 1000)
    elif what == "noise":
        for number in range(1000):
            sys.stderr.write(f"noise {number}\n")
        return False
    elif what == "close":
        os.close(0)
        time.sleep(3600)
    elif what == "fork":
        if os.fork() == 0:
            time.sleep(3600)
        os._exit(0)
    elif what == "half":
        say({"jsonrpc": "2.0", "method": "entries", "params": {"id": id, "entries": [entry(next(iter(files)))]}})
        fail(id, more or "failed")
    elif what == "fail":
        fail(id, more)
    elif what == "missing":
        fail(id, "invalid_config", key=more, problem="missing")
    elif what == "invalid":
        fail(id, "invalid_config", key=more, problem="invalid")
    elif what == "slowly" and "file" in params:
        with open(params["file"], "wb", buffering=0) as out:
            for byte in files[params["path"]]:
                time.sleep(0.3)
                out.write(bytes([byte]))
        say({"jsonrpc": "2.0", "id": id, "result": {}})
    elif what == "slowly":
        for name in files:
            time.sleep(0.3)
            say({"jsonrpc": "2.0", "method": "entries", "params": {"id": id, "entries": [entry(name)]}})
        say({"jsonrpc": "2.0", "id": id, "result": {}})
    elif what == "progress for ever":
        told = 0
        while True:
            told += 1
            time.sleep(0.02)
            say({"jsonrpc": "2.0", "method": "progress", "params": {"id": id, "bytes": told}})
    elif what == "the same entries for ever":
        while True:
            time.sleep(0.02)
            say({"jsonrpc": "2.0", "method": "entries", "params": {"id": id, "entries": [entry(next(iter(files)))]}})
    elif what == "write for ever":
        with open(params["file"], "wb", buffering=0) as out:
            try:
                while True:
                    out.write(b"x" * (1 << 20))
            except OSError:
                note("no more may be written")
                time.sleep(3600)
    elif what == "replace":
        os.remove(params["file"])
        if more == "fifo":
            os.mkfifo(params["file"])
        elif more == "socket":
            socket.socket(socket.AF_UNIX).bind(params["file"])
        elif more == "directory":
            os.mkdir(params["file"])
        elif more == "link":
            os.symlink(info["files"], params["file"])
        say({"jsonrpc": "2.0", "id": id, "result": {}})
    elif what == "other bytes":
        files[params["path"]] = b"changed!"
        return False
    elif what == "wait for cancel":
        request = take()
        while request["method"] != "cancel" or request["params"]["id"] != id:
            request = take()
        fail(id, "failed")
    elif what == "answer digests in pairs":
        other = take()
        pair = [(id, params), (other["id"], other["params"])]
        for number, asked in reversed(pair) if more == "last first" else pair:
            say({"jsonrpc": "2.0", "id": number, "result": answer("create_remote_digest", number, asked)})
    elif what == "answer":
        say({"jsonrpc": "2.0", "id": id, "result": json.loads(more)})
    else:
        raise ValueError(what)
    return True


def children(path):
    """Moodle's way: `/` gives what looks like files; each of those, exactly, gives what is below it."""
    if not info.get("courses"):
        prefix = path.rstrip("/") + "/"
        names = [name for name in files if ("/" + name.lstrip("/")).startswith(prefix)]
        if not names and path != "/":
            raise KeyError(path)
        return names
    courses = info["courses"]
    if path == "/":
        return courses
    if path not in courses:
        raise KeyError(path)
    return [name for name in files if name.startswith(path + "/")]


told = set()


def answer(method, id, params):
    path = params.get("path")
    if method == "hello":
        if info.get("limits"):
            note(f"longest file {resource.getrlimit(resource.RLIMIT_FSIZE)[1]}")
        hello = {"protocol": 1, "name": "odd", "capabilities": info.get("capabilities", {}), "new": 1}
        return {**hello, "schema": info["schema"]} if "schema" in info else hello
    if method in ("configure", "connect", "disconnect"):
        return {}
    if method == "list_path":
        try:
            names = children(path)
        except KeyError:
            fail(id, "failed")
            return None
        told.update(names)
        for name in names:
            made = entry(name) if name in files else {"path": name}
            say({"jsonrpc": "2.0", "method": "entries", "params": {"id": id, "entries": [made]}})
        return {}
    if method == "create_remote_digest":
        if info.get("strict") and path not in told or path not in files:
            fail(id, "unknown_path" if info.get("strict") else "not_found")
            return None
        made = {"digest": digest(files[path])}
        return {**made, "size": len(files[path])} if info.get("sizes", True) else made
    if method == "create_local_digest" and info.get("local", True):
        with open(params["file"], "rb") as copy:
            return {"digest": digest(copy.read())}
    if method == "retrieve_file":
        start = params.get("offset", 0)
        content = files[path][start : start + params.get("length", len(files[path]))]
        with open(params["file"], "wb") as out:
            out.write(content)
        return {"modified": 1700000000.25}
    say({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "unknown method"}})
    return None


note("start")
for name in info.get("variables", []):
    if name in os.environ:
        note(f"has {name}")
for line in sys.stdin:
    request = json.loads(line)
    id, method, params = request.get("id"), request["method"], request.get("params", {})
    note(f"{method} {params.get('path', '')}".strip())
    what = info.get("wrong", {}).get(method)
    if what and what.startswith("once "):
        marker = f"{journal}.{method}"
        what = None if os.path.exists(marker) else what.removeprefix("once ")
        open(marker, "w").close()
    if id is None or what and misbehave(what, id, params):
        continue
    result = answer(method, id, params)
    if result is not None:
        say({"jsonrpc": "2.0", "id": id, "result": result})
