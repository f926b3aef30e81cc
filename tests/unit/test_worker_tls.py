"""What looks at the worker on this machine, where the port speaks https under the name that Pisano knows."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from helpers.certificates import Authority

from connector.config import Service
from connector.observe.health import Server
from connector.observe.metrics import Metrics
from connector.operate import held
from connector.operate.worker_page import address, asking, page

CELLS = {"send/main": "the token is refused"}
STATUS = {"stages": {}, "accounts": {}, "salesforce": {}, "held": [], "errors": []}


async def ready() -> dict[str, bool]:
    return {"send": True}


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[str]:
    """The default address of a worker whose certificate this machine does not know."""
    tls = {"cert_file": str(Authority(tmp_path).certify("connector.example.com"))}
    service = Service.model_validate({"host": "0.0.0.0", "port": 0, "tls": tls})  # noqa: S104
    server = Server(service, [], ready=ready, metrics=Metrics(), held=lambda: CELLS, status=lambda _: STATUS)
    await server.start()
    found = address(service.model_copy(update={"port": int(server.address.rpartition(":")[2])}))
    assert found
    yield found
    await server.stop()


async def test_the_worker_on_this_machine_answers_over_https(worker: str) -> None:
    async with asking() as http:
        assert await page(http, worker) is not None
    (found,) = await held.workers([worker])
    assert (found.cells, found.error) == (CELLS, None)


async def test_elsewhere_a_certificate_has_to_be_right(worker: str) -> None:
    """The service listens on all addresses; 127.0.0.2 stands for another machine."""
    async with asking() as http:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
            await http.get(f"{worker.replace('127.0.0.1', '127.0.0.2')}/status")
