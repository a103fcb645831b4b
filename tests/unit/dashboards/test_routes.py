"""The dashboard's addresses over a real socket: who gets in, and what each one answers."""

import csv
import gzip
import io
import re
from pathlib import Path

import pytest

from dashboards import pages
from dashboards.panels import PANELS
from dashboards.periods import LABELS
from dashboards.sessions import MAX_FAILURES
from gateway.routes.dashboard_access import COOKIE, MAX_FORM_BYTES
from telemetry.queries import QueryBook
from telemetry.warehouse import Warehouse
from tests.browser.sample import FORMULA, MARKUP, NOW_MS
from tests.browser.serving import ADMIN_KEY, Backstage, Client, served

BEARER = f"Bearer {ADMIN_KEY}"


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/requests/req_00000001"])
def test_a_page_without_a_session_leads_to_the_login(client: Client, path: str) -> None:
    answer = client.ask(path)
    assert (answer.status, answer.headers["location"]) == (303, "/dashboard/login")
    assert answer.body == b""


def test_data_without_a_session_is_refused(client: Client) -> None:
    for panel in (*PANELS, "unknown"):
        for kind in ("json", "csv"):
            assert client.ask(f"/dashboard/data/{panel}.{kind}").status == 401


def test_the_right_key_opens_a_session_that_logout_ends(client: Client) -> None:
    answer = client.log_in()
    assert (answer.status, answer.headers["location"]) == (303, "/dashboard")
    given = answer.headers["set-cookie"].lower()
    assert re.match(rf"{COOKIE}=[\w-]{{43}};", answer.headers["set-cookie"])
    for part in ("httponly", "samesite=strict", "path=/dashboard", "max-age=43200"):
        assert part in given
    assert "secure" not in given, "plain http would lose the cookie"
    assert ADMIN_KEY not in answer.headers["set-cookie"]
    assert client.ask("/dashboard").status == 200
    assert client.ask("/dashboard/login").status == 303
    assert client.ask("/dashboard/logout", "POST", Origin=client.base_url).status == 303
    assert client.ask("/dashboard").status == 303


def test_the_cookie_is_secure_where_the_gateway_is_reached_by_https(backstage: Backstage) -> None:
    backstage.base_url = "https://weir.example.org"
    with served(backstage) as base_url:
        answer = Client(base_url).log_in(Origin="https://weir.example.org")
    assert answer.status == 303
    assert "; secure" in answer.headers["set-cookie"].lower()


def test_a_wrong_key_is_told_nothing_but_that(client: Client) -> None:
    first, second = client.log_in("sk-weir-x"), client.log_in(ADMIN_KEY[:-1])
    assert first.status == second.status == 401
    assert first.body == second.body
    assert "set-cookie" not in first.headers


def test_after_ten_wrong_keys_no_key_is_looked_at(client: Client) -> None:
    statuses = [client.log_in("wrong").status for _ in range(MAX_FAILURES - 1)]
    statuses.append(client.ask("/dashboard/data/totals.csv", Authorization="Bearer no").status)
    assert statuses == [401] * MAX_FAILURES
    answer = client.log_in(ADMIN_KEY)
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert client.ask("/dashboard/data/budgets.json", Authorization=BEARER).status == 429


@pytest.mark.parametrize("origin", ["", "null", "http://evil.example", "http://127.0.0.1:1"])
def test_a_form_of_another_page_is_refused(client: Client, origin: str) -> None:
    assert client.log_in(Origin=origin).status == 403
    client.log_in()
    assert client.ask("/dashboard/logout", "POST", Origin=origin).status == 403
    assert client.ask("/dashboard").status == 200


def test_a_form_larger_than_a_key_is_refused(client: Client) -> None:
    assert client.log_in("x" * MAX_FORM_BYTES).status == 413


def test_every_answer_carries_a_policy_that_lets_nothing_out(client: Client) -> None:
    client.log_in()
    static = re.search(r"/dashboard/static/dashboard\.\w+\.js", client.ask("/dashboard").text)
    assert static is not None
    for path in ("/dashboard", "/dashboard/login", "/dashboard/data/budgets.json", static[0]):
        headers = client.ask(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert client.ask("/dashboard").headers["cache-control"] == "no-store"
    assert "immutable" in client.ask(static[0]).headers["cache-control"]


def test_the_page_names_no_other_origin(client: Client) -> None:
    client.log_in()
    text = client.ask("/dashboard?period=30d").text
    links = re.findall(r'(?:src|href|action)="([^"]*)"', text)
    assert links
    assert [link for link in links if not link.startswith(("/dashboard", "#"))] == []
    assert "<script>" not in text
    assert " style=" not in text


def test_static_files_are_served_compressed_or_plain_and_only_by_full_name(client: Client) -> None:
    assets = pages.Pages().assets
    name = assets.name_of("plotly-basic.min.js")
    packed = client.ask(f"/dashboard/static/{name}", Accept_Encoding="br, gzip;q=0.5")
    plain = client.ask(f"/dashboard/static/{name}", Accept_Encoding="gzip;q=0")
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(packed.body) == plain.body
    assert plain.headers["vary"] == "Accept-Encoding"
    for missing in ("plotly-basic.min.js", "..%2ftheme.py", "VENDORED.md"):
        assert client.ask(f"/dashboard/static/{missing}").status == 404


@pytest.mark.parametrize("period", LABELS)
def test_every_panel_answers_for_every_period(client: Client, period: str) -> None:
    for panel in PANELS:
        check_panel(client, panel, period)


def check_panel(client: Client, panel: str, period: str) -> None:
    answer = client.ask(f"/dashboard/data/{panel}.json?period={period}", Authorization=BEARER)
    assert answer.status == 200
    payload = answer.json()
    assert payload["answer"]
    assert payload["table"]["rows"]
    assert (payload["figure"] is None) == (PANELS[panel].draw is None)
    assert payload["as_of_ms"] == NOW_MS
    assert payload["config"]["showSendToCloud"] is False


def test_every_panel_asks_a_query_that_ships() -> None:
    shipped = QueryBook.load().queries
    assert {panel.query for panel in PANELS.values()} - {None} <= set(shipped)
    assert {"totals", "request_one"} <= set(shipped)


def test_the_workflow_spend_of_the_csv_is_the_spend_of_the_warehouse(
    client: Client, warehouse: Warehouse
) -> None:
    answer = client.ask("/dashboard/data/spend_by_workflow.csv?period=30d", Authorization=BEARER)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="weir-spend_by_workflow-30d.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    sql = "SELECT sum(cost_nano) AS nano FROM event WHERE admitted_ms >= $from_ms"
    from_ms = NOW_MS - NOW_MS % 86_400_000 - 29 * 86_400_000
    total = warehouse.query(sql, {"from_ms": from_ms})[0]["nano"]
    assert sum(int(row["cost_nano"]) for row in rows) == total > 0
    names = {row["workflow"] for row in rows}
    assert f"'{FORMULA}" in names
    assert MARKUP in names


def test_an_unknown_panel_period_or_scheme_is_named(client: Client) -> None:
    for path, status in (
        ("/dashboard/data/secrets.json", 404),
        ("/dashboard/data/budgets.json?scheme=pink", 400),
        ("/dashboard/data/endings.csv?period=year", 400),
    ):
        answer = client.ask(path, Authorization=BEARER)
        assert answer.status == status
        assert answer.json()["error"]["message"]
    client.log_in()
    assert client.ask("/dashboard?period=<script>").status == 400
    assert "<script>" not in client.ask("/dashboard?period=<script>").text


def test_panels_of_one_page_end_at_the_same_moment(client: Client, backstage: Backstage) -> None:
    to_ms = NOW_MS - 60_000
    client.ask(f"/dashboard/data/endings.json?period=24h&to_ms={to_ms}", Authorization=BEARER)
    assert backstage.asked[-1][1]["to_ms"] == to_ms
    for odd in ("-1", "9" * 40, "x", "%C2%B2"):
        path = f"/dashboard/data/endings.json?period=24h&to_ms={odd}"
        assert client.ask(path, Authorization=BEARER).status == 200
        assert backstage.asked[-1][1]["to_ms"] <= NOW_MS + 1


def test_data_is_dated_by_the_collector_while_events_wait(
    client: Client, backstage: Backstage
) -> None:
    backstage.lag_rows = 9
    late = client.ask("/dashboard/data/endings.json", Authorization=BEARER).json()
    live = client.ask("/dashboard/data/budgets.json", Authorization=BEARER).json()
    assert late["as_of_ms"] == NOW_MS - 2_000
    assert live["as_of_ms"] == NOW_MS


def test_a_request_page_shows_decision_reasons_and_exact_cost(
    client: Client, warehouse: Warehouse
) -> None:
    sql = "SELECT request_id, cost_nano FROM event WHERE tier = 'frontier' ORDER BY 1 LIMIT 1"
    row = warehouse.query(sql)[0]
    client.log_in()
    answer = client.ask(f"/dashboard/requests/{row['request_id']}")
    assert answer.status == 200
    assert f"${row['cost_nano'] / 1e9:.9f}" in answer.text
    for shown in ("Models rejected, and why", "tiny-vision", "+0.12 hard words", "hard-goes"):
        assert shown in answer.text
    assert MARKUP not in answer.text
    assert client.ask("/dashboard/requests/%3Cimg%20src=x%3E").status == 404
    assert "<img src=x" not in client.ask("/dashboard/requests/%3Cimg%20src=x%3E").text


def test_a_new_gateway_says_how_to_send_the_first_request(tmp_path: Path) -> None:
    with Warehouse.open(tmp_path / "weir.duckdb") as empty:
        backstage = Backstage(empty, budgets=[])
        with served(backstage) as base_url:
            client = Client(base_url)
            client.log_in()
            page = client.ask("/dashboard")
            assert page.status == 200
            assert f"curl {base_url}/v1/chat/completions" in page.text
            for panel in PANELS:
                answer = client.ask(f"/dashboard/data/{panel}.json").json()
                assert (answer["figure"], answer["table"]["rows"]) == (None, [])
                assert client.ask(f"/dashboard/data/{panel}.csv").status == 200
            assert "No budget is configured" in client.ask("/dashboard/data/budgets.json").text


def test_stand_in_models_are_named_with_their_prices(client: Client, backstage: Backstage) -> None:
    client.log_in()
    assert "Assigned prices." in client.ask("/dashboard").text
    backstage.stand_ins = ()
    with served(backstage) as base_url:
        paid = Client(base_url)
        paid.log_in()
        assert "Assigned prices." not in paid.ask("/dashboard").text
