#!/usr/bin/env bash
# simple-salesforce 1.12.10 repeats a call after it has renewed an expired session, but without the headers that the caller gave.
# It hurts whoever sends `Sforce-Auto-Assign: FALSE`, `Sforce-Duplicate-Rule-Header: allowSave=true` or the like with a call: once
# each time that a session expires, one call goes out without it, and Salesforce assigns the case to somebody else, sends the
# e-mail, or refuses the duplicate. The call succeeds, and nothing is logged. In a test, where sessions are new, it never happens.
# What helps: headers for all calls in the `headers` of the requests session that is given to Salesforce().
#
# What this does: plays Salesforce in the process (an adapter of requests). It logs in, updates a case with a header, lets the
# session expire, and updates the case again with the same header: by sf.Case.update() and by sf.restful(). The same with the
# header in the session. Nothing is sent over a network.
# Seen: the first update has the header, the repeated one has not. With the header in the session both have it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet simple-salesforce==1.12.10
timeout 60 "$folder/venv/bin/python" - <<'PYTHON'
import io
import json

import requests
from requests.adapters import BaseAdapter
from simple_salesforce import Salesforce

CASE, NAME = "500000000000001AAA", "Sforce-Auto-Assign"


class Org(BaseAdapter):
    def __init__(self):
        super().__init__()
        self.token, self.done = 1, []

    def send(self, request, **_):
        if request.url.endswith("/services/oauth2/token"):
            return self.answer(request, 200, {"access_token": f"token{self.token}", "instance_url": "https://acme.my.salesforce.com"})
        if request.headers["Authorization"] != f"Bearer token{self.token}":
            return self.answer(request, 401, [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}])
        self.done.append(request.headers.get(NAME))
        return self.answer(request, 204, None)

    def answer(self, request, status, body):
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, request.url
        response.raw = io.BytesIO(b"" if body is None else json.dumps(body).encode())
        return response

    def close(self):
        pass


def by_case(sf, headers):
    sf.Case.update(CASE, {"Status": "Closed"}, headers=headers)


def by_restful(sf, headers):
    sf.restful(f"sobjects/Case/{CASE}", method="PATCH", json={"Status": "Closed"}, headers=headers)


def tried(update, in_session):
    org, session = Org(), requests.Session()
    session.mount("https://", org)
    if in_session:
        session.headers[NAME] = "FALSE"
    sf = Salesforce(consumer_key="key", consumer_secret="secret", domain="acme.my", session=session)
    headers = {} if in_session else {NAME: "FALSE"}
    update(sf, headers)
    org.token += 1  # the session expires
    update(sf, headers)
    return org.done


seen = []
for update in (by_case, by_restful):
    for in_session in (False, True):
        done = tried(update, in_session)
        seen.append(done)
        print(f"{update.__name__}, header {'in the session' if in_session else 'of the call'}: {done}")
raise SystemExit(seen != [["FALSE", None], ["FALSE", "FALSE"]] * 2)
PYTHON
