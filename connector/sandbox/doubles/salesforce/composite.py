"""Several calls in one: composite, batch and tree. Inner calls cost no API call of their own."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from connector.sandbox.doubles.salesforce.rest_calls import Answer, Ask, Table, not_found, problems
from connector.sandbox.doubles.salesforce.values import Problem
from connector.sandbox.doubles.salesforce.writes import Change, Writes
from connector.values import exact

_MOST = 25  # inner calls (the REST API guide)
_MOST_IN_TREE = 200  # records
_REFERENCE = re.compile(r"@\{(\w+)((?:\.\w+|\[\d+\])*)\}")
_INNER = re.compile(r"(?:/services/data/)?v(?P<version>[0-9]+[.]0)(?P<path>/[^?]*?)/?")


class Composite:
    """`run` answers an inner call like one from the wire."""

    def __init__(self, writes: Writes, run: Callable[[Ask], Answer]) -> None:
        self._writes, self._run = writes, run

    def add_to(self, table: Table) -> None:
        names = ("batch", "composite", "sobjects", "tree")
        table.add("GET", "/composite", lambda ask: Answer({name: f"{ask.base}/composite/{name}" for name in names}))
        table.add("POST", "/composite", self._composite)
        table.add("POST", "/composite/batch", self._batch)
        table.add("POST", "/composite/tree/{object}", self._tree)

    def _composite(self, ask: Ask) -> Answer:
        body, calls = _calls(ask, "compositeRequest", {"allOrNone", "collateSubrequests"})
        names = [call.get("referenceId") for call in calls]
        if not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
            raise Problem("JSON_PARSER_ERROR", "Each subrequest needs a referenceId of its own")
        if body.get("allOrNone") is not True:
            return Answer({"compositeResponse": [*self._each(ask, calls, halts=False)]})
        with self._writes.together(ask.caller) as undo:
            found = self._each(ask, calls, halts=True)
            if any(one["httpStatusCode"] >= 400 for one in found):
                undo()
                found = [one if one["httpStatusCode"] >= 400 else _halted(one["referenceId"]) for one in found]
        return Answer({"compositeResponse": found})

    def _each(self, ask: Ask, calls: list[dict[str, Any]], *, halts: bool) -> list[dict[str, Any]]:
        """The results in order. With `halts`, the calls behind one that fails are not carried out."""
        known: dict[str, Any] = {}
        results: list[dict[str, Any]] = []
        for call in calls:
            name = call["referenceId"]
            if halts and results and results[-1]["httpStatusCode"] >= 400:
                results.append(_halted(name))
                continue
            try:
                answer = self._run(_inner(ask, _filled(call, known)))
                known[name] = answer.body
            except Problem as problem:
                answer = Answer(problems(problem), problem.status)
            result = {"body": answer.body, "httpHeaders": {}, "httpStatusCode": answer.status, "referenceId": name}
            results.append(result)
        return results

    def _batch(self, ask: Ask) -> Answer:
        body, calls = _calls(ask, "batchRequests", {"haltOnError"})
        results: list[dict[str, Any]] = []
        halted = problems(Problem("BATCH_PROCESSING_HALTED", "Batch processing halted per request"))
        for call in calls:
            if body.get("haltOnError") is True and any(one["statusCode"] >= 400 for one in results):
                results.append({"statusCode": 412, "result": halted})
                continue
            try:
                answer = self._run(_inner(ask, {**call, "body": call.get("richInput")}))
            except Problem as problem:
                answer = Answer(problems(problem), problem.status)
            results.append({"statusCode": answer.status, "result": answer.body})
        return Answer({"hasErrors": any(one["statusCode"] >= 400 for one in results), "results": results})

    def _tree(self, ask: Ask) -> Answer:
        """Creates records together, all or none. The double takes no records below others."""
        body, name = ask.json(), ask.parts["object"]
        records = body.get("records") if isinstance(body, dict) else None
        if not isinstance(records, list) or not 0 < len(records) <= _MOST_IN_TREE:
            raise Problem("INVALID_INPUT", f"A tree has 1 to {_MOST_IN_TREE} records")
        changes, references = [], []
        for record in records:
            given = record.get("attributes", {}) if isinstance(record, dict) else {}
            if given.get("type") != name or not isinstance(given.get("referenceId"), str):
                raise Problem("INVALID_INPUT", f"Each record needs attributes with the type {name} and a referenceId")
            changes.append(Change("create", name, {key: record[key] for key in record if key != "attributes"}))
            references.append(given["referenceId"])
        found = self._writes.many(changes, True, ask.caller)
        pairs = [*zip(references, found, strict=True)]
        if all(result["success"] for result in found):
            return Answer({"hasErrors": False, "results": [{"referenceId": n, "id": r["id"]} for n, r in pairs]}, 201)
        bad = [(n, r) for n, r in pairs if r["errors"][0]["statusCode"] != "ALL_OR_NONE_OPERATION_ROLLED_BACK"]
        failed = [{"referenceId": n, "errors": r["errors"]} for n, r in bad]
        return Answer({"hasErrors": True, "results": failed}, 400)


def _calls(ask: Ask, name: str, options: set[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    body = ask.json()
    calls = body.get(name) if isinstance(body, dict) else None
    if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
        raise Problem("JSON_PARSER_ERROR", f"The request body needs a list {name}")
    if unknown := body.keys() - {name, *options}:
        raise Problem("JSON_PARSER_ERROR", f"Unrecognized field {min(unknown)!r}")
    if len(calls) > _MOST:
        raise Problem("LIMIT_EXCEEDED", f"{len(calls)} subrequests, at most {_MOST} a call")
    return body, calls


def _inner(ask: Ask, call: Mapping[str, Any]) -> Ask:
    url = urlsplit(str(call.get("url", "")))
    found = _INNER.fullmatch(url.path)
    if found is None or found["path"].startswith("/composite/batch") or found["path"] == "/composite":
        raise not_found()
    headers = {"Content-Type": "application/json", "Sforce-Call-Options": ask.headers.get("Sforce-Call-Options", "")}
    headers |= {str(name): str(value) for name, value in (call.get("httpHeaders") or {}).items()}
    body = b"" if call.get("body") is None else exact.dumps(call["body"])
    method, query = str(call.get("method", "")).upper(), dict(parse_qsl(url.query))
    return Ask(method, quote(found["path"], safe="/%"), found["version"], query, headers, body)


def _filled(value: Any, known: Mapping[str, Any]) -> Any:
    """The inner call with the values that its @{references} name."""
    if isinstance(value, dict):
        return {name: _filled(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, known) for each in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    return _looked_up(whole, known) if whole else _REFERENCE.sub(lambda one: str(_looked_up(one, known)), value)


def _looked_up(reference: re.Match[str], known: Mapping[str, Any]) -> Any:
    found = known.get(reference[1])
    for step in re.findall(r"\w+", reference[2]):
        if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            found = found.get(step) if isinstance(found, dict) else None
    if found is None:
        message = f"Invalid reference specified. No value for {reference[0][2:-1]} found in {reference[1]}"
        raise Problem("PROCESSING_HALTED", message)
    return found


def _halted(name: str) -> dict[str, Any]:
    message = "The transaction was rolled back since another operation in the same transaction failed."
    body = [{"errorCode": "PROCESSING_HALTED", "message": message}]
    return {"body": body, "httpHeaders": {}, "httpStatusCode": 400, "referenceId": name}
