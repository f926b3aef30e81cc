"""An invitation or an answer counts for `once_per` only while its topic is kept."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from connector.config import TopicSettings
from connector.config._plain import map_in
from connector.config.catalogue import catalogue
from connector.config.protect import period

Key = tuple[str | int, ...]


def forgotten(data: object) -> Iterator[tuple[Key, str]]:
    """Each period that is longer than its topic is kept, with a message."""
    rules: dict[Key, dict[str, Any]] = {("protect",): map_in(data, "protect")}
    for survey, settings in map_in(data, "surveys").items():
        rules["surveys", survey, "protect"] = map_in(map_in(settings), "protect")
    for key, rule in rules.items():
        name = "once_per" if len(key) > 1 else "once_per_any"
        counts = rule.get("counts", "invitations")
        try:
            wanted = period(rule.get(name))
        except (ValueError, TypeError):
            continue  # a template, or the models report it
        for topic, counted in (("pisano.attempts", "answers"), ("pisano.feedback", "invitations")):
            kept = _kept(data, topic)
            if counts != counted and kept is not None and kept < wanted:
                remedy = f"set kafka.topics.{topic}.retention to {wanted / 86400:g}d or more"
                yield (*key, name), (f"{topic} is kept for {kept / 86400:g} days only; {remedy}")


def _kept(data: object, name: str) -> float | None:
    """How long a topic is kept; None when that is for ever, or when what the file says about it cannot be read."""
    (topic,) = (topic for topic in catalogue() if topic.name == name)
    try:
        settings = TopicSettings.model_validate(map_in(map_in(map_in(data, "kafka"), "topics"), name))
    except ValidationError:
        return None
    return topic.changed_by(settings).retention
