"""What the log tells an operator about an outage."""

import stamina
import structlog

from connector.errors import Retryable
from connector.observe import logs


def said(*pauses: float) -> list[float]:
    """The pauses, in seconds, that get a log line when one outage is retried after each of `pauses`."""
    logs.set_up()
    (hook,) = stamina.instrumentation.get_on_retry_hooks()
    with structlog.testing.capture_logs() as logged:
        for number, pause in enumerate(pauses, 1):
            details = stamina.instrumentation.RetryDetails(
                name="",
                args=(),
                kwargs={},
                retry_num=number,
                wait_for=pause,
                waited_so_far=0.0,
                caused_by=Retryable("no"),
            )
            hook(details)  # type: ignore[operator]
    return [line["next_try_in"] for line in logged]


def test_a_lost_connection_that_is_back_at_once_is_no_line() -> None:
    assert said(0.2) == []


def test_an_outage_is_one_line_however_often_it_is_tried_again() -> None:
    assert said(0.2, 0.4, 0.8, 1.6) == [0.4]


def test_a_long_pause_that_the_other_side_asked_for_is_said_at_once() -> None:
    """For example when the day's events are used up: the second try comes after minutes."""
    assert said(300.0) == [300.0]
