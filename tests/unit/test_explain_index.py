"""The index: the same answers whatever way records came into it, each record once, and nobody's address in its file."""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.config_files import MINIMAL, read
from helpers.made_up_topics import COMMENT, START, MadeUpTopics, case_id
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.config import Config, Phones
from connector.errors import Fatal
from connector.explain import Index, Kind, NotThisIndex, tell, wanted
from connector.kafka.inbound import InRecord

PEOPLE = [f"c{number}@acme.com" for number in range(4)]
CASES = [case_id(number) for number in range(4)]
WHOLE = 2**40  # above every offset


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return read(tmp_path, MINIMAL)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def put(index: Index, records: Sequence[InRecord], *, sort: bool = True) -> None:
    """As the stage stores what it has read."""
    ends = {(each.topic, each.partition): each.offset + 1 for each in records}
    index.add([fact for each in records if (fact := index.facts.of(each))], ends)
    if sort:
        index.sort()


_customers = st.lists(
    st.tuples(st.sampled_from(CASES), st.sampled_from(PEOPLE), st.integers(0, 40), st.integers(0, 3)),
    min_size=1,
    max_size=6,
)


def story_of(topics: MadeUpTopics, customers: Sequence[tuple[str, str, int, int]]) -> list[InRecord]:
    """Made-up stories that share people, cases and calls: how far each gets is the last number."""
    records: list[InRecord] = []
    for number, (case, person, minutes, steps) in enumerate(customers):
        at = START + timedelta(minutes=minutes)
        records.append(topics.change(case, at, transaction=f"{number}"))
        id_, invitation = topics.invitation(records[-1], case, person, at)
        records += [invitation] if steps else []
        records += topics.call(f"{minutes:032x}", {id_: case}, at) if steps > 1 else ()
        records += topics.answer(case, person, at + timedelta(minutes=5), again=1) if steps > 2 else ()
    return records


def reading_order(data: st.DataObject, records: list[InRecord]) -> list[list[InRecord]]:
    """The records as a reader may get them: in order in each topic, the topics mixed, some at once."""
    left = {topic: [each for each in records if each.topic == topic] for topic in {each.topic for each in records}}
    lots: list[list[InRecord]] = []
    while left:
        topic = data.draw(st.sampled_from(sorted(left)))
        count = data.draw(st.integers(1, len(left[topic])))
        lots.append(left[topic][:count])
        if not (left.pop(topic) if count == len(left[topic]) else left[topic].__delitem__(slice(count))):
            left = {name: its for name, its in left.items() if its}
    return lots


@settings(max_examples=25)  # each opens the file some times
@given(customers=_customers, data=st.data())
def test_the_index_answers_as_a_scan_does(
    customers: list[tuple[str, str, int, int]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the order of the topics, with restarts in between, with lots read twice, and whenever it sorts."""
    folder = tmp_path_factory.mktemp("index")
    config = read(folder, MINIMAL)
    records = story_of(MadeUpTopics(config), customers)
    for lot in reading_order(data, records):
        with closing(Index.create(folder / "index.sqlite", config)) as index:
            for _ in range(data.draw(st.integers(1, 2))):
                put(index, lot, sort=data.draw(st.booleans()))
    with closing(Index.create(folder / "index.sqlite", config)) as index:
        index.sort()
    with closing(Index.temporary(config)) as scan, closing(Index.open(folder / "index.sqlite", config)) as index:
        put(scan, records)
        ids = {id_ for fact in map(scan.facts.of, records) if fact for kind in fact.ids for id_ in fact.ids[kind]}
        for what in (*PEOPLE, *CASES, *(id_ for id_ in ids if len(id_) == 32)):
            told = [tell(each, wanted(what).all_ids(each.facts)) for each in (index, scan)]
            assert [fact.place for fact in told[0].facts] == [fact.place for fact in told[1].facts]
        assert index.searched() == scan.searched()
        assert index.positions() == scan.positions()


def test_facts_and_positions_are_stored_together_or_not_at_all(config: Config, file: Path) -> None:
    topics = MadeUpTopics(config)
    first, second = topics.change(CASES[0], START), topics.change(CASES[1], START)
    with closing(Index.create(file, config)) as index:
        put(index, [first])
        fact = index.facts.of(second)
        assert fact
        with pytest.raises(Fatal, match="cannot be used"):
            index.add([fact], {(second.topic, 0): {}})  # type: ignore[dict-item] # SQLite takes no such value
    with closing(Index.create(file, config)) as index:
        assert index.positions() == {(first.topic, 0): 1}
        assert index.find(Kind.CHANGE, "record", CASES[1][:15], most=9) == []
        put(index, [second])
        assert index.positions() == {(first.topic, 0): 2}
        assert [each.offset for each in index.find(Kind.CHANGE, "record", CASES[1][:15], most=9)] == [1]


def test_a_file_holds_no_address_and_only_its_owner_reads_it(config: Config, file: Path) -> None:
    topics = MadeUpTopics(config)
    with closing(Index.create(file, config)) as index:
        put(index, story_of(topics, [(CASES[0], PEOPLE[0], 1, 3)]))
    content = b"".join(path.read_bytes() for path in file.parent.glob("index.sqlite*"))
    assert CASES[0][:15].encode() in content
    for personal in (PEOPLE[0], PEOPLE[0].partition("@")[0] + "@", "acme.com", COMMENT):
        assert personal.encode() not in content
    assert file.stat().st_mode & 0o077 == 0


def test_two_files_have_different_hashes_of_a_person(config: Config, tmp_path: Path) -> None:
    """So a list of hashes that somebody made of known addresses fits no file."""
    persons = set()
    for name in ("one", "two"):
        with closing(Index.create(tmp_path / name, config)) as index:
            persons.add(index.facts.persons(None, PEOPLE[0]))
    assert len(persons) == 2


def test_a_file_of_another_configuration_or_version_is_built_again(config: Config, file: Path) -> None:
    with closing(Index.create(file, config)) as index:
        put(index, [MadeUpTopics(config).change(CASES[0], START)])
    other = config.model_copy(update={"kafka": config.kafka.model_copy(update={"topic_prefix": "other."})})
    with pytest.raises(NotThisIndex, match="another version or for another configuration"):
        Index.open(file, other)
    with closing(Index.open(file, config)) as index:
        assert index.searched().facts == 1
    account = config.pisano["main"].model_copy(update={"phones": Phones(region="TR")})  # which reads other numbers
    with pytest.raises(NotThisIndex, match="another version or for another configuration"):
        Index.open(file, config.model_copy(update={"pisano": {"main": account}}))
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(NotThisIndex):
        Index.open(file, config)
    with closing(Index.create(file, config)) as index:
        assert index.positions() == {}


@pytest.mark.parametrize(
    "content", [b"no database, but a text that is longer than its head", b"SQLite format 3\0" * 99]
)
def test_a_damaged_file_is_built_again(content: bytes, config: Config, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(NotThisIndex, match="is damaged"):
        Index.open(file, config)
    with closing(Index.create(file, config)) as index:
        put(index, [MadeUpTopics(config).change(CASES[0], START)])
        assert index.searched().facts == 1


def test_an_index_that_is_being_built_is_not_asked(config: Config, file: Path) -> None:
    record = MadeUpTopics(config).change(CASES[0], START)
    with closing(Index.create(file, config)) as index:
        put(index, [record], sort=False)
        with pytest.raises(NotThisIndex, match="is being built"):
            Index.open(file, config)
        index.sort()
    with closing(Index.open(file, config)) as index:
        assert len(index.find(Kind.CHANGE, "record", CASES[0][:15], most=9)) == 1


def test_a_reader_finds_what_another_process_adds_later(config: Config, file: Path) -> None:
    """Also in a partition that the reader did not know when it opened the file."""
    topics = MadeUpTopics(config)
    first, second = (topics.change(case, START, transaction=case) for case in CASES[:2])
    with closing(Index.create(file, config)) as index:
        put(index, [first])
        with closing(Index.open(file, config)) as reader:
            put(index, [replace(second, partition=second.partition + 100)])
            assert len(reader.find(Kind.CHANGE, "record", CASES[1][:15], most=9)) == 1


def test_sorting_can_be_ended_at_any_moment_and_begun_again(config: Config, file: Path) -> None:
    topics = MadeUpTopics(config)
    changes = [topics.change(case_id(number), START) for number in range(10_000)]
    with closing(Index.create(file, config)) as index:
        put(index, changes, sort=False)
        ended = threading.Event()

        def interrupt() -> None:
            while not ended.is_set():
                index.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(Fatal, match="interrupted"):
                index.sort()
        finally:
            ended.set()
            thread.join()
        assert not index.is_whole
        index.sort()
        assert [fact.offset for fact in index.find(Kind.CHANGE, "record", case_id(77)[:15], most=9)] == [77]


def test_a_missing_folder_says_what_to_do(config: Config, tmp_path: Path) -> None:
    with pytest.raises(
        Fatal, match=r"there is no folder .*/nowhere for the index. Create it, or change service.index."
    ):
        Index.create(tmp_path / "nowhere" / "index.sqlite", config)


def test_what_kafka_has_deleted_is_forgotten(config: Config, file: Path) -> None:
    topics = MadeUpTopics(config)
    records = story_of(topics, [(CASES[0], PEOPLE[0], 1, 3), (CASES[1], PEOPLE[1], 2, 3)])
    changes = [each for each in records if each.topic == "salesforce.cdc.Case"]
    with closing(Index.create(file, config)) as index:
        put(index, records)
        index.forget(("salesforce.cdc.Case", 0), 2)  # the change of the first case, and the one that we made
        assert index.find(Kind.CHANGE, "record", CASES[0][:15], most=9) == []
        assert len(index.find(Kind.CHANGE, "record", CASES[1][:15], most=9)) == len(changes) - 2
        assert len(index.find(Kind.INVITATION, "record", CASES[0][:15], most=9)) == 1
        for topic, partition in index.positions():
            index.forget((topic, partition), WHOLE)
        assert index.searched() == (0, None, None)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM token").fetchone() == (0,)


def test_only_the_newest_of_many_facts_are_found_and_only_of_the_wanted_time(config: Config) -> None:
    topics = MadeUpTopics(config)
    changes = [topics.change(CASES[0], START + timedelta(hours=n), transaction=f"{n}") for n in range(9)]
    with closing(Index.temporary(config)) as index:
        put(index, changes)

        def offsets(**options: object) -> list[int]:
            found = index.find(Kind.CHANGE, "record", CASES[0][:15], **options)  # type: ignore[arg-type]
            return [fact.offset for fact in found]

        assert offsets(most=3) == [8, 7, 6]
        assert offsets(most=9, until=START + timedelta(hours=2)) == [2, 1, 0]
        assert offsets(most=2, since=START + timedelta(hours=1), until=START + timedelta(hours=4)) == [4, 3]


def test_a_repeat_of_a_record_changes_nothing(config: Config) -> None:
    record = MadeUpTopics(config).change(CASES[0], START)
    with closing(Index.temporary(config)) as index:
        put(index, [record])
        put(index, [replace(record)])
        assert index.searched().facts == 1
