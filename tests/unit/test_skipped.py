"""On which parked records an operator has given up, as their owner learns it from `connector.actions`."""

from connector.cells import Cells
from connector.kafka.inbound import InRecord
from connector.kafka.skipped import Skipped, source_of, target_of
from connector.operate.actions import action_of


def record(offset: int) -> InRecord:
    return InRecord("salesforce.cdc.Case", 2, offset, None, b"{}", (), 0.0)


def test_a_decision_is_about_the_record_that_lay_there_and_not_about_one_that_lies_there_now() -> None:
    """`connector.parked` may be made anew, or be copied to another cluster, where its offsets begin again."""
    skipped = Skipped(Cells())
    target = target_of(0, 7)
    params = {"cell": "trigger/closed-case", "source": source_of(record(100))}
    action = action_of("skip", target, "dead_letter", by="op", reason="a test", params=params)
    before = skipped.at(0, 7, record(100))
    assert not before()
    skipped.take(target.encode(), action.model_dump_json().encode())
    assert before()
    assert not skipped.at(0, 8, record(100))()
    assert not skipped.at(0, 7, record(101))()
