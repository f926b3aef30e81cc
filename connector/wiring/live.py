"""Compares a configuration with what Salesforce and Pisano say about fields and flows. Sends nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import structlog

from connector.config import Account, Config
from connector.errors import ConnectorError, Fatal
from connector.pisano import mistakes, read_flow
from connector.stages._client import auth_of
from connector.surveys.kinds import Described, constants, fields_of, kinds, names_changes, never_true

log = structlog.get_logger(__name__)

Describe = Callable[[str], Awaitable[Mapping[str, Any]]]
_Uncounted = nullcontext[None]  # a command does not own the account's ledger, so it cannot write its calls there


@dataclass(frozen=True)
class Found:
    """What was found. An `error` contradicts the configuration; a `warning` makes it useless in part."""

    level: Literal["error", "warning", "note"]
    what: str

    def __str__(self) -> str:
        return f"{self.level}: {self.what}"


async def compared(config: Config, http: httpx.AsyncClient, describe: Describe) -> AsyncIterator[Found]:
    """Everything that does not fit, and what could not be compared. Costs one call for each object, login and flow.

    The calls to Pisano are not in the account's ledger: a sender that runs meanwhile may get a 429, and then waits.
    """
    wanted = {survey.on for survey in config.surveys.values()}
    wanted |= {lookup.object for survey in config.surveys.values() for lookup in survey.lookup.values()}
    objects: dict[str, Described] = {}
    async for found in _describe(wanted, describe, objects):
        yield found
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
    for flow in dict.fromkeys(survey.flow for survey in surveys.values() if survey.flow):
        try:
            found = await read_flow(http, account.base_url, flow, header)
        except ConnectorError as error:
            yield Found("note", f"flow {flow} of pisano.{name} is not compared: {error}")
            continue
        for key, survey in surveys.items():
            known = constants(survey.built_in_responses) if survey.flow == flow else {}
            for question, why in mistakes(found, known, kinds(survey, objects)):
                yield Found("error", f"surveys.{key}.built_in_responses.{question}: {why}")


def _not_compared(what: str, error: ConnectorError) -> Found:
    level: Literal["error", "warning", "note"] = "note"
    if isinstance(error, Fatal):
        level = "error" if error.whole else "warning"
    return Found(level, f"{what} is not compared: {error}")
