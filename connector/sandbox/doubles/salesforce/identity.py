"""Who a token belongs to: userinfo, the identity URL, introspection, revocation; and how clients find all that."""

from typing import Any

from aiohttp import web

from connector.sandbox.doubles.salesforce.oauth import OAuth, my_domain
from connector.sandbox.doubles.salesforce.rest_calls import respond
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.values import Problem

_OAUTH = "/services/oauth2"
_SOAP_LOGIN = """<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:sf="urn:fault.partner.soap.sforce.com">
<soapenv:Body><soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring>
<detail><sf:ApiFault><sf:exceptionCode>{code}</sf:exceptionCode><sf:exceptionMessage>{message}</sf:exceptionMessage>
</sf:ApiFault></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>"""


class Identity:
    """The resources beside the token endpoint."""

    def __init__(self, state: State, oauth: OAuth) -> None:
        self._state, self._oauth = state, oauth

    def add_to(self, app: web.Application) -> None:
        for path, handler in {
            _OAUTH + "/userinfo": self._userinfo,
            "/id/{org}/{user}": self._identity,
            _OAUTH + "/introspect": self._introspect,
            _OAUTH + "/revoke": self._revoke,
            "/.well-known/openid-configuration": self._discovery,
            "/services/Soap/{kind:[cu]}/{version}": self._soap_login,
        }.items():
            app.router.add_get(path, handler)
            app.router.add_post(path, handler)
        app.router.add_get(_OAUTH + "/authorize", self._oauth.authorize)

    async def _userinfo(self, request: web.Request) -> web.Response:
        if self._state.bearer(request.headers) is None:
            return web.Response(status=403, text="Bad_OAuth_Token")  # Salesforce's answer has no JSON here
        state, url = self._state, my_domain(request)
        user = state.record("User", state.user_id)
        return respond(
            {
                "sub": f"{url}/id/{state.org_id}/{state.user_id}",
                "user_id": state.user_id,
                "organization_id": state.org_id,
                "preferred_username": state.username,
                "nickname": "connector",
                "name": user["Name"],
                "given_name": user["FirstName"],
                "family_name": user["LastName"],
                "email": user["Email"],
                "email_verified": True,
                "zoneinfo": "Europe/Istanbul",
                "user_type": "STANDARD",
                "active": True,
                "urls": _urls(url),
            }
        )

    async def _identity(self, request: web.Request) -> web.Response:
        state = self._state
        if state.bearer(request.headers) is None:
            return web.Response(status=403, text="Bad_OAuth_Token")
        if (request.match_info["org"], request.match_info["user"]) != (state.org_id, state.user_id):
            raise web.HTTPNotFound
        user = state.record("User", state.user_id)
        return respond(
            {
                "id": f"{my_domain(request)}/id/{state.org_id}/{state.user_id}",
                "asserted_user": True,
                "user_id": state.user_id,
                "organization_id": state.org_id,
                "username": state.username,
                "display_name": user["Name"],
                "email": user["Email"],
                "user_type": "STANDARD",
                "active": True,
                "urls": _urls(my_domain(request)),
            }
        )

    async def _introspect(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("client_id") != self._state.client_id or form.get("client_secret") != self._state.client_secret:
            return web.json_response({"error": "invalid_client_id"}, status=401)
        token = self._state.valid_token(str(form.get("token", "")))
        if token is None:
            return respond({"active": False})
        about = {"active": True, "scope": "api", "client_id": self._state.client_id, "token_type": "access_token"}
        times = {"exp": int(token.expires_at), "iat": int(token.at), "nbf": int(token.at)}
        return respond({**about, **times, "username": self._state.username})

    async def _revoke(self, request: web.Request) -> web.Response:
        token = request.query.get("token") or str((await request.post()).get("token", ""))
        if token in self._state.refresh_tokens:
            self._state.refresh_tokens.remove(token)
        elif not self._state.revoke_token(token):
            error = {"error": "unsupported_token_type", "error_description": "this token type is not supported"}
            return web.json_response(error, status=400)
        return web.Response()

    async def _discovery(self, request: web.Request) -> web.Response:
        url = my_domain(request)
        names = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
        names |= {"revocation": "revoke", "introspection": "introspect"}
        endpoints = {f"{name}_endpoint": f"{url}{_OAUTH}/{path}" for name, path in names.items()}
        return respond({"issuer": url, **endpoints, "response_types_supported": ["code"], "scopes_supported": ["api"]})

    async def _soap_login(self, request: web.Request) -> web.Response:
        """Refused: an org made today has it switched off, and from 65.0 on it does not exist (salesforce §0.10)."""
        version = request.match_info["version"]
        if request.method != "POST":
            raise Problem("METHOD_NOT_ALLOWED", "Only POST allowed", status=405)
        code, message = "INVALID_OPERATION", "SOAP API login() is disabled by default in this org."
        if version.partition(".")[0].isdecimal() and float(version.partition(".")[0]) >= 65:
            code, message = (
                "UNSUPPORTED_API_VERSION",
                "SOAP API login() is not available in API version 65.0 and later.",
            )
        return web.Response(status=500, text=_SOAP_LOGIN.format(code=code, message=message), content_type="text/xml")


def _urls(url: str) -> dict[str, Any]:
    data = f"{url}/services/data/v{{version}}"
    return {"rest": f"{data}/", "sobjects": f"{data}/sobjects/", "query": f"{data}/query/"}
