"""The control API of this double: what its Python interface can do, and what it remembers."""

from typing import Any

from aiohttp import web

from connector.sandbox.doubles import control
from connector.sandbox.doubles.salesforce.model import Step
from connector.sandbox.doubles.salesforce.state import State

_ABOUT = """Salesforce's double. For example, a user closes a case:
curl $URL/update -d '{"entity": "Case", "record_ids": "500…", "fields": {"Status": "Closed"}}'
curl '$URL/events?entity=Case'"""
_CHANGES = ("create", "update", "delete", "undelete", "merge", "publish", "gap")
_SETUP = ("add_field", "add_channel", "add_managed_subscription", "configure", "advance", "reset")
_TROUBLE = ("fail", "lock", "revoke_tokens", "hang_streams", "break_streams", "lose_positions")


def add_to(app: web.Application, state: State) -> None:
    def transaction(changes: list[Step], *, origin: str = "", user: str | None = None) -> list[str]:
        """Make several changes at once, each {operation, entity, record_id, fields}; returns the records' ids."""
        with state.transaction(origin=origin, user=user) as together:
            return [_carry_out(together, change) for change in changes]

    def credentials() -> dict[str, str]:
        """The credentials that a client logs in with, for both flows."""
        names = ("login_url", "pubsub_endpoint", "org_id", "client_id", "client_secret", "username", "jwt_private_key")
        return {name: getattr(state, name) for name in names}

    actions = {name: getattr(state, name) for name in (*_CHANGES, *_SETUP, *_TROUBLE)} | {"transaction": transaction}
    memories: control.Functions = {
        "records": state.records,
        "record": state.record,
        "events": state.events,
        "history": state.history,
        "calls": lambda: state.calls,
        "tokens": lambda: state.tokens,
        "streams": lambda: state.streams,
        "settings": lambda: state.settings,
        "credentials": credentials,
    }
    control.add_to(app, _ABOUT, actions, memories)


def _carry_out(together: Any, change: Step) -> str:
    if change.operation == "create":
        return str(together.create(change.entity, change.fields))
    if change.operation == "update":
        together.update(change.entity, change.record_id, change.fields)
    else:
        getattr(together, change.operation)(change.entity, change.record_id)
    return change.record_id
