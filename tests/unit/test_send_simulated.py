"""send in simulated time, with several workers and all their faults: no invitation is lost, no customer invited twice.

E-mails, SMS and links take turns. A link is on its topic exactly when its invitation is sent.

Workers freeze, die, stop and are cut off from their group. Kafka and Pisano are slow, refuse, or carry out a request
but do not answer. The stage, its worker, the ledger, the limiter and Pisano's client are the real ones.
"""

from collections import Counter, defaultdict

from helpers.simulated_pisano import is_disliked, is_refused
from helpers.simulated_play import play
from helpers.simulated_send import FAULTS, LIMITS, LINKS, ORDERLY, Scenario, World, happenings, scenarios
from helpers.simulated_workers import run
from hypothesis import given, settings

from connector.kafka.dead_letters import DEAD_LETTERS
from connector.kafka.ledger import ATTEMPTS, read_entry
from connector.records import Feedback, Invitation, Outcome, Settlement, read

PROMPT = 5.0  # seconds beyond what the limits ask for: a fetch, two transactions and a call. The most seen is 4.2


SCENARIOS = scenarios(
    [1, 1, 3],
    happenings(*ORDERLY)
    | happenings(*ORDERLY, "kill", "freeze", "cut off")
    | happenings("invite", "invite", *FAULTS)
    | happenings(*ORDERLY, "kill", "freeze", "cut off", *FAULTS),
)


@settings(max_examples=150, deadline=None)
@given(SCENARIOS)
def test_no_invitation_is_lost_and_nobody_e_mailed_twice_whatever_befalls_the_workers(scenario: Scenario) -> None:
    """After the last fault every invitation gets one outcome, and a dead letter if it is held. No limit is broken.

    If workers stopped cleanly or only Kafka had faults, no invitation is left in doubt either.
    """
    play(World(scenario), run, check)


def check(world: World) -> None:
    """Each invitation has one outcome, with the matching e-mails, link and dead letter; no window is broken."""
    assert world.mistakes == []
    outcomes: defaultdict[str, list[Outcome]] = defaultdict(list)
    letters: Counter[str] = Counter()
    links: Counter[str] = Counter()
    for record in world.kafka.committed():
        if record.topic == DEAD_LETTERS:
            letters[Invitation.model_validate_json(record.value or b"").id] += 1
        elif record.topic == LINKS:
            links[read(Feedback, record.value).body["record_id"]] += 1
        elif record.topic == ATTEMPTS and isinstance(entry := read_entry(record.value or b""), Settlement):
            outcomes[entry.invitation].append(entry.outcome)
    for each in world.invited.values():
        (outcome,) = outcomes[each.id]
        said = (
            f"{each.record_id} is {outcome}, {world.pisano.emails[each.record_id]} e-mails, {letters[each.id]} letters"
        )
        assert links[each.record_id] == (each.channel == "link" and outcome is Outcome.SENT), said
        assert world.pisano.emails[each.record_id] in may_be_sent(outcome, world.scenario.policy), said
        assert letters[each.id] == is_held(outcome, world.scenario.policy), said
        assert (outcome is Outcome.SUPPRESSED) == (each.suppressed is not None), said
        assert outcome is not Outcome.REJECTED or is_refused(each.record_id) or is_disliked(each.record_id), said
        assert outcome is not Outcome.UNKNOWN or world.scenario.leaves_doubt(), said
    if world.scenario.is_calm():
        assert world.lateness() < PROMPT
    for account, calls in world.pisano.calls.items():
        for window in LIMITS:
            for first, later in zip(calls, calls[window.limit :], strict=False):
                assert later - first >= window.seconds, f"{account} makes too many calls for {window}: {first}, {later}"


def may_be_sent(outcome: Outcome, policy: str) -> range:
    """How many e-mails this outcome allows."""
    most = 2 if policy == "resend" else 1
    return {Outcome.SENT: range(1, most + 1), Outcome.UNKNOWN: range(most + 1)}.get(outcome, range(1))


def is_held(outcome: Outcome, policy: str) -> bool:
    return outcome is Outcome.REJECTED or (outcome is Outcome.UNKNOWN and policy != "drop")
