"""The surveys as the configuration has them, and what each would do with a record."""

import dataclasses
import json
from typing import Any

import structlog
from aiohttp import web

from connector.config import Survey
from connector.config.scope import one_of
from connector.console.desk import Desk, form, text
from connector.console.login import WHO
from connector.errors import ConnectorError, Fatal
from connector.operate import changes
from connector.operate.masked import masked
from connector.operate.preview import Preview, preview
from connector.operate.protections import protected
from connector.surveys.plan import survey_lines
from connector.wiring.shared import Shared

log = structlog.get_logger(__name__)

_INSTEAD = "Use `connector preview`."


def routes(desk: Desk) -> list[web.RouteDef]:
    """The pages' addresses."""

    async def show_list(request: web.Request) -> web.Response:
        return desk.page(request, "surveys.html", surveys=desk.config.surveys)

    async def show_one(request: web.Request) -> web.Response:
        return _page(desk, request)

    async def look(request: web.Request) -> web.Response:
        fields, name = await form(request), request.match_info["name"]
        given, reveal = (text(fields, "id"), text(fields, "record")), text(fields, "reveal") == "yes"
        survey = _survey(desk, name)
        if reveal:
            log.warning("revealed", by=request[WHO].name, preview=name)
        try:
            found = await desk.aside.run(lambda: _preview(desk, name, survey, *given), _INSTEAD)
        except ConnectorError as error:
            return _page(desk, request, given=given, problem=str(error))
        return _page(desk, request, given=given, preview=_shown(found, reveal=reveal), revealed=reveal)

    return [
        web.get("/surveys", show_list),
        web.get("/surveys/{name}", show_one),
        web.post("/surveys/{name}", look),
    ]


def _survey(desk: Desk, name: str) -> Survey:
    if name not in desk.config.surveys:
        raise web.HTTPNotFound(text=f"there is no survey {name}; {one_of(name, desk.config.surveys)}")
    return desk.config.surveys[name]


def _page(
    desk: Desk,
    request: web.Request,
    *,
    given: tuple[str, str] = ("", ""),
    problem: str | None = None,
    preview: dict[str, Any] | None = None,
    revealed: bool = False,
) -> web.Response:
    name = request.match_info["name"]
    survey = _survey(desk, name)
    values = {"given": given, "problem": problem, "preview": preview, "revealed": revealed}
    return desk.page(
        request,
        "survey.html",
        status=400 if problem else 200,
        name=name,
        survey=survey,
        lines=[*survey_lines(survey)],
        **values,
    )


async def _preview(desk: Desk, name: str, survey: Survey, record_id: str, record: str) -> Preview:
    """As `connector preview` does it."""
    if bool(record_id) == bool(record):
        raise Fatal("give either the Id of a record, or a record as JSON")
    phones = desk.config.pisano[survey.account].phones
    async with Shared(desk.config) as shared:
        given: changes.Given = {}
        if record:
            change, given = changes.from_text(record.encode(), survey, "the record")
        else:
            change = await changes.from_salesforce(record_id, survey, None, shared.rest.find)
        found = await preview(name, survey, change, shared.rest.find, shared.rest.find_deleted, given, phones)
    ready = await protected(desk.config, survey.account, found.invitations, desk.now())
    return dataclasses.replace(found, invitations=ready)


def _shown(found: Preview, *, reveal: bool) -> dict[str, Any]:
    """What the page shows of a preview. Without `reveal`, the customer's values are masked."""

    def hide(value: Any) -> Any:
        return value if reveal else masked(value)

    return {
        "about": f"{found.event.change_type} of {found.event.entity} {found.event.record_id}",
        "parts": [(part, hide(part.values)) for part in found.conditions],
        "readings": [(reading, [hide(row) for row in reading.rows]) for reading in found.readings],
        "missing": found.missing,
        "refused": found.refused,
        "invitations": [
            (
                ready,
                hide(ready.invitation.address),
                json.dumps(hide(ready.body), indent=2, ensure_ascii=False, default=str),
            )
            for ready in found.invitations
        ],
    }
