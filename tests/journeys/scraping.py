"""Scrapes of a running gateway, read by Prometheus' own parser."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from tests.journeys.gateway_process import GatewayProcess

Labels = frozenset[tuple[str, str]]


class Scrape:
    """The values of one scrape, by name and labels."""

    def __init__(self, text: str) -> None:
        self.values: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = frozenset(sample.labels.items())
                series = self.values.setdefault(sample.name, {})
                assert labels not in series, f"{sample.name}{sample.labels} is told twice"
                series[labels] = sample.value

    def value(self, name: str, **labels: str) -> float:
        """The one value with these labels, and any others."""
        [found] = self._matching(name, labels)
        return found

    def total(self, name: str, **labels: str) -> float:
        """The sum of all values with these labels."""
        return sum(self._matching(name, labels))

    def nano(self, name: str, **labels: str) -> int:
        """The same for dollars, in nano-USD."""
        return round(self.total(name, **labels) * 10**9)

    def _matching(self, name: str, labels: Mapping[str, str]) -> list[float]:
        wanted = set(labels.items())
        return [value for found, value in self.values.get(name, {}).items() if wanted <= found]

    def posted_nano(self) -> int:
        """What the ledger posted since the gateway started, by the counters."""
        return (
            self.nano("weir_cost_usd_total")
            + self.nano("weir_expired_usd_total")
            + self.nano("weir_corrected_usd_total", direction="up")
            - self.nano("weir_corrected_usd_total", direction="down")
        )


def scrape(weir: GatewayProcess) -> Scrape:
    answer = weir.ask("GET", "/metrics", Authorization=f"Bearer {weir.admin_key}")
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/plain")
    return Scrape(answer.body.decode())
