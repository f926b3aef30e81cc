"""Tells the story of an address, a record or one of our ids: from the index, or from the topics themselves."""

from dataclasses import dataclass
from pathlib import Path

from connector.config import Config
from connector.errors import ConnectorError, Fatal
from connector.explain import Index, Kind, NotThisIndex, Story, Wanted, tell
from connector.explain.index import Searched
from connector.kafka.connection import admin_client
from connector.kafka.kept import Progress, bounds, kept
from connector.protection import Hashes

_AT_ONCE = 1_000  # records that are added together


@dataclass(frozen=True)
class Explained:
    """`source` says where the story comes from, and how far behind that is."""

    story: Story
    searched: Searched
    source: str


async def explain(
    config: Config, wanted: Wanted, *, scan: bool = False, progress: Progress = lambda *_: None
) -> Explained:
    """Uses the index if there is one, unless `scan` is true. `progress` is told about a scan.

    Raises:
        Fatal: There is no broker, a topic is missing, or the index cannot be used.
        Retryable: Kafka goes away meanwhile.
    """
    path = Path(config.service.index)
    note = ""
    try:
        index = None if scan else _opened(path, config)
    except NotThisIndex as error:
        index, note = None, f"; the index is not used: {error}"
    hashes = Hashes.of_config(config.protect)
    if index is not None:
        return _told(index, wanted, hashes, f"the index {path}, {await _behind(config, index)}")
    index = await _scanned(config, progress)
    return _told(index, wanted, hashes, f"the topics, read to their ends{note}")


def _opened(path: Path, config: Config) -> Index | None:
    try:
        return Index.open(path, config) if path.exists() else None
    except (Fatal, OSError) as error:
        raise Fatal(f"{error} Or read the topics instead, with --scan.") from error


def _told(index: Index, wanted: Wanted, hashes: Hashes, source: str) -> Explained:
    """The story. Of a person who was erased it tells only that."""
    try:
        erased = [fact for id_ in wanted.erased_ids(hashes) for fact in index.find(Kind.SUPPRESSION, *id_, most=1)]
        if any(not fact.details.get("removed") for fact in erased):
            story = Story(erased, ["the person was erased, so nothing else is told"])
        else:
            story = tell(index, wanted.all_ids(index.facts))
        return Explained(story, index.searched(), source)
    finally:
        index.close()


async def _scanned(config: Config, progress: Progress) -> Index:
    async with admin_client(config.kafka):
        pass  # says better than a consumer why no broker answers
    index = Index.temporary(config)
    facts = []
    async for record in kept(config.kafka, index.facts.topics, progress=progress):
        if fact := index.facts.of(record):
            facts.append(fact)
        if len(facts) >= _AT_ONCE:
            index.add(facts, {})
            facts = []
    index.add(facts, {})
    index.sort()
    return index


async def _behind(config: Config, index: Index) -> str:
    """How far an index is behind the topics. Without Kafka nobody knows, and the index answers all the same."""
    positions = index.positions()
    try:
        async with admin_client(config.kafka):
            ends = await bounds(config.kafka, index.facts.topics)
    except ConnectorError as error:
        return f"and how far it is behind the topics is not known: {error}"
    behind = sum(max(0, end - positions.get(partition, first)) for partition, (first, end) in ends.items())
    return f"{behind:,} records behind the topics" if behind else "up to date"
