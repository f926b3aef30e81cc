"""Compares a configuration with what Salesforce and Pisano say about fields and flows. Sends nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, Literal

import httpx
import structlog

from connector.config import Account, Config
from connector.errors import ConnectorError, Fatal
from connector.pisano import mistakes, read_flow
from connector.stages._client import auth_of
from connector.surveys.kinds import Described, constants, fields_of, kinds, names_changes, never_true
from connector.surveys.named import mistaken_fields, objects_of
from connector.wiring.found import Found

log = structlog.get_logger(__name__)

Describe = Callable[[str], Awaitable[Mapping[str, Any]]]
_Uncounted = nullcontext[None]  # a command does not own the account's ledger, so it cannot write its calls there


async def compared(config: Config, http: httpx.AsyncClient, describe: Describe) -> AsyncIterator[Found]:
    """Everything that does not fit, and what could not be compared. Costs one call for each object, login and flow.

    The calls to Pisano are not in the account's ledger: a sender that runs meanwhile may get a 429, and then waits.
    """
    objects: dict[str, Described] = {}
    async for found in _describe(objects_of(config), describe, objects):
        yield found
    wrong = list(mistaken_fields(config, objects))
    for what in wrong:
        yield Found("error", what)
    if objects and not wrong:
        yield Found("ok", f"Salesforce: the fields that the file names are in {', '.join(sorted(objects))}")
    for found in never_held(config, objects):
        yield found
    for name, account in config.pisano.items():
        async for found in _flows(name, account, config, http, objects):
            yield found


async def warn_of_rules(config: Config, describe: Describe) -> None:
    """Logs a warning for each condition that can never hold. Asks Salesforce only about conditions on changes."""
    objects: dict[str, Described] = {}
    wanted = {survey.on for survey in config.surveys.values() if names_changes(survey.when)}
    async for found in _describe(wanted, describe, objects):
        log.warning("rules_not_compared", reason=found.what)
    for found in never_held(config, objects):
        log.warning("rule_never_holds", reason=found.what)


def never_held(config: Config, objects: Mapping[str, Described]) -> Iterator[Found]:
    """The parts of surveys' conditions that can never hold."""
    for name, survey in config.surveys.items():
        for why in never_true(survey.when, survey.on, objects[survey.on]) if survey.on in objects else ():
            yield Found("warning", f"surveys.{name}.when: {why}")


async def _describe(names: Collection[str], describe: Describe, objects: dict[str, Described]) -> AsyncIterator[Found]:
    """Puts the fields of each object into `objects`. One that cannot be described is left out."""
    for name in sorted(names):
        try:
            fields = fields_of(await describe(name))
        except ConnectorError as error:
            yield _not_compared(name, error)
            if isinstance(error, Fatal) and error.whole:
                return  # the next one would meet the same
        else:
            objects |= {name: fields} if fields else {}


async def _flows(
    name: str, account: Account, config: Config, http: httpx.AsyncClient, objects: Mapping[str, Described]
) -> AsyncIterator[Found]:
    surveys = {key: survey for key, survey in config.surveys.items() if survey.account == name}
    for key in (key for key, survey in surveys.items() if survey.flow is None and survey.built_in_responses):
        yield Found("note", f"surveys.{key}: `flow` is not set, so its question keys are not compared")
    try:
        header = await auth_of(account, http, _Uncounted).header()
    except ConnectorError as error:
        yield _not_compared(f"pisano.{name}", error)
        return
    yield Found("ok", f"pisano.{name}: the login works")
    for flow in dict.fromkeys(survey.flow for survey in surveys.values() if survey.flow):
        try:
            found = await read_flow(http, account.base_url, flow, header)
        except ConnectorError as error:
            yield Found("note", f"flow {flow} of pisano.{name} is not compared: {error}")
            continue
        for key, survey in surveys.items():
            known = constants(survey.built_in_responses) if survey.flow == flow else {}
            wrong = list(mistakes(found, known, kinds(survey, objects)))
            for question, why in wrong:
                yield Found("error", f"surveys.{key}.built_in_responses.{question}: {why}")
            if survey.flow == flow and not wrong:
                yield Found("ok", f"surveys.{key}: flow {flow} has its questions")


def _not_compared(what: str, error: ConnectorError) -> Found:
    level: Literal["error", "warning", "note"] = "note"
    if isinstance(error, Fatal):
        level = "error" if error.whole else "warning"
    return Found(level, f"{what} is not compared: {error}")
