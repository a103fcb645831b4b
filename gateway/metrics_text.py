"""The metrics as Prometheus reads them: its own text format, or OpenMetrics where it asks for that.

The only file that imports prometheus_client; it is loaded with the first scrape.
"""

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from gateway import metrics
from gateway.tally import Histogram

MS_PER_S = 1_000


class _Families(Collector):
    """One reading as families of samples, and what the kernel says of the process."""

    def __init__(self, reading: metrics.Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        for metric, found in metrics.by_metric(metrics.samples(self._reading)):
            yield _family(metric, found)
        yield from ProcessCollector(registry=None).collect()


def _family(metric: metrics.Metric, found: list[metrics.Sample]) -> Metric:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for sample in found:
            if isinstance(sample.value, Histogram):
                sum_s = sample.value.sum_ms / MS_PER_S
                histogram.add_metric(sample.labels, _buckets(sample.value), sum_s)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for sample in found:
        if not isinstance(sample.value, Histogram):
            family.add_metric(sample.labels, sample.value)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Counts of everything up to each bound, the last of everything."""
    bounds = [*(str(bound / MS_PER_S) for bound in histogram.bounds_ms), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, histogram.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def metrics_text(reading: metrics.Reading, accept: str) -> tuple[bytes, str]:
    """The body and its content type, in the format that the header `Accept` asks for."""
    encode, content_type = choose_encoder(accept)
    return encode(_Families(reading)), content_type
