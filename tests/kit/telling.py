#!/usr/bin/env python3
"""A plugin with one file, which says by itself when that has changed."""

import json
import os
import sys
import threading
import time

place = sys.argv[1]
lock = threading.Lock()


def say(**message):
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def stamp():
    status = os.stat(place)
    return f"{status.st_mtime_ns} {status.st_size}"


def watch():
    seen = stamp()
    while True:
        time.sleep(0.05)
        now = stamp()
        if now != seen:
            seen = now
            say(method="changed", params={"path": "/file"})


def answer(method, params):
    size = os.stat(place).st_size
    if method == "hello":
        able = dict.fromkeys(["attributes", "one_level", "notify", "digest_from_listing"], True)
        return {"protocol": 1, "name": "telling", "capabilities": able}
    if method == "list_path":
        return {"entries": [{"path": "/file", "kind": "file", "size": size, "digest": stamp()}]}
    if method == "create_remote_digest":
        return {"digest": stamp(), "size": size}
    if method == "retrieve_file":
        with open(place, "rb") as content, open(params["file"], "wb") as out:
            out.write(content.read())
    return {}


threading.Thread(target=watch, daemon=True).start()
for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "create_local_digest":
        say(id=request["id"], error={"code": -32601, "message": "unknown method"})
    elif "id" in request:
        say(id=request["id"], result=answer(request["method"], request.get("params", {})))
