"""Reads a YAML file as plain data, with the place of every key and value, and fills in `${…}`.

Plain scalars are read as in YAML 1.2, and converted only if nothing is lost: `on`, `no`, `007` and `12:30` are texts.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Key = tuple[str | int, ...]

_MOST_VALUES = 100_000  # aliases of aliases can expand without end; no real configuration comes near this
_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)\}?")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>.*))?", re.DOTALL)
_KINDS = ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "value")
_CORE_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in _KINDS}


@dataclass(frozen=True, order=True)
class Place:
    """Line and column, from 1."""

    line: int = 1
    column: int = 1


@dataclass
class Tree:
    """`data` is plain dicts, lists and scalars. The other fields say, by key path, where and how they were written."""

    data: Any = None
    keys: dict[Key, Place] = field(default_factory=dict)
    values: dict[Key, Place] = field(default_factory=dict)
    written: dict[Key, str] = field(default_factory=dict)  # scalars before we filled in anything
    filled_in: dict[Key, list[str]] = field(default_factory=dict)  # what we filled in for a scalar's `${…}`
    unresolved: set[Key] = field(default_factory=set)
    mistakes: list[tuple[Key, Place, str]] = field(default_factory=list)
    _raw: dict[Key, tuple[str, str]] = field(default_factory=dict)

    def place(self, key: Key) -> Place:
        """The place of the key, or else of its value, or else of the nearest parent."""
        while key not in self.keys and key not in self.values and key:
            key = key[:-1]
        return self.keys.get(key) or self.values.get(key) or Place()

    def within(self, key: Key, line: int, column: int) -> Place | None:
        """The place in the file for a place (from 1) in a scalar's text; None if we cannot know it."""
        start, (style, raw) = self.values[key], self._raw[key]
        text = self.written[key]
        if style == "|" and not raw.startswith("|+"):
            first = next((row for row in raw.split("\n")[1:] if row.strip()), "")
            return Place(start.line + line, len(first) - len(first.lstrip()) + column)
        if line == 1 and raw == f"{style}{text}{style}":
            return Place(start.line, start.column + len(style) + column - 1)
        return None


def read(text: str, folder: Path, environ: Mapping[str, str]) -> Tree:
    """Parse, and fill in `${…}`. `${file:…}` is relative to `folder`. Raise nothing; `mistakes` says what is wrong."""
    reader = _Reader(text, folder, environ)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            reader.tree.mistakes.append(((), Place(), "the file is empty"))
        else:
            reader.tree.data = reader.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place()
        reader.tree.mistakes.append(((), place, f"this is not YAML: {_without_quotations(error)}"))
    except yaml.YAMLError:
        reader.tree.mistakes.append(((), Place(), "this is not YAML: it holds a character that YAML does not allow"))
    except RecursionError:
        reader.tree.mistakes.append(((), Place(), "this is nested too deeply"))
    return reader.tree


def _without_quotations(error: yaml.MarkedYAMLError) -> str:
    """The parser's message without the text that it quotes, which may be part of an unquoted secret."""
    said = ", ".join(part for part in (error.context, error.problem) if part)
    said = re.sub(r"'([^']*)'|\"([^\"]*)\"", lambda quoted: quoted[0] if _is_syntax(quoted[0][1:-1]) else "…", said)
    if "'\\t'" in said:
        said += "; indent lines with spaces, not with tabs"
    elif any(sign in said for sign in ("alias", "anchor", "tag", "start any token")):
        said += "; put a value that begins with a special character in quotes"
    elif "flow" in said:
        said += "; inside { } and [ ] put a ${…} in quotes"
    return said


def _is_syntax(found: str) -> bool:
    return len(found) <= 1 or found == "\\t" or found.startswith("<")


class _Reader:
    def __init__(self, text: str, folder: Path, environ: Mapping[str, str]) -> None:
        self.tree = Tree()
        self._text, self._folder, self._environ = text, folder, environ
        self._open: set[int] = set()  # nodes that we are inside of: an alias to one of them never ends
        self._count = 0

    def value(self, node: yaml.Node, key: Key) -> Any:
        place = _place(node)
        self.tree.values[key] = place
        self._count += 1
        if id(node) in self._open or self._count > _MOST_VALUES:
            self.tree.unresolved.add(key)
            if self._count <= _MOST_VALUES + 1:
                self._mistake(key, place, "an alias (*) expands without end here, or the file holds far too much")
            return None
        if node.tag not in _CORE_TAGS:
            self.tree.unresolved.add(key)
            self._mistake(key, place, "tags (!) have no meaning here; put a text that begins with ! in quotes")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, key)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*key, index)) for index, item in enumerate(node.value)]
            return self._scalar(node, key) if isinstance(node, yaml.ScalarNode) else None
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name_node, value_node in self._pairs(node, key):
            name, place = str(name_node.value), _place(name_node)
            if not isinstance(name_node, yaml.ScalarNode):
                self.tree.unresolved.add(key)
                self._mistake(key, place, 'a key is a text; put a template in quotes: "{{ … }}"')
                continue
            path = (*key, name)
            if name in found:
                self._mistake(path, place, f"this key is already at line {self.tree.keys[path].line}")
                continue
            self.tree.keys[path] = place
            found[name] = self.value(value_node, path)
        return found

    def _pairs(self, node: yaml.MappingNode, key: Key) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """The mapping's own keys and values, then those that `<<` adds and that are not there already."""
        merged: list[yaml.Node] = []
        own = set()
        for name, value in node.value:
            if name.tag == "tag:yaml.org,2002:merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            else:
                own.add(str(name.value))
                yield name, value
        for source in merged:
            if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                self._mistake(key, _place(source), "<< takes a mapping, or a list of mappings")
                continue
            self._open.add(id(source))
            for name, value in self._pairs(source, key):
                if str(name.value) not in own:
                    own.add(str(name.value))
                    yield name, value
            self._open.discard(id(source))

    def _scalar(self, node: yaml.ScalarNode, key: Key) -> Any:
        text = str(node.value)
        self.tree.written[key] = text
        raw = self._text[node.start_mark.index : node.end_mark.index]
        self.tree._raw[key] = (node.style or "", raw)
        if "${" in text:
            return _VARIABLE.sub(lambda match: self._fill_in(match, key, _place(node)), text)
        if node.style is None and not raw.startswith("!"):
            return _plain(text)
        return text

    def _fill_in(self, match: re.Match[str], key: Key, place: Place) -> str:
        value = self._looked_up(match, key, place)
        self.tree.filled_in.setdefault(key, []).append(value)
        return value

    def _looked_up(self, match: re.Match[str], key: Key, place: Place) -> str:
        inside = match["inside"]
        if inside is None:
            return "${"
        problem = "a ${…} here is not understood: write ${NAME}, ${NAME:-default} or ${file:PATH}"
        if match[0].endswith("}"):
            if inside.startswith("file:"):
                path = self._folder / inside.removeprefix("file:")
                try:
                    return re.sub(r"\r?\n\Z", "", path.read_text(encoding="utf-8"))
                except (OSError, ValueError) as error:
                    reason = error.strerror if isinstance(error, OSError) else "it is not a text in UTF-8"
                    problem = f"{match[0]} cannot be read: {reason}"
            elif name := _NAME.fullmatch(inside):
                value = self._environ.get(name["name"], "")
                if name["default"] is not None:
                    return value or name["default"]
                if name["name"] in self._environ:
                    return value
                problem = f"the environment variable {name['name']} is not set"
        self.tree.unresolved.add(key)
        self._mistake(key, place, problem)
        return ""

    def _mistake(self, key: Key, place: Place, message: str) -> None:
        self.tree.mistakes.append((key, place, message))


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _plain(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar. It is a number only if printing the number gives the same text again."""
    if text in {"", "~", "null"}:
        return None
    if text in {"true", "false"}:
        return text == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text and text not in {"inf", "nan", "-inf"}:
            return number
    return text
