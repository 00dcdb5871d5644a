"""The metrics that Vision Agents recorded."""

from collections import Counter
from collections.abc import Iterator, Mapping

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    NumberDataPoint,
)

Totals = Counter[tuple[str, str]]
"""Keys are the name of a metric and of the provider."""


class Meters:
    """Reads the metrics of this process; there is one set of them."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([self._reader]))
        self._before = Totals(), Totals()

    def start(self) -> None:
        """Count from now on."""
        self._before = self._totals()

    def counted(self, name: str, provider: str) -> int:
        """Return the sum of a counter, or the count of a histogram, since the start."""
        return self._totals()[0][name, provider] - self._before[0][name, provider]

    def mean(self, name: str, provider: str) -> float:
        """Return the mean of a histogram's values since the start."""
        _, measured = self._totals()
        total = measured[name, provider] - self._before[1][name, provider]
        return total / max(self.counted(name, provider), 1)

    def nameless(self) -> list[str]:
        """Return metrics recorded since the start without the provider's name."""
        since = self._totals()[0] - self._before[0]
        return [name for name, provider in since if not provider]

    def models(self, name: str, provider: str) -> set[str]:
        """Return the models that a metric was ever recorded with."""
        return {
            str(attributes.get("model"))
            for recorded, attributes, _ in self._points()
            if (recorded, attributes.get("provider")) == (name, provider)
        }

    def _totals(self) -> tuple[Totals, Totals]:
        """Sums of counters and counts of histograms; rounded sums of histograms."""
        totals, measured = Totals(), Totals()
        for name, attributes, point in self._points():
            provider = str(attributes.get("provider", ""))
            match point:
                case NumberDataPoint(value=value):
                    totals[name, provider] += int(value)
                case HistogramDataPoint(count=count, sum=total):
                    totals[name, provider] += count
                    measured[name, provider] += round(total)
        return totals, measured

    def _points(self) -> Iterator[tuple[str, Mapping[str, object], object]]:
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        yield metric.name, point.attributes or {}, point
