"""jsforce, which the Salesforce CLI is made of, works with the sandbox as with an org (salesforce §D)."""

import shutil
from pathlib import Path

from helpers.registries import said

from connector.sandbox.doubles.salesforce import SalesforceDouble

_SCRIPT = Path(__file__).with_name("jsforce.mjs")


async def test_jsforce(node_clients: Path, sf: SalesforceDouble, environment: dict[str, str]) -> None:
    """Each flow that still exists logs in; queries, records, collections, composite and describe answer."""
    with sf.transaction() as changes:
        for number in range(450):
            changes.create("Contact", {"LastName": f"Page {number}"})
    sf.configure(page=200)
    found = await said("node", shutil.copy(_SCRIPT, node_clients), environment=environment)

    for flow in ("clientCredentials", "jwtBearer", "webServer"):
        assert (found[flow]["organization_id"], found[flow]["username"]) == (sf.org_id, sf.username)
    assert (found["state"], found["refreshed"]) == ("s", 0)
    assert found["loggedOut"]["code"] == "INVALID_SESSION_ID"
    assert "disabled by default" in found["soapLogin"]["message"]
    assert found["password"] == {"code": "unsupported_grant_type", "message": "grant type not supported"}

    assert found["created"] == [True] * 4
    assert (found["updated"], found["updatedMany"], found["retrievedOne"]) == (True, 3, "High")
    assert found["upserted"]["created"] is True
    assert [each["created"] for each in found["upsertedMany"]] == [False]
    assert found["retrieved"] == ["one", "n2"]
    assert (found["found"], found["count"]) == (3, 5)
    assert (found["destroyed"], found["destroyedOne"], found["deletedRows"]) == ([True, True], True, 3)
    assert found["paged"] == [450, 450]

    assert found["described"] == ["External_Key__c"]
    assert {"Case", "Contact", "Survey_Response__c", "Store_Visit__e"} <= {*found["objects"]}
    assert (found["limits"], found["usage"], found["versions"]) == (100_000, 100_000, "68.0")
    assert found["composite"] == [[201, 201, 200], True]
    assert found["rolledBack"] == [400, 400, 400]
    assert found["composedContacts"] == 1
    assert found["event"]["id"].startswith("e01")
    (enqueued,) = found["event"]["errors"]
    assert (enqueued["statusCode"], enqueued["message"]) == ("OPERATION_ENQUEUED", sf.log.entries[-1].event_id)

    assert found["missing"] == {"code": "NOT_FOUND", "message": "The requested resource does not exist"}
    assert found["missingApex"]["code"] == found["missingRecord"]["code"] == "NOT_FOUND"
    assert found["missingTooling"]["code"] == "MALFORMED_QUERY"
    assert found["missingField"]["code"] == "INVALID_FIELD"
