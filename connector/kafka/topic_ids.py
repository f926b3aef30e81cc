"""Notices a topic that was deleted and created anew: its name is the same, but Kafka gives it another id.

Kafka's clients go by the name. They would read on in the middle of the new topic, and take its empty memory for ours.
"""

from collections.abc import Mapping

from connector.errors import Fatal
from connector.kafka.told import Told


class TopicIds:
    """Remembers the id of each topic from the first look on."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, int]] = {}

    def require_the_same(self, found: Mapping[str, Told]) -> None:
        """Checks that topics are still those of the first look. `found` is what Kafka tells, by their full names.

        Raises:
            Fatal: One was created anew.
        """
        anew = [topic for topic, now in found.items() if now.id and self._first.setdefault(topic, now.id) != now.id]
        if anew:
            raise Fatal(
                f"{', '.join(sorted(anew))} was deleted and created anew while the service ran. What nobody had read is"
                " lost, and what we noted there is forgotten. Stop the service, do what docs/cluster.md says for this"
                " topic, and start the service again."
            )
