"""Runs every benchmark and writes REPORT.md and its plots beside this script.

A benchmark that cannot run here, or takes too long, is in the report with the reason.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from _page import Ran, page

FOLDER = Path(__file__).parent
LIBRARIES = ("aiokafka", "faust-streaming", "aiohttp", "grpcio", "fastavro", "orjson", "pydantic")
QUICK_WITHIN, FULL_WITHIN = 240, 3_600  # seconds for one script: some times what it should need
CANNOT_RUN = 2  # the exit code; the last line of stderr says why


def scripts() -> list[Path]:
    """The benchmarks, by name: every script here that is not a part of others."""
    return sorted(path for path in FOLDER.glob("*.py") if not path.name.startswith("_") and path != Path(__file__))


def run(script: Path, full: bool) -> Ran:
    """Runs a benchmark; its figures are the last line that it prints."""
    print(f"{script.stem} …", file=sys.stderr, flush=True)
    name, mode = script.stem, [] if full else ["--quick"]
    try:
        ended = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, script, *mode, "--json"],
            capture_output=True,
            text=True,
            timeout=FULL_WITHIN if full else QUICK_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return Ran(name, None, "", f"it took longer than {error.timeout:g} s")
    *table, last = ended.stdout.splitlines() or [""]
    said = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if ended.returncode == CANNOT_RUN:
        return Ran(name, None, "", said)
    try:
        return Ran(name, json.loads(last), "\n".join(table))
    except ValueError:
        return Ran(name, None, ended.stdout, f"it ended with exit code {ended.returncode}: {said}")


def additions() -> float:
    """Seconds for ten million additions: how fast a core is now. It changes on a machine that others use too."""
    began, total = time.perf_counter(), 0
    for number in range(10_000_000):
        total += number
    return time.perf_counter() - began


def machine(full: bool, seconds: Sequence[float]) -> dict[str, str]:
    """What the figures depend on. `seconds` are what `additions` took during the run."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "run": "full" if full else "short (`make bench ARGS=--full` runs the full one)",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cores and memory": f"{os.cpu_count()}, {memory:.0f} GB",
        "Python": platform.python_version(),
        "seconds for 10,000,000 additions": f"{min(seconds):.2f} to {max(seconds):.2f} during the run",
        **{name: version(name) for name in LIBRARIES},
    }


def write(ran: Sequence[Ran], about: Mapping[str, str], folder: Path = FOLDER) -> None:
    """Writes the page, and replaces all earlier plots. `about` is what the figures depend on."""
    text, plots = page(ran, about)
    (folder / "REPORT.md").write_text(text, encoding="utf-8")
    kept = folder / "plots"
    kept.mkdir(exist_ok=True)
    for earlier in kept.glob("*.svg"):
        earlier.unlink()
    for name, svg in plots.items():
        (kept / name).write_text(svg, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the full run of each benchmark, which takes an hour or so")
    full = parser.parse_args().full
    ran, seconds = [], [additions()]
    for script in scripts():
        ran.append(run(script, full))
        seconds.append(additions())
    write(ran, machine(full, seconds))
    failed = [claim for each in ran for claim in (each.figures or {}).get("claims", ()) if not claim["holds"]]
    print(f"{len(ran)} benchmarks; see {os.path.relpath(FOLDER / 'REPORT.md')}", file=sys.stderr)
    return 1 if full and failed else 0


if __name__ == "__main__":
    sys.exit(main())
