"""`docker-compose up` works: the image builds, every service becomes healthy, and an answer reaches Salesforce."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_SALESFORCE, _PISANO = "http://127.0.0.1:8601/_control", "http://127.0.0.1:8603/_control"
_READY = "http://127.0.0.1:8080/readyz"
_BUILD_WITHIN, _HEALTHY_WITHIN, _ROUND_WITHIN = 400.0, 120.0, 60.0  # seconds

_T = TypeVar("_T")

pytestmark = pytest.mark.xdist_group("compose")  # they share a project


@pytest.fixture
def compose(docker_engine: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """Runs compose on the test's own project, and removes the project at the end."""
    command = _compose_command()
    # 1.29 can build only without BuildKit; an image that builds there builds everywhere.
    environ = dict(os.environ, DOCKER_HOST=docker_engine, COMPOSE_PROJECT_NAME="connector-test", DOCKER_BUILDKIT="0")

    def run(*arguments: str, within: float = 60.0) -> str:
        done = subprocess.run(  # noqa: S603
            [*command, *arguments], cwd=_ROOT, env=environ, capture_output=True, text=True, timeout=within, check=False
        )
        if done.returncode:
            pytest.fail(f"compose {' '.join(arguments)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done.stdout

    run("down", "--volumes", "--timeout", "1", within=_HEALTHY_WITHIN)
    try:
        yield run
    finally:
        if request.session.testsfailed:
            print(run("logs", "--no-color", "--tail", "100", "sandbox", "topics", "connector"))  # noqa: T201 - pytest shows it with the failure
        run("down", "--volumes", "--timeout", "1", within=_HEALTHY_WITHIN)


def _compose_command() -> Sequence[str]:
    if found := shutil.which("docker-compose"):
        return [found]
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:  # noqa: S603
        return [docker, "compose"]
    pytest.skip("there is neither docker-compose nor docker compose")


def test_compose_takes_a_customer_all_the_way_round(compose: Callable[..., str]) -> None:
    compose("build", within=_BUILD_WITHIN)
    compose("up", "--detach", within=_HEALTHY_WITHIN)
    _until(
        lambda: httpx.get("http://127.0.0.1:8080/readyz").status_code == 200, _HEALTHY_WITHIN, "the connector is ready"
    )
    _until(lambda: httpx.get(f"{_SALESFORCE}/streams").json(), _HEALTHY_WITHIN, "capture listens to its channel")

    contact = _do(_SALESFORCE, "create", entity="Contact", fields={"LastName": "Kaya", "Email": "bora@example.net"})
    case = _do(_SALESFORCE, "create", entity="Case", fields={"ContactId": contact, "Subject": "Where is my parcel?"})
    _do(_PISANO, "set_customer", address="bora@example.net", answers={"nps_score": 2})
    _do(_SALESFORCE, "update", entity="Case", record_ids=case, fields={"Status": "Closed"})

    answer = _until(lambda: _answer_about(case), _ROUND_WITHIN, "the answer is in Salesforce")
    assert (answer["Score__c"], answer["Email__c"]) == (2, "bora@example.net")
    _until(lambda: _record("Case", case)["Status"] == "Reopened", _ROUND_WITHIN, "the detractor's case is open again")
    assert httpx.get(f"{_PISANO}/second_emails", timeout=_ROUND_WITHIN).json() == []
    assert httpx.get(f"{_PISANO}/violations", timeout=_ROUND_WITHIN).json() == []


def test_live_starts_without_the_doubles(compose: Callable[..., str]) -> None:
    """Checks what `up live` would start, according to compose itself."""
    services = yaml.safe_load(compose("--profile", "live", "config"))["services"]
    reached, wanted = set[str](), ["live"]
    while wanted:
        reached.add(name := wanted.pop())
        wanted += services[name].get("depends_on", {})
    assert reached == {"live", "live-topics", "kafka"}


def _do(control: str, action: str, **arguments: object) -> Any:
    return httpx.post(f"{control}/{action}", json=arguments, timeout=_ROUND_WITHIN).raise_for_status().json()


def _record(entity: str, record_id: str) -> Any:
    found = httpx.get(f"{_SALESFORCE}/record", params={"entity": entity, "record_id": record_id})
    return found.raise_for_status().json()


def _answer_about(case: str) -> Any:
    found = httpx.get(f"{_SALESFORCE}/records", params={"entity": "Survey_Response__c"}).raise_for_status().json()
    return next((record for record in found if record.get("Case__c") == case), None)


def _until(look: Callable[[], _T], within: float, what: str) -> _T:
    until = time.monotonic() + within
    seen: object = None
    while time.monotonic() < until:
        try:
            if seen := look():
                return seen
        except httpx.HTTPError as error:
            seen = error
        time.sleep(0.3)
    pytest.fail(f"within {within:.0f} s this did not happen: {what}; last seen: {seen!r}")
