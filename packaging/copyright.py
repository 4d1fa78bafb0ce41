#!/usr/bin/env python3
"""Writes what a package must say of licences: `copyright` in Debian's form (DEP-5) for kitovufs itself, and `third-party-licenses`, the texts
under which the crates stand that are linked into the program.

cargo metadata --format-version 1 --locked --filter-platform x86_64-unknown-linux-gnu | packaging/copyright.py LICENSE-MIT DIRECTORY
"""

import json
import sys
from pathlib import Path

COMMON = "On Debian systems, the text is in /usr/share/common-licenses/Apache-2.0."


def linked(metadata):
    """The crates that are linked into the program: without those that only tests, macros or build scripts need."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    found, left = set(), [root]
    while left:
        package = left.pop()
        if package not in found:
            found.add(package)
            normal = [dep["pkg"] for dep in nodes[package]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
            left += [dep for dep in normal if "proc-macro" not in packages[dep]["targets"][0]["kind"]]
    return sorted((packages[package] for package in found - {root}), key=lambda package: package["name"])


def texts(crate):
    """The texts of its licence: MIT's alone, if that may be chosen."""
    dir = Path(crate["manifest_path"]).parent
    files = sorted(file for file in dir.iterdir() if file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "UNLICENSE", "NOTICE")))
    mit = [file for file in files if "MIT" in file.name.upper()]
    chosen = mit if mit and "AND" not in (crate["license"] or "") else files
    return [file.read_text(encoding="utf-8", errors="replace").strip() for file in chosen if file.is_file()]


def main():
    own, directory = Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2])
    crates = linked(json.load(sys.stdin))
    holder = next(line for line in own.splitlines() if line.startswith("Copyright")).removeprefix("Copyright (c) ")
    mit = own.split(holder, 1)[1].strip()
    indented = "\n".join(f" {line.rstrip() or '.'}" for line in mit.splitlines())
    (directory / "copyright").write_text(
        f"""Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: kitovufs
Comment: The {len(crates)} crates that are linked into the program, and their
 licences, are in third-party-licenses.gz beside this file.

Files: *
Copyright: {holder}
License: MIT or Apache-2.0

License: MIT
{indented}

License: Apache-2.0
 {COMMON}
""",
        encoding="utf-8",
    )
    same = {}
    for crate in crates:
        for text in texts(crate) or [f"(The crate has no text. Its licence is {crate['license']}.)"]:
            same.setdefault(text, []).append(f"{crate['name']} {crate['version']} ({crate['license']})")
    parts = ("\n".join(crates) + "\n\n" + text + "\n" for text, crates in same.items())
    (directory / "third-party-licenses").write_text(f"\n{'-' * 78}\n\n".join(parts), encoding="utf-8")


main()
