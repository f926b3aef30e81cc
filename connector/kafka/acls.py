"""The least rights (ACLs) that each part of the connector needs in Kafka.

`tests/integration/test_guarded_stages.py` runs each stage as a user with just these. READ and WRITE imply DESCRIBE.
"""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from connector.config import Config
from connector.config.catalogue import entity_topics, topics_for
from connector.protection import CLAIMS, ContactProtection

_CHANGES = "salesforce.{cdc,events}.<entity>"
_EVERY = "every topic"
_COMPACTED = "every compacted topic"
_LINKS = "with surveys of `channel: link`"
_COUNTED = "where `protect.counts` is not `invitations`"
_TRACED = "where the service sends traces"
_SHARED = "where `once_per_any` counts over several accounts"
_OPTIONS = {"Topic": "--topic", "Group": "--group", "TransactionalId": "--transactional-id"}


@dataclass(frozen=True)
class Right:
    """`operations` on `name`, a resource of a kind; `when` says in words which configurations need it."""

    kind: str
    name: str
    operations: tuple[str, ...]
    when: str = ""


def _topic(name: str, *operations: str, when: str = "") -> Right:
    return Right("Topic", name, operations, when)


def _read_back(name: str, *operations: str, when: str = "") -> Right:
    """Its retention is compared at the start of whoever reads it back."""
    return _topic(name, "READ", *operations, "DESCRIBE_CONFIGS", when=when)


def _group(name: str, operation: str = "READ") -> Right:
    return Right("Group", name, (operation,))


def _transactions(*names: str) -> tuple[Right, ...]:
    return tuple(Right("TransactionalId", name, ("WRITE",)) for name in names)


_LETTERS = _topic("connector.deadletters", "WRITE")
_PARKED = _topic("connector.parked", "READ", "WRITE")
_ACTIONS = _read_back("connector.actions")  # `connector held release`

# By who needs them: the stages, and the commands as two more.
_NEEDS: dict[str, tuple[Right, ...]] = {
    "capture": (
        _group("capture"),
        _read_back("salesforce.positions", "WRITE"),
        _topic(_CHANGES, "WRITE"),
        *_transactions("capture-<channel>", "capture-preflight"),
        _ACTIONS,
        _LETTERS,
    ),
    "trigger": (
        _group("trigger"),
        _topic(_CHANGES, "READ"),
        _topic("pisano.invitations", "WRITE"),
        _PARKED,
        _ACTIONS,
        _LETTERS,
    ),
    "send": (
        _group("send"),
        _topic("pisano.invitations", "READ"),
        _read_back("pisano.attempts", "WRITE"),
        _read_back("pisano.waiting", "WRITE"),
        *_transactions("send-<account>", "send-preflight"),
        _read_back("pisano.suppressions"),
        _read_back(CLAIMS, "WRITE", when=_SHARED),
        _topic("pisano.feedback", "READ", when=_COUNTED),
        _topic("pisano.feedback", "WRITE", when=_LINKS),
        _PARKED,
        _ACTIONS,
        _LETTERS,
    ),
    "receive": (_topic("pisano.feedback", "WRITE"), _topic("pisano.invitations", "READ", when=_TRACED), _LETTERS),
    "write": (
        _group("write"),
        _topic("pisano.feedback", "READ"),
        _read_back("salesforce.writes", "WRITE"),
        _PARKED,
        _ACTIONS,
        _LETTERS,
    ),
    "index": (
        _group("index"),
        _topic(_EVERY, "READ"),
        _topic(_COMPACTED, "DESCRIBE_CONFIGS"),
        Right("Cluster", "kafka-cluster", ("IDEMPOTENT_WRITE",)),
    ),
    "operator": (
        _topic(_EVERY, "READ", "DESCRIBE_CONFIGS"),
        _topic(_CHANGES, "WRITE"),
        *(
            _topic(name, "WRITE")
            for name in (
                "connector.actions",
                "connector.deadletters",
                "pisano.feedback",
                "pisano.invitations",
                "pisano.suppressions",
                "salesforce.positions",
                "salesforce.writes",
            )
        ),
        _group("capture", "DESCRIBE"),
        *(_group(name) for name in ("trigger", "send", "write")),
        *_transactions("capture-<channel>", "send-preflight", "deadletters"),
    ),
    "topics": (_topic(_EVERY, "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS"),),
}
WHO = tuple(_NEEDS)
_ABOUT = {
    "operator": "every command but `connector topics apply`",
    "topics": "`connector topics apply`",
}


def rights(config: Config, who: str, *, traced: bool = False) -> list[Right]:
    """What a stage, `operator` or `topics` needs with this configuration: one for each resource, with full names.

    What traces need more is only with `traced`: a stage works without it.
    """
    followed = ContactProtection.of_config(config).topics()
    links = any(survey.channel == "link" for survey in config.surveys.values())
    counted = "pisano.feedback" in followed
    applies = {"": True, _LINKS: links, _SHARED: CLAIMS in followed, _COUNTED: counted, _TRACED: traced}
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for need in _NEEDS[who]:
        for right in _named(config, need) if applies[need.when] else ():
            found[right.kind, right.name] += right.operations
    return [Right(*resource, tuple(dict.fromkeys(operations))) for resource, operations in found.items()]


def topic_names(config: Config, stages: Iterable[str]) -> set[str]:
    """The full names of the topics that these stages use."""
    return {right.name for stage in stages for right in rights(config, stage) if right.kind == "Topic"}


def commands(config: Config, who: str, principal: str) -> list[str]:
    """Lines for a shell that give `principal`, such as User:send, the rights. What traces need more is a comment."""
    needed = rights(config, who)
    more = [right for right in rights(config, who, traced=True) if right not in needed]
    return [
        *_lines(config, needed, principal),
        *(f"# {_TRACED}: {line}" for line in _lines(config, more, principal)),
    ]


def _lines(config: Config, needed: Iterable[Right], principal: str) -> list[str]:
    resources: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for right in needed:
        option = ["--cluster"] if right.kind == "Cluster" else [_OPTIONS[right.kind], right.name]
        resources[right.kind, *right.operations] += option
    begin = ["kafka-acls.sh", "--bootstrap-server", config.kafka.bootstrap_servers]
    begin += ["--command-config", "admin.properties", "--add", "--allow-principal", principal]
    return [
        shlex.join([*begin, *(part for each in operations for part in ("--operation", _camel(each))), *names])
        for (_, *operations), names in resources.items()
    ]


def table() -> str:
    """All rights as a table in Markdown, with names without a prefix."""
    lines = ["| who | resource | operations |", "|---|---|---|"]
    for who, needs in _NEEDS.items():
        said = f"{who}: {_ABOUT[who]}" if who in _ABOUT else f"`{who}`"
        merged: dict[tuple[str, tuple[str, ...], str], list[str]] = defaultdict(list)
        for need in needs:
            merged[need.kind, need.operations, need.when].append(need.name)
        for (kind, operations, when), names in merged.items():
            listed = f"{kind} " + ", ".join(f"`{name}`" for name in names)
            listed = names[0] if names[0] in {_EVERY, _COMPACTED} else listed
            lines.append(f"| {said} | {listed}{f', {when}' if when else ''} | {', '.join(operations)} |")
            said = ""
    return "\n".join(lines)


def _named(config: Config, need: Right) -> Iterator[Right]:
    """The right on each resource that a name stands for."""
    if need.kind == "Cluster":
        yield need
        return
    prefix = config.kafka.topic_prefix
    if need.name == _CHANGES:
        names = [*entity_topics(config).values()]
    elif need.name in {_EVERY, _COMPACTED}:
        names = [topic.name for topic in topics_for(config) if need.name == _EVERY or topic.is_read_back]
    elif "<channel>" in need.name:
        names = [prefix + need.name.replace("<channel>", channel) for channel in config.salesforce.channels]
    elif "<account>" in need.name:
        names = [prefix + need.name.replace("<account>", account) for account in config.pisano]
    else:
        names = [prefix + need.name]
    for name in names:
        yield replace(need, name=name)


def _camel(operation: str) -> str:
    """As Kafka's tool writes it: DescribeConfigs."""
    return operation.title().replace("_", "")
