"""Says what a replay will do, before it does it."""

from pydantic import TypeAdapter, ValidationError

from connector.config import Config
from connector.config.types import TopicPrefix
from connector.errors import Fatal
from connector.kafka.members import members

_PREFIX: TypeAdapter[str] = TypeAdapter(TopicPrefix)


def require_shadow(config: Config, stage: str, prefix: str, *, dry_run: bool) -> None:
    """Raises Fatal if a shadow's topics cannot have this prefix, or there is nothing to try out."""
    try:
        _PREFIX.validate_python(prefix)
    except ValidationError as error:
        raise Fatal(f"--shadow: {error.errors(include_url=False)[0]['msg'].removeprefix('Value error, ')}") from error
    if prefix == config.kafka.topic_prefix:
        raise Fatal(f"--shadow: {prefix or 'no prefix'} is what the service uses; choose another prefix")
    if dry_run and stage != "trigger":
        raise Fatal("--dry-run with --shadow is for trigger: send and write decide only when they read the copies")


async def what_will_happen(config: Config, stage: str, records: int, shadow: str | None) -> list[str]:
    """Sentences for the operator: what becomes of this many records, and who will read the result.

    Raises:
        Fatal: No broker answers, or a right is missing.
        Retryable: Kafka is away.
    """
    prefix = config.kafka.topic_prefix if shadow is None else shadow
    match stage:
        case "trigger":
            said = [
                f"{records:,} change events are decided again, with this configuration and what Salesforce has now.",
                f"Invitations go to {prefix}pisano.invitations, refused events to {prefix}connector.deadletters.",
            ]
        case "send":
            said = [f"{records:,} invitations are written again to {prefix}pisano.invitations."]
        case _:
            said = [f"{records:,} answers are written again to {prefix}pisano.feedback."]
    if shadow is not None:
        return [
            *said,
            f"No service reads these topics unless you run one with kafka.topic_prefix {shadow!r}. Such a service knows"
            " nothing of what was sent or written before: give it the doubles of `connector sandbox` only.",
        ]
    if stage == "trigger":
        said += [
            "Start the service with this configuration first: send ends an invitation of a survey that its own"
            " configuration does not have, as survey_removed, and no later replay sends it."
        ]
    return [*said, _kept_from_repeating(stage), *[await _runs(config, name) for name in _concerned(stage)]]


def _kept_from_repeating(stage: str) -> str:
    if stage == "write":
        return "write does not repeat what is on salesforce.writes. What failed, and what a new rule wants, is written."
    return "send leaves out each invitation that has an outcome or waits. The others are sent."


def _concerned(stage: str) -> list[str]:
    return ["trigger", "send"] if stage == "trigger" else [stage]


async def _runs(config: Config, stage: str) -> str:
    found = await members(config.kafka, stage)
    if found.count:
        return f"{stage} runs now (members of its group: {found.count}) and goes on beside this replay."
    return f"{stage} does not run now" + ("." if stage == "trigger" else ": the records wait until it does.")
