#!/usr/bin/env bash
# aiosalesforce 0.6.2 sends a request that creates a record again, three times if need be, when the answer is 500 or above, or the
# connection ends without an answer. Salesforce may have created the record by then, so there are two, or four.
# It hurts whoever creates with it what has no external id: nothing is logged, and the caller gets the last id as if all were
# well. Its documentation does not say what it repeats ("work in progress"). jsforce repeats no POST.
# What helps: upserts by an external id, or `retry_policy=None`.
#
# What this does: plays Salesforce in the process (httpx's MockTransport). It creates each record that it is asked for. Then its
# first answer, or each of them, is a 503, or none at all. The same with `retry_policy=None`. Nothing is sent over a network.
# Seen: for one create() 2 records and no error where one answer went wrong, 4 records and an error where all did; without a
# policy 1 and an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiosalesforce==0.6.2 httpx==0.28.1
timeout 120 "$folder/venv/bin/python" - <<'PYTHON'
import asyncio

import httpx
from aiosalesforce import ClientCredentialsFlow, Salesforce


class Org:
    """It creates what it is asked to, and only then do its first answers go wrong."""

    def __init__(self, trouble, wrong_answers):
        self.trouble, self.wrong_answers, self.created = trouble, wrong_answers, 0

    def answer(self, request):
        if request.url.path.endswith("/token"):
            return httpx.Response(200, json={"access_token": "token"})
        self.created += 1
        if self.created > self.wrong_answers:
            return httpx.Response(201, json={"id": f"a0B{self.created:012d}AAA", "success": True, "errors": []})
        if self.trouble == "no answer":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        return httpx.Response(503, json=[{"errorCode": "SERVER_UNAVAILABLE", "message": "busy"}])


async def create(trouble, wrong_answers, **settings):
    org = Org(trouble, wrong_answers)
    async with httpx.AsyncClient(transport=httpx.MockTransport(org.answer)) as client:
        salesforce = Salesforce(client, "https://acme.my.salesforce.com", ClientCredentialsFlow("id", "secret"), **settings)
        try:
            await salesforce.sobject.create("Survey_Response__c", {"Score__c": 9})
        except Exception as error:
            return org.created, type(error).__name__
    return org.created, "no error"


async def main():
    seen = []
    for trouble in ("503", "no answer"):
        for wrong_answers in (1, 10):
            by_default = await create(trouble, wrong_answers)
            without = await create(trouble, wrong_answers, retry_policy=None)
            seen.append((by_default[0], by_default[1] == "no error", without[0], without[1] == "no error"))
            print(f"{trouble}, {wrong_answers} times: {by_default}; without a retry policy {without}")
    return 0 if seen == [(2, True, 1, False), (4, False, 1, False)] * 2 else 1


raise SystemExit(asyncio.run(main()))
PYTHON
