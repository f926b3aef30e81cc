"""What a user of simple-salesforce does with an org; prints the results as one JSON object."""

import json
import os
from collections.abc import Callable
from typing import Any

import requests
import simple_salesforce
from simple_salesforce import Salesforce

URL = os.environ["SF_LOGIN_URL"]
APP = {"consumer_key": os.environ["SF_CLIENT_ID"], "consumer_secret": os.environ["SF_CLIENT_SECRET"]}


class ToSandbox(requests.adapters.HTTPAdapter):
    """simple-salesforce logs in at https://DOMAIN.salesforce.com only: this is the sandbox here."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        host = request.url.split("/")[2]
        request.url = request.url.replace(f"https://{host}", URL)
        return super().send(request, **options)


def session() -> requests.Session:
    made = requests.Session()
    for domain in ("login", "acme.my"):
        made.mount(f"https://{domain}.salesforce.com", ToSandbox())
    return made


def refusal(call: Callable[[], object]) -> Any:
    try:
        return {"unexpected": str(call())}
    except simple_salesforce.SalesforceAuthenticationFailed as error:
        return {"code": error.code, "message": error.message}
    except simple_salesforce.SalesforceError as error:
        return {"status": error.status, "code": error.content[0]["errorCode"]}


sf = Salesforce(**APP, domain="acme.my", session=session())
user = {"username": os.environ["SF_USERNAME"], "consumer_key": APP["consumer_key"]}
bearer = Salesforce(**user, privatekey=os.environ["SF_PRIVATE_KEY"], session=session())
direct = Salesforce(session_id=bearer.session_id, instance_url=URL)
said: dict[str, Any] = {}
said["org"] = [each.oauth2("userinfo")["organization_id"] for each in (sf, bearer, direct)]
password = {"username": "a@example.com", "password": "b"}
said["soap"] = refusal(lambda: Salesforce(**password, security_token="c", session=session()))
said["password"] = refusal(lambda: Salesforce(**password, **APP, session=session()))

said["paged"] = len(sf.query_all("SELECT Id, Name FROM Contact")["records"])
said["iterated"] = sum(1 for _ in sf.query_all_iter("SELECT Id FROM Contact WHERE Name LIKE 'page 1%'"))
said["more"] = sf.query_more(sf.query("SELECT Id FROM Contact")["nextRecordsUrl"], identifier_is_url=True)["totalSize"]
text = "SELECT COUNT() FROM Contact WHERE CreatedDate = TODAY AND (NOT LastName = 'x')"
said["count"] = sf.query(text)["totalSize"]

case = sf.Case.create({"Subject": "one", "External_Key__c": "K/1"})["id"]
said["got"] = sf.Case.get(case)["Subject"]
said["by_key"] = sf.Case.get_by_custom_id("External_Key__c", "K/1")["Id"] == case
said["updated"] = sf.Case.update(case, {"Priority": "High"})
said["upserted"] = [sf.Case.upsert(f"External_Key__c/{key}", {"Subject": key}) for key in ("K2", "K2")]
said["bulk"] = sf.restful(
    "composite/sobjects",
    method="POST",
    json={
        "records": [{"attributes": {"type": "case"}, "Subject": "many"}, {"attributes": {"type": "Case"}, "No__c": 1}]
    },
)
said["deleted"] = sf.Case.delete(case)
said["gone"] = refusal(lambda: sf.Case.get(case))
year = "2000-01-01T00:00:00+00:00", "2100-01-01T00:00:00+00:00"
said["deleted_since"] = [
    row["id"] == case
    for row in sf.restful("sobjects/Case/deleted", {"start": year[0], "end": year[1]})["deletedRecords"]
]
said["tree"] = sf.restful(
    "composite/tree/Contact",
    method="POST",
    json={"records": [{"attributes": {"type": "Contact", "referenceId": "r"}, "LastName": "Tree"}]},
)["hasErrors"]
requests_ = [
    {"method": "GET", "url": f"v{sf.sf_version}/limits"},
    {"method": "GET", "url": f"v{sf.sf_version}/nothing"},
]
said["batch"] = sf.restful("composite/batch", method="POST", json={"batchRequests": requests_})
said["described"] = [each["name"] for each in sf.Contact.describe()["fields"] if each["type"] == "reference"]
said["metadata"] = sf.Contact.metadata()["objectDescribe"]["keyPrefix"]
said["objects"] = [each["name"] for each in sf.describe()["sobjects"]]
said["limits"] = sf.limits()["DailyApiRequests"]["Max"]
said["usage"] = sf.api_usage["api-usage"].total
said["event"] = sf.Store_Visit__e.create({"Store__c": "Izmir"})["id"]
said["missing"] = [
    refusal(call) for call in (lambda: sf.search("FIND {x}"), lambda: sf.Nothing__c.get(case), sf.is_sandbox)
]
print(json.dumps(said))
