"""simple-salesforce, Python's usual client, works with the sandbox as with an org (salesforce §D)."""

import sys
from pathlib import Path

from helpers.registries import said

from connector.sandbox.doubles.salesforce import SalesforceDouble

_SCRIPT = Path(__file__).with_name("simple_salesforce_calls.py")


async def test_simple_salesforce(python_client: Path, sf: SalesforceDouble, environment: dict[str, str]) -> None:
    """Its addresses end in a slash, and it sends its credentials in a header."""
    with sf.transaction() as changes:
        for number in range(250):
            changes.create("Contact", {"LastName": f"Page {number}"})
    sf.configure(page=200)
    environment |= {"PYTHONPATH": str(python_client)}
    found = await said(sys.executable, str(_SCRIPT), environment=environment)

    assert found["org"] == [sf.org_id] * 3
    assert found["soap"]["code"] == "INVALID_OPERATION"
    assert found["password"]["code"] == "unsupported_grant_type"
    assert (found["paged"], found["iterated"], found["more"], found["count"]) == (250, 111, 250, 250)
    assert (found["got"], found["by_key"], found["updated"], found["upserted"]) == ("one", True, 204, [201, 200])
    assert [each["success"] for each in found["bulk"]] == [True, False]
    assert (found["deleted"], found["gone"]) == (204, {"status": 404, "code": "ENTITY_IS_DELETED"})
    assert found["deleted_since"] == [True]
    assert found["tree"] is False
    assert [each["statusCode"] for each in found["batch"]["results"]] == [200, 404]
    assert found["described"] == ["AccountId", "OwnerId", "CreatedById", "LastModifiedById", "MasterRecordId"]
    assert (found["metadata"], found["limits"], found["usage"]) == ("003", 100_000, 100_000)
    assert {"Case", "Contact"} <= {*found["objects"]}
    assert found["event"].startswith("e01")
    assert [each["code"] for each in found["missing"]] == ["NOT_FOUND", "NOT_FOUND", "INVALID_TYPE"]
