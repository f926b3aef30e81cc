"""Reads a configuration file into `connector.config.Config`, and reports all its mistakes at once, with their places.

`${NAME}`, `${NAME:-default}` and `${file:PATH}` (relative to the file's folder) stand for environment variables and
mounted secrets; `$${` is a plain `${`. We never show the values that we fill in.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from connector.config import Config, _yaml_tree
from connector.config._yaml_tree import Key, Place, Tree
from connector.config.checks import check
from connector.config.constant import constant
from connector.config.scope import one_of
from connector.errors import Fatal
from connector.templates import Compiled, TemplateError

_LONGEST_SHOWN = 80  # characters of a value in a message: enough to recognise it


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake. `line` and `column` count from 1; `shown` is the value as written, unless it may be a secret."""

    file: str
    line: int
    column: int
    key: str
    message: str
    shown: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        what = f"{self.key}: {self.message}" if self.key else self.message
        says = f" (it says {self.shown})" if self.shown else ""
        return f"{self.file}:{self.line}:{self.column}: {what}{says}"


class ConfigError(Fatal):
    """The file cannot be used. `problems` holds all its mistakes, by line."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def load(
    path: str | Path, environ: Mapping[str, str] = os.environ, *, warn: Callable[[str], object] = lambda _: None
) -> Config:
    """Read a file. `warn` is called with each thing that can be run and is hardly meant.

    Raises:
        ConfigError: With everything that is wrong.
    """
    path = Path(path)
    tree = _yaml_tree.read(_text(path), path.parent, environ)
    report = _Report(str(path), tree)
    if tree.data is None:
        if not tree.mistakes:
            report.add((), "the file is empty")
        raise ConfigError(report.problems)
    config = None
    try:
        config = Config.model_validate(tree.data)
    except ValidationError as invalid:
        for mistake in invalid.errors(include_url=False):
            report.add_model_error(mistake)
    for finding in check(tree.data):
        at = (finding.path.line, finding.path.column) if finding.path else None
        report.add(finding.key, finding.message, at)
    if report.problems or config is None:
        raise ConfigError(report.problems)
    _place_templates(config, (), tree)
    for finding in constant(tree.data):
        report.add(finding.key, finding.message)
    for problem in sorted(report.problems):
        warn(str(problem))
    return config


def _place_templates(value: object, key: tuple[str | int, ...], tree: Tree) -> None:
    """Tells each template where it stands, so that an error at run time can say it."""
    match value:
        case Compiled():
            value.place = f"line {tree.place(key).line}, column {tree.place(key).column}"
        case BaseModel():
            for name, field in type(value).model_fields.items():
                _place_templates(getattr(value, name), (*key, field.alias or name), tree)
        case dict():
            for name, each in value.items():
                _place_templates(each, (*key, name), tree)
        case list() | tuple():
            for number, each in enumerate(value):
                _place_templates(each, (*key, number), tree)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem(str(path), 1, 1, "", f"the file cannot be read: {error.strerror}")]) from error
    except ValueError as error:
        raise ConfigError([Problem(str(path), 1, 1, "", "the file is not a text in UTF-8")]) from error


class _Report:
    """Collects problems, each with the place and the value that the tree knows for its key."""

    def __init__(self, file: str, tree: Tree) -> None:
        self._file, self._tree = file, tree
        self.problems: list[Problem] = []
        for key, place, message in tree.mistakes:
            self._append(key, place, message)

    def add(self, key: Key, message: str, at: tuple[int, int] | None = None, *, show: bool = True) -> None:
        """`at` is a place inside the text of the scalar at `key`."""
        if any(key == unresolved[: len(key)] for unresolved in self._tree.unresolved):
            return  # reported already: a value in here could not be filled in or read
        place = self._tree.place(key)
        if at is not None and key in self._tree.values:
            inside = self._tree.within(key, *at)
            place = inside or self._tree.values[key]
            message += "" if inside else f", at line {at[0]}, column {at[1]} of the template"
        self._append(key, place, message, show=show)

    def add_model_error(self, error: ErrorDetails) -> None:
        if _is_said_otherwise(error):
            return
        key = _key(error["loc"], self._tree.data)
        if error["type"] in {"union_tag_invalid", "union_tag_not_found"}:
            key = (*key, "method")
        cause = error.get("ctx", {}).get("error")
        if isinstance(cause, TemplateError):
            self.add(key, str(cause), (cause.line, cause.column))
        elif error["type"] == "extra_forbidden":
            known = _known_keys(key[:-1], self._tree.data)
            self.add(key, f"this key is not known; {one_of(str(key[-1]), known)}", show=False)
        else:
            mapping_wanted = error["type"] in {
                "model_type",
                "dict_type",
                "model_attributes_type",
            }  # may be a bare secret
            self.add(key, _in_plain_words(error), show=not mapping_wanted)

    def _append(self, key: Key, place: Place, message: str, *, show: bool = True) -> None:
        for secret in self._tree.filled_in.get(key, ()):
            message = message.replace(secret, "…") if len(secret) > 2 else message  # shorter ones are not secrets
        shown = self._shown(key) if show else None
        self.problems.append(Problem(self._file, place.line, place.column, _dotted(key), message, shown))

    def _shown(self, key: Key) -> str | None:
        written = self._tree.written.get(key)
        if written is None:
            return None
        if any(part in _SECRET_KEYS for part in key):
            return "…"
        written = re.sub(r"(?<!\S)(\w+://)?\S*@", r"\1…@", written)  # credentials in a URL, or an e-mail's local part
        written = re.sub(r"\?\S+", "?…", written)  # credentials in a query
        return json.dumps(written[:_LONGEST_SHOWN] + "…" * (len(written) > _LONGEST_SHOWN), ensure_ascii=False)


def _is_said_otherwise(error: ErrorDetails) -> bool:
    """Another report covers it: `check` finds every null, and bad items that make a list too short are reported."""
    if error["type"] == "too_short":
        return bool(len(error["input"]) >= error["ctx"]["min_length"])
    return error["input"] is None


def _dotted(key: Key) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def _key(location: tuple[str | int, ...], data: Any) -> Key:
    """pydantic's location without the parts that are not in the file: the tags of unions, and `[key]`."""
    key: list[str | int] = []
    for index, part in enumerate(location):
        is_there = isinstance(data, dict) and part in data
        if is_there or (isinstance(data, list) and isinstance(part, int)):
            data = data[part]
            key.append(part)
        elif index == len(location) - 1 and part != "[key]" and isinstance(data, dict):
            key.append(part)  # a key that is missing
    return tuple(key)


_WORDS = {  # by pydantic's error types, without the last word: int_type, int_parsing, int_from_float
    "model": "a mapping (key: value) is wanted here",
    "dict": "a mapping (key: value) is wanted here",
    "tuple": "a list is wanted here",
    "frozen_set": "a list is wanted here",
    "string": "a text is wanted here",
    "int": "a whole number is wanted here",
    "float": "a number is wanted here",
    "bool": "true or false is wanted here",
}
_WORDS_WITH_CONTEXT = {
    "missing": "this key is missing",
    "literal_error": "allowed is {expected}",
    "union_tag_not_found": "this key is missing",
    "union_tag_invalid": "allowed is {expected_tags}",
    "too_short": "at least {min_length} is wanted here",
    "too_long": "at most {max_length} is wanted here",
    "value_error": "{error}",
}


def _in_plain_words(error: ErrorDetails) -> str:
    """What is wrong and what is allowed, without the value."""
    kind = error["type"]
    if kind in _WORDS_WITH_CONTEXT:
        return _WORDS_WITH_CONTEXT[kind].format(**error.get("ctx", {}))
    stem = re.sub(r"_(type|parsing|attributes_type|from_float|sub_type)$", "", kind)
    return _WORDS.get(stem) or error["msg"][:1].lower() + error["msg"][1:]


def _types_in(annotation: Any) -> Iterator[Any]:
    """The parts of an annotation: for `dict[str, A] | None` the types str, A and None, and A's own parts."""
    yield annotation
    for part in get_args(annotation):
        yield from _types_in(part)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    for part in _types_in(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part


def _known_keys(key: Key, data: Any) -> list[str]:
    """The keys that the configuration knows at a place."""
    models: list[type[BaseModel]] = [Config]
    for part in key:
        data = data[part]
        if fields := [model.model_fields[str(part)] for model in models if str(part) in model.model_fields]:
            models = [model for found in fields for model in _models_in(found.annotation)]
    method = data.get("method")
    fitting = [m for m in models if "method" not in m.model_fields or method in get_args(_method_of(m))]
    return [name for model in fitting for name in model.model_fields]


def _method_of(model: type[BaseModel]) -> Any:
    return model.model_fields["method"].annotation


def _secret_keys(model: type[BaseModel]) -> Iterator[str]:
    for name, found in model.model_fields.items():
        if SecretStr in _types_in(found.annotation):
            yield name
        for inner in _models_in(found.annotation):
            yield from _secret_keys(inner)


_SECRET_KEYS = frozenset(_secret_keys(Config))
