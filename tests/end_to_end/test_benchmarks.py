"""The benchmarks run from any folder. Their last line gives the result, or says why they cannot run."""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers.waiting import PATIENCE

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(folder: Path, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, BENCHMARKS / script, "--quick", "--json"],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_limiter_fills_every_window_and_none_too_full_where_a_stack_of_aiolimiters_does(tmp_path: Path) -> None:
    ended = run(tmp_path, "limiter.py")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["limiter"]["worst"] == {"5": 20, "25": 40, "125": 80, "625": 160}
    assert found["limiter"]["share"] == 1.0
    assert found["limiter"]["first_minute"] == 80
    assert found["aiolimiter_stack"]["worst"] == {"5": 39, "25": 79, "125": 159, "625": 319}
    assert found["paced"]["first_minute"] == 16


def test_what_a_held_third_costs_is_measured_for_each_stage(tmp_path: Path, bootstrap_servers: str) -> None:
    """Whether it costs too much, the benchmark says when it runs in full; here it has too few records to tell."""
    ended = run(tmp_path, "bulkheads.py", KAFKA_BOOTSTRAP_SERVERS=bootstrap_servers)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    for stage in ("trigger", "send", "write"):
        assert found[stage]["per_second"] > 0
        assert found[stage]["throughput_ratio"] == found[stage]["per_second_beside"] / found[stage]["per_second"]


def test_the_ledger_is_read_back_by_this_build_and_by_a_bare_consumer(tmp_path: Path, bootstrap_servers: str) -> None:
    ended = run(tmp_path, "ledger.py", KAFKA_BOOTSTRAP_SERVERS=bootstrap_servers)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    for reader in ("ours", "floor"):
        assert [each["load"] for each in found[reader]["series"]] == [1_000, 10_000, 100_000]
        assert all(each["per_second"] > 0 for each in found[reader]["series"])


def test_a_benchmark_that_finds_no_broker_says_so(tmp_path: Path) -> None:
    ended = run(tmp_path, "latency.py", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert ended.returncode == 2
    assert "cannot run: no Kafka broker answers at 127.0.0.1:1" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not ended.stdout


def test_an_index_answers_by_every_kind_of_id(tmp_path: Path) -> None:
    ended = run(tmp_path, "explain.py")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["ours"]["records"] == found["floor"]["records"] == 4 * found["ours"]["load"]
    assert {*found["ours"]["questions"]} == {"address", "record", "invitation", "attempt", "feedback", "trace"}
