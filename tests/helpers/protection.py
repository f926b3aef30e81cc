"""Contact protection for tests of the sender."""

from typing import Any

from connector.config import ProtectAll, Survey
from connector.protection import ContactProtection
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader
from connector.surveys.recheck import Recheck


async def _nobody(*_: object) -> list[dict[str, Any]]:
    raise AssertionError("nothing is read from Salesforce")


NO_RECHECK = Recheck({}, Reader(Lookup(_nobody), Lookup(_nobody)))  # of surveys that check no invitation again


def survey(**protect: Any) -> Survey:
    """A survey with this `protect`; `priority` and `delay` are settings of the survey itself."""
    own = {name: protect.pop(name) for name in ("priority", "delay", "account", "campaign") if name in protect}
    basic = {"on": "Case", "account": "main", "campaign": "4711", "email": "{{ record.Email }}"}
    return Survey.model_validate({**basic, **own, "protect": protect})


def protection(over_all: dict[str, Any] | None = None, /, **surveys: Survey) -> ContactProtection:
    """The protection of these surveys, whose names have `_` for `-`; without any, of surveys that protect nobody."""
    named = {name.replace("_", "-"): each for name, each in surveys.items()}
    plain = {name: survey() for name in ("closed-case", "urgent", "mass")} | {"gone": survey(campaign="9999")}
    return ContactProtection(named or plain, ProtectAll.model_validate(over_all or {}))
