"""While a third of everything is held, the other two thirds do not notice. Once mended, the third catches up."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from helpers import topics
from helpers.bulkheads import HEALTHY, HELD, NAMES, THIRD, answer, change_event, invited, mend, three_of_each
from helpers.invitations import outcomes
from helpers.service import held, metric, running_app
from helpers.waiting import until

from connector.cells import Cell
from connector.config import Kafka
from connector.records import Invitation, Write, read
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble
from connector.wiring import App

COUNT = 60


@pytest.fixture
async def pisanos() -> AsyncIterator[Mapping[str, PisanoDouble]]:
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(PisanoDouble(windows=[(10_000, 1.0)])) for name in NAMES}


async def invitations(kafka: Kafka) -> Counter[str]:
    """How many invitations of each survey trigger wrote. Those that the test published itself do not count."""
    found = [read(Invitation, record.value) for record in await topics.read(kafka, "pisano.invitations")]
    return Counter(each.survey for each in found if each.record_id.startswith("500"))


async def writes(kafka: Kafka) -> Counter[str]:
    found = [read(Write, record.value) for record in await topics.read(kafka, "salesforce.writes")]
    assert all(write.success for write in found)
    return Counter(write.rule for write in found)


def emails(pisanos: Mapping[str, PisanoDouble]) -> Counter[str]:
    return Counter({name: len(pisano.emails()) for name, pisano in pisanos.items()})


async def test_two_thirds_work_while_the_third_is_held_and_it_catches_up_once_mended(
    tmp_path: Path,
    bootstrap_servers: str,
    unique: str,
    pisanos: Mapping[str, PisanoDouble],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reports 2, 9 and clients of their kind: a credential, a field in a lookup, a field in a rule."""
    monkeypatch.setattr(Cell, "_pause", lambda _: 0.3)
    async with SalesforceDouble() as salesforce:
        contact = salesforce.create("Contact", {"LastName": "Byron", "Email": "ada@example.com"})
        setup = await three_of_each(
            tmp_path, bootstrap_servers, unique, salesforce=salesforce, pisanos=pisanos, at_fault=HELD
        )
        kafka = setup.kafka
        async with running_app(setup.config) as app:
            records = [change_event(kafka, number, contact) for number in range(COUNT)]
            records += [invited(kafka, number, name) for number in range(COUNT) for name in NAMES]
            records += [answer(kafka, number) for number in range(COUNT)]
            await topics.publish(kafka, records)

            async def healthy_is_done() -> bool:
                counts = [await invitations(kafka), await writes(kafka), emails(pisanos)]
                return all(count[name] >= COUNT for count in counts for name in HEALTHY)

            await until(healthy_is_done)
            why = await until(lambda: held_all(app))
            assert "Hidden__c" in why[HELD["trigger"]]
            assert "Hidden__c" in why[HELD["write"]]
            assert "401" in why[HELD["send"]]
            assert await metric(app, f'connector_held{{cell="{HELD["send"]}",reason="configuration"}}') == 1
            assert all((await app.ready()).values())
            assert (await invitations(kafka))[THIRD] == (await writes(kafka))[THIRD] == emails(pisanos)[THIRD] == 0

            mend(salesforce, pisanos[THIRD])

            async def all_is_done() -> bool:
                # every case makes an invitation too, and each of those an e-mail
                return (
                    await invitations(kafka) == Counter(dict.fromkeys(NAMES, COUNT))
                    and await writes(kafka) == Counter(dict.fromkeys(NAMES, COUNT))
                    and emails(pisanos) == Counter(dict.fromkeys(NAMES, 2 * COUNT))
                )

            await until(all_is_done)
            await until(lambda: nothing_is_held(app))
    assert all(Counter(outcome.elements()) == Counter(["sent"]) for outcome in (await outcomes(kafka)).values())
    assert not any(pisano.second_emails() for pisano in pisanos.values())
    assert await topics.read(kafka, "connector.deadletters") == []


async def held_all(app: App) -> dict[str, str] | None:
    why = await held(app)
    return why if {*why} == {*HELD.values()} else None


async def nothing_is_held(app: App) -> bool:
    return not await held(app)
