"""A configuration cannot set topics in a way that makes a stage forget what it did."""

from pathlib import Path

import pytest
from helpers.config_files import MINIMAL, mistakes, read


@pytest.mark.parametrize(
    ("topics", "message"),
    [
        (
            "{salesforce.cdc.Case: {retention: 30d}}",
            "c:1:55: kafka.topics.salesforce.cdc.Case: there is no such topic; did you mean salesforce.cdc?",
        ),
        (
            "{salesforce.positions: {partitions: 24}}",
            "c:1:55: kafka.topics.salesforce.positions: salesforce.positions cannot be changed: "
            "its last records are kept for ever, and the number of partitions decides where they are",
        ),
        (
            "{salesforce.cdc: {retention: 30}}",
            "c:1:72: kafka.topics.salesforce.cdc.retention: records are kept for at least 1h; a number without a unit "
            'is seconds (it says "30")',
        ),
        (
            "{salesforce.cdc: {partitions: 0}}",
            'c:1:72: kafka.topics.salesforce.cdc.partitions: input should be greater than or equal to 1 (it says "0")',
        ),
        (
            "{salesforce.cdc: {cleanup: compact}}",
            "c:1:72: kafka.topics.salesforce.cdc.cleanup: this key is not known; there is partitions, retention",
        ),
        (
            "{pisano.invitations: {partitions: 12}, pisano.waiting: {partitions: 12}}",
            "c:1:76: kafka.topics.pisano.invitations.partitions: pisano.invitations has 12 partitions and "
            'pisano.attempts 6; they must have the same number (it says "12")',
        ),
        (
            "{salesforce.writes: {partitions: 3}, pisano.feedback: {partitions: 4}}",
            "c:1:75: kafka.topics.salesforce.writes.partitions: pisano.feedback has 4 partitions and "
            'salesforce.writes 3; they must have the same number (it says "3")',
        ),
        (
            "{pisano.attempts: {retention: 36d}}",
            "c:1:73: kafka.topics.pisano.attempts.retention: pisano.invitations is kept for 30 days and "
            "pisano.attempts for 36; it must be at least 7 days more, or a replay repeats what was done "
            '(it says "36d")',
        ),
        (
            "{pisano.feedback: {retention: 60d}}",
            "c:1:73: kafka.topics.pisano.feedback.retention: pisano.feedback is kept for 60 days and "
            "salesforce.writes for 60; it must be at least 7 days more, or a replay repeats what was done "
            '(it says "60d")',
        ),
    ],
)
def test_topics_keep_what_the_stages_remember(tmp_path: Path, topics: str, message: str) -> None:
    """Otherwise a replay would e-mail a customer or write an answer again, or a channel would lose its position."""
    assert mistakes(tmp_path, MINIMAL.replace('"}\n', f'", topics: {topics}}}\n', 1)) == [message]


def test_topics_that_fit_together_may_differ_from_the_catalogue(tmp_path: Path) -> None:
    topics = (
        "{pisano.invitations: {partitions: 24, retention: 60d}, pisano.attempts: {partitions: 24, retention: 67d}, "
        "pisano.waiting: {partitions: 24}}"
    )
    assert read(tmp_path, MINIMAL.replace('"}\n', f'", topics: {topics}}}\n', 1))
