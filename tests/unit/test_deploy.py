"""What `deploy/` gives to Prometheus and Grafana names only metrics that exist, and each alert has its run-book.
`docker-compose.yml` mounts what there is, and gives `live` what the examples read.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from helpers.certificates import Authority
from helpers.waiting import PATIENCE
from structlog.testing import capture_logs

from connector.certificates import server_context
from connector.config import Service
from connector.observe.health import Server
from connector.observe.metrics import Metrics
from connector.operate import status

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = [rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
PANELS = json.loads((DEPLOY / "grafana" / "connector.json").read_text())["panels"]
TESTS = sorted(DEPLOY.glob("alerts*_test.yaml"))


def queries() -> list[str]:
    """Those of the dashboard's panels."""
    return [target["expr"] for panel in PANELS for target in panel.get("targets", [])]


def exported() -> set[str]:
    """The names that a query can use."""
    suffixes = {"histogram": ("_bucket", "_count", "_sum")}
    described = Metrics().registry.described
    return {one.name + suffix for one in described for suffix in suffixes.get(one.kind, ("",))}


@pytest.mark.parametrize("text", [*(rule["expr"] for rule in RULES), *queries()])
def test_a_query_names_only_what_is_exported(text: str) -> None:
    named = set(re.findall(r"\bconnector_\w+", text))
    recorded = set(re.findall(r"\baccount:[\w:]+", text))
    assert named or recorded
    assert named <= exported()
    assert recorded <= RECORDED


def test_the_rules_tests_name_only_what_is_exported() -> None:
    named = {name for file in TESTS for name in re.findall(r"\bconnector_\w+", file.read_text())}
    assert len(named) > 10
    assert named <= exported()


def test_the_panels_do_not_overlap_and_each_says_what_it_shows() -> None:
    cells = [
        (x, y)
        for panel in PANELS
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
    assert all(panel["description"] for panel in PANELS if panel["type"] != "row")
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do_has_a_runbook_and_is_tested(name: str) -> None:
    annotations = ALERTS[name]["annotations"]
    assert set(annotations) == {"summary", "action", "runbook_url"}
    assert "\n" not in annotations["summary"]
    assert ALERTS[name]["labels"]["severity"] in {"page", "ticket"}
    page, _, anchor = annotations["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor == name.lower()
    assert name in headings
    assert any(re.search(rf'"{name}"|"{name[:17]}\.\*"', file.read_text()) for file in TESTS)


def test_no_runbook_is_left_over() -> None:
    assert re.findall(r"^## (.+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE) == list(ALERTS)


def test_an_old_position_is_as_old_for_prometheus_as_for_connector_status() -> None:
    hours = status._OLD.total_seconds() / 3600
    assert f"> {hours:.0f} * 3600" in ALERTS["ConnectorPositionOld"]["expr"]


async def healthcheck(port: int) -> int:
    """The exit code of the image's check, beside a service on this port."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    (said,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    check = await asyncio.create_subprocess_exec(*json.loads(said), env={"SERVICE_PORT": str(port), "PATH": path})
    async with asyncio.timeout(PATIENCE):
        return await check.wait()


@pytest.mark.parametrize("has_tls", [False, True])
async def test_the_images_check_says_whether_the_service_answers(tmp_path: Path, has_tls: bool) -> None:
    async def ready() -> dict[str, bool]:
        return {}

    settings: dict[str, Any] = {"port": 0}
    if has_tls:
        settings["tls"] = {"cert_file": str(Authority(tmp_path).certify("port"))}
    server = Server(Service.model_validate(settings), [], ready=ready, metrics=Metrics())
    await server.start()
    port = int(server.address.rpartition(":")[2])
    with capture_logs() as logs:
        assert await healthcheck(port) == 0
    assert logs == []
    await server.stop()
    assert await healthcheck(port) != 0


@pytest.mark.parametrize("has_tls", [False, True])
async def test_the_images_check_fails_where_the_answer_is_none_of_ours(tmp_path: Path, has_tls: bool) -> None:
    """A server without such a page says 404."""
    server = TestServer(web.Application())
    await server.start_server(ssl=server_context(str(Authority(tmp_path).certify("port")), None) if has_tls else None)
    assert await healthcheck(server.port or 0) != 0
    await server.close()


def test_the_profile_watch_mounts_what_there_is() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    watch = [service for service in services.values() if service.get("profiles") == ["watch"]]
    assert [service["image"].partition(":")[0] for service in watch] == ["prom/prometheus", "grafana/grafana"]
    mounts = [mount.partition(":")[0] for service in watch for mount in service["volumes"] if mount.startswith(".")]
    assert len(mounts) == 5
    assert [mount for mount in mounts if not (ROOT / mount).is_file()] == []


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_live_gets_each_variable_that_an_example_reads_and_the_doubles_no_secret(example: Path) -> None:
    """A variable that is not passed on would have its default, without an error."""
    named = set(re.findall(r"\$\{([A-Z_]+)", example.read_text())) - {"NAME"}  # a comment explains ${NAME}
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert len(named) > 10
    for service in ("live-topics", "live"):
        assert sorted(named - set(services[service]["environment"]) - {"SERVICE_HOST", "SERVICE_PORT"}) == []
    others = [service for name, service in services.items() if not name.startswith("live")]
    assert [name for service in others for name, value in service.get("environment", {}).items() if value is None] == []


def promtool(*arguments: str) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed; on Debian and Ubuntu: apt-get install prometheus")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration_and_the_rules() -> None:
    promtool("check", "config", str(DEPLOY / "prometheus.yaml"))


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_each_alert_fires_when_it_should_and_not_otherwise(file: Path) -> None:
    promtool("test", "rules", str(file))


def test_prometheus_takes_the_dashboards_queries(tmp_path: Path) -> None:
    """As rules, because promtool checks those without a server."""
    rules: list[dict[str, Any]] = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "1m")}
        for number, text in enumerate(queries())
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_the_dashboard_counts_the_first_dead_letter_of_a_kind(tmp_path: Path) -> None:
    """A counter with a new label begins with 1, which `increase` alone does not see."""
    (panel,) = (panel for panel in PANELS if panel["title"] == "Dead letters, last hour")
    rule = {"record": "shown", "expr": panel["targets"][0]["expr"]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panel", "rules": [rule]}]}))
    series = [
        {"series": 'connector_dead_letters_total{reason="new"}', "values": "_x70 1x200"},
        {"series": 'connector_dead_letters_total{reason="old"}', "values": "7x100 9x200"},
    ]
    expected = {"65m": 0, "90m": 1, "120m": 3, "180m": 0}
    shown = [
        {"expr": "round(shown)", "eval_time": at, "exp_samples": [{"labels": "{}", "value": value}]}
        for at, value in expected.items()
    ]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": shown}
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    promtool("test", "rules", str(file))
