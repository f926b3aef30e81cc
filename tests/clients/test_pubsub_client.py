"""salesforce-pubsub-api-client uses all six calls of the Pub/Sub API of the sandbox, with TLS (salesforce §A)."""

import shutil
from pathlib import Path

from helpers.registries import said

from connector.sandbox.doubles.salesforce import SalesforceDouble

_SCRIPT = Path(__file__).with_name("pubsub_client.mjs")


async def test_salesforce_pubsub_api_client(
    node_clients: Path, sf: SalesforceDouble, environment: dict[str, str]
) -> None:
    """Its log-ins, publishing, subscriptions and managed subscriptions work. It keeps replay ids as 8 bytes."""
    case = sf.create("Case", {"Subject": "before"})
    sf.update("Case", case, {"Subject": "after"})
    sf.add_managed_subscription("Visits", "/event/Store_Visit__e", "EARLIEST")
    found = await said("node", shutil.copy(_SCRIPT, node_clients), environment=environment)

    assert found["published"] == found["firstId"] == "11111111-1111-4111-8111-111111111111"
    assert found["batch"] == 2
    assert found["visits"] == [["one", 1795500000000], ["two", 1795500000000], ["three", 1795500000000]]
    assert found["resumed"] == ["two", "three"]
    (created, _, first), (updated, fields, second) = found["changes"]
    assert (created, first, updated, second) == ("CREATE", "before", "UPDATE", "after")
    assert set(fields) == {"Subject", "LastModifiedDate"}
    assert found["wrong"] == 5  # NOT_FOUND
    assert found["managed"] == [["one", "two"], ["three"]]
    calls = {call.what.split()[1] for call in sf.calls if call.what.startswith("rpc")}
    assert calls == {"GetTopic", "GetSchema", "Subscribe", "Publish", "PublishStream", "ManagedSubscribe"}
