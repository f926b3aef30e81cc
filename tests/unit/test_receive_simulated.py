"""receive in simulated time: what got a 2xx is on the topic, and neither Kafka nor the disk stops the other.

Kafka goes away, hangs and fails in every way; the disk is slow, full or broken; workers are killed, frozen and stopped
at any moment. The stage, its spool, its publisher and the SQLite file are the real ones.
"""

from collections import Counter
from functools import partial

from helpers import simulated_play
from helpers.simulated_play import Happening, play
from helpers.simulated_receive import HEALTHY, LOSSES, OF_DISK, OF_KAFKA, ORDERLY, TOPIC, Scenario, Webhook, World
from helpers.simulated_workers import LONGEST, run
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.kafka.dead_letters import DEAD_LETTERS
from connector.pisano import feedback_id
from connector.records import Feedback, read

PROMPT = 1.0  # seconds until an answer while all is well
LATEST = 9.5  # seconds until an answer whatever happens, except to the worker
ROOMY = 1 << 20  # bytes that no scenario fills
LONGEST_START = 31.0  # seconds until the port opens: the spool gives up its file after 30 s
MOST_WAITING = 100  # calls to the file: more than there are webhooks at the same time

ANSWERS = {
    "good": {200, 503},
    "unreadable": {200, 503},
    "large": {200, 413, 503},
    "too large": {413},
    "wrong secret": {401},
    "cut off": {400},
    "endless": {408},
}

AWAY = [Happening(1.0, "kafka fails", 0, 1.0), Happening(1.0, "webhooks", 0, 1.0)]
BACK = Happening(1.0, "kafka back", 0, 1.0)

happenings = partial(simulated_play.happenings, gap=20, longest=LONGEST)
SCENARIOS = st.builds(
    Scenario,
    seed=st.integers(0, 2**32),
    room=st.sampled_from([ROOMY, ROOMY, 3_000]),
    trouble=st.sampled_from([0.0, 0.0, 0.05, 0.2]),
    happenings=happenings(*ORDERLY, *LOSSES)
    | happenings(*ORDERLY, *OF_KAFKA)
    | happenings("webhooks", "start", "full").map(lambda during: [*AWAY, *during, BACK])
    | happenings(*ORDERLY, *LOSSES, *OF_KAFKA)
    | happenings(*ORDERLY, *LOSSES, *OF_DISK)
    | happenings(*ORDERLY, *LOSSES, *OF_KAFKA, *OF_DISK),
)


@settings(max_examples=100, deadline=None)
@given(SCENARIOS)
def test_what_got_a_2xx_is_on_the_topic_whatever_befalls_kafka_the_disk_and_the_workers(scenario: Scenario) -> None:
    play(World(scenario), run, check)


def test_calls_to_a_disk_that_hangs_do_not_pile_up() -> None:
    webhooks = [Happening(1.0, "webhooks", 0, 1.0)] * 200
    scenario = Scenario(seed=1, room=ROOMY, trouble=0.0, happenings=[Happening(1.0, "slow", 2, 1.0), *webhooks])
    play(World(scenario), run, check)


def check(world: World) -> None:
    scenario = world.scenario
    check_answers(world)
    check_that_nothing_is_lost(world)
    if not scenario.has(*OF_DISK) and scenario.room == ROOMY:
        check_order(world)
    assert world.is_drained or scenario.has(*OF_DISK)
    if scenario.trouble == 0 and not scenario.has("kafka hangs", "stop", *LOSSES):
        check_repeats(world)
    assert world.slowest_start < LONGEST_START or scenario.has("freeze")
    assert world.disk.not_synced == 0
    assert world.disk.most_waiting <= MOST_WAITING
    assert world.disk.most_bytes <= scenario.room


def check_answers(world: World) -> None:
    """Only a webhook that neither Kafka nor the disk takes gets a 503."""
    scenario = world.scenario
    is_calm = scenario.kafka_is_well() and not scenario.has("kill", "freeze", *OF_DISK)
    one_is_well = scenario.kafka_is_well() or (scenario.room == ROOMY and not scenario.has(*OF_DISK))
    for number, each in enumerate(world.webhooks):
        if each.status is None:
            assert not (is_calm or number >= world.last) or scenario.has("stop")
            continue
        assert each.status in ANSWERS[each.kind], each
        assert each.status != 503 or int(each.retry_after or 0) > 0
        assert each.status != 503 or not (one_is_well or number >= world.last), each
        if each.kind != "endless":
            assert each.took < LATEST or scenario.has("freeze"), each
            assert each.took < PROMPT or not is_calm, each


def check_that_nothing_is_lost(world: World) -> None:
    """A record that Kafka takes on no topic stays in the file."""
    records = world.kafka.committed()
    stored = {read(Feedback, each.value).id for each in records if each.topic == TOPIC}
    letters = {each.value for each in records if each.topic == DEAD_LETTERS}
    refused = {read(Feedback, value).id for value in letters if (value or b"").startswith(b'{"id"')}
    accepted = [each for each in world.webhooks if each.status == 200]
    missing = {each.body for each in accepted if each.body not in letters and id_of(each) not in stored | refused}
    assert all(len(body) > 6_000 for body in missing), missing
    assert world.waiting >= len(missing)


def check_order(world: World) -> None:
    """The first records of a sender's webhooks are in the order of the answers."""
    ids = [read(Feedback, each.value).id for each in world.kafka.committed() if each.topic == TOPIC]
    first = {id_: place for place, id_ in reversed(list(enumerate(ids)))}
    last: dict[int, int] = {}
    for each in world.webhooks:
        if each.account == HEALTHY and each.status == 200:
            assert first[id_of(each)] >= last.get(each.sender, -1), each
            last[each.sender] = first[id_of(each)]


def check_repeats(world: World) -> None:
    """A webhook is on the topic as often as Pisano sent it, and again for each process whose disk did not delete it."""
    stored = Counter(read(Feedback, each.value).id for each in world.kafka.committed() if each.topic == TOPIC)
    sent = Counter(id_of(each) for each in world.webhooks)
    late, more = world.scenario.has("slow"), len(world.ever) if world.scenario.has("broken", "full") else 0
    assert all(count <= sent[id_] * (1 + late) + more for id_, count in stored.items())


def id_of(webhook: Webhook) -> str:
    return feedback_id(webhook.account, webhook.body)
