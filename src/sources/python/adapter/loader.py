# Makes a package of the adapter's modules, which stand in `SOURCES` as pairs of name and text: no file is needed. Then runs it.
# This much is understood by every Python, so that one that is too old can say so.
import json
import sys
import types

OLDEST = (3, 7)


def refuse():
    message = "%s is Python %d.%d, and the adapter for plugins needs %d.%d or newer: set `python` to such a one" % (
        (sys.executable,) + tuple(sys.version_info[:2]) + OLDEST
    )
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        request = json.loads(line)
        response = {"jsonrpc": "2.0", "id": request.get("id")}
        if request.get("method") == "hello":
            response["result"] = {"protocol": 1, "name": "python"}
        else:
            problem = {"kind": "invalid_config", "key": "python", "problem": "invalid"}
            response["error"] = {"code": -32000, "message": message, "data": problem}
        sys.stdout.write(json.dumps(response) + "\n")
        sys.stdout.flush()


def run():
    package = types.ModuleType("kitovufs_adapter")
    package.__path__ = []
    sys.modules[package.__name__] = package
    for name, source in SOURCES:
        module = types.ModuleType(package.__name__ + "." + name)
        sys.modules[module.__name__] = module
        setattr(package, name, module)
        exec(compile(source, "<kitovufs_adapter/" + name + ".py>", "exec"), module.__dict__)
    # Where `-c` puts the current directory, of which nobody said that plugins are in it.
    if sys.path[:1] == [""]:
        del sys.path[0]
    sys.exit(package.main.main(sys.argv[1:]))


if sys.version_info < OLDEST:
    refuse()
else:
    run()
