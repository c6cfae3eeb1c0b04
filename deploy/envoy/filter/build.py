"""Compiles the filters with the C compiler of the wheel `ziglang`: the same one everywhere, for every kind of machine.

python -m deploy.envoy.filter.build                         for this machine; prints where the library lies
python -m deploy.envoy.filter.build aarch64 libpenstock.so  for another one, into a file
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent
NAME = "libpenstock.so"
"""As Envoy looks for the module `penstock` in ENVOY_DYNAMIC_MODULES_SEARCH_PATH."""

GLIBC = "2.17"  # older than that of any system on which Envoy runs
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wvla", "-Werror")
FLAGS = ("-std=c11", "-O2", *WARNINGS, "-fstack-protector-strong")
UNCHECKED = ("-fno-sanitize=undefined",)  # the compiler's own default would end Envoy at faults that are none of memory
LINK = ("-shared", "-fPIC", "-pthread", "-Wl,-Bsymbolic")  # our own functions are ours, whatever Envoy exports


class NotCompiled(Exception):
    """What the compiler said."""


def library(sources: Path = SOURCES) -> Path:
    """The library for this machine, compiled when its sources are new. It lies in the environment that compiles it.

    One that is in use is never written to: a running Envoy has it mapped.
    """
    digest = hashlib.sha256(repr((FLAGS, UNCHECKED, LINK, GLIBC, platform.machine())).encode())
    for source in _files(sources):
        digest.update(source.read_bytes())
    built = Path(sys.prefix) / "lib" / "penstock" / digest.hexdigest()[:16] / NAME
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        compile_to(built, sources=sources)
    return built


def compile_to(
    output: Path, *, machine: str = "", sources: Path = SOURCES, checks: tuple[str, ...] = UNCHECKED
) -> None:
    """Compile all of `sources`. `checks` are what tests want to be told of at run time. Raises NotCompiled."""
    target = f"{machine or platform.machine()}-linux-gnu.{GLIBC}"
    with tempfile.TemporaryDirectory(dir=output.parent) as work:
        made = Path(work) / NAME
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *FLAGS, *checks, *LINK, "-o", str(made)]
        command += [str(source) for source in _files(sources) if source.suffix == ".c"]
        caches = {"ZIG_GLOBAL_CACHE_DIR": work, "ZIG_LOCAL_CACHE_DIR": work}
        done = subprocess.run(command, env={**os.environ, **caches}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotCompiled(done.stderr)
        made.replace(output)


def _files(sources: Path) -> list[Path]:
    return sorted(file for file in sources.iterdir() if file.suffix in (".c", ".h"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.envoy.filter.build")
    parser.add_argument("machine", nargs="?", help="x86_64 or aarch64")
    parser.add_argument("output", nargs="?", type=Path)
    wanted = parser.parse_args()
    try:
        if wanted.machine is None:
            print(library())  # noqa: T201  the answer of a command
        elif wanted.output is None:
            parser.error("say where to write it")
        else:
            compile_to(wanted.output.absolute(), machine=wanted.machine)
    except NotCompiled as fault:
        raise SystemExit(str(fault)) from fault


if __name__ == "__main__":
    main()
