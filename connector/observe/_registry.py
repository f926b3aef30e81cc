"""A registry of metrics that also knows what `docs/metrics.md` says about each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True)
class Described:
    """A metric. `name` is the one to query; `buckets` are those of a histogram, in seconds."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


class Registry(CollectorRegistry):
    """Makes metrics whose names begin with `connector_`, and describes them in the order in which they are made."""

    def __init__(self) -> None:
        super().__init__()
        self.described: list[Described] = []

    def counter(self, name: str, help_text: str, *labels: str) -> Counter:
        """Its name to query ends in `_total`."""
        self.described.append(Described(f"connector_{name}_total", "counter", labels, help_text))
        return Counter(f"connector_{name}", help_text, labels, registry=self)

    def gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        self.described.append(Described(f"connector_{name}", "gauge", labels, help_text))
        return Gauge(f"connector_{name}", help_text, labels, registry=self)

    def histogram(self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        """`buckets` are their upper ends, in seconds."""
        self.described.append(Described(f"connector_{name}", "histogram", labels, help_text, buckets))
        return Histogram(f"connector_{name}", help_text, labels, buckets=buckets, registry=self)

    def totals(self, name: str, help_text: str, label: str) -> "Totals":
        """A counter whose values others keep."""
        described = Described(f"connector_{name}_total", "counter", (label,), help_text)
        self.described.append(described)
        totals = Totals(f"connector_{name}", described)
        self.register(totals)
        return totals


class Totals(Collector):
    """`of` gives each label's total whenever the metrics are read."""

    def __init__(self, name: str, described: Described) -> None:
        self.of: dict[str, Callable[[], float]] = {}
        self._name = name
        self._described = described

    def describe(self) -> Iterator[CounterMetricFamily]:
        """See prometheus_client; without it, the registry does not find the metric by its name."""
        yield CounterMetricFamily(self._name, self._described.help, labels=self._described.labels)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """See prometheus_client."""
        (family,) = self.describe()
        for label, total in self.of.items():
            family.add_metric([label], total())
        yield family
