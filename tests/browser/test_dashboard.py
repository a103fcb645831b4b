"""The dashboard in a real Chromium: it draws, it obeys its own policy, and names stay text."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from dashboards.panels import CHARTS
from dashboards.theme import SCHEMES
from telemetry.warehouse import Warehouse
from tests.browser.conftest import Watch, charts_drawn, log_in
from tests.browser.sample import MARKUP
from tests.browser.serving import Backstage, served

pytestmark = pytest.mark.browser


def assert_clean(watch: Watch) -> None:
    assert watch.complaints == []
    assert watch.elsewhere == []
    assert watch.dialogs == []


def test_every_chart_is_drawn_with_its_traces_and_nothing_leaves_the_origin(
    page: Page, watch: Watch
) -> None:
    page.goto(f"{watch.base_url}/dashboard?period=30d")
    charts_drawn(page)
    for panel in CHARTS:
        section = page.locator(f"[data-panel={panel.id}]")
        expect(section.locator("svg.main-svg").first).to_be_visible()
        marks = section.locator(".trace.bars .point, .trace.scatter .point")
        assert marks.count() > 0, panel.id
        expect(section.locator(".answer")).not_to_be_empty()
        expect(section.locator(".as-of")).to_contain_text("Data as of 2026-11-06 13:00:00 UTC")
    assert_clean(watch)


def test_no_chart_offers_to_upload_anything(page: Page, watch: Watch) -> None:
    charts_drawn(page)
    assert page.locator(".modebar, .modebar-btn, .plotlyjsicon, .logo").count() == 0
    assert page.locator("form:not([action='/dashboard/logout'])").count() == 0
    page.locator("[data-panel=spend_by_day] .nsewdrag").first.hover()
    assert page.locator(".modebar-btn").count() == 0
    assert_clean(watch)


def test_another_period_shows_other_numbers(page: Page, watch: Watch) -> None:
    charts_drawn(page)
    week = page.locator("#kpi-spend .value").inner_text()
    page.get_by_role("link", name="30 days").click()
    page.wait_for_url("**/dashboard?period=30d")
    charts_drawn(page)
    assert page.locator("#kpi-spend .value").inner_text() != week
    expect(page.get_by_role("link", name="30 days")).to_have_attribute("aria-current", "page")
    assert_clean(watch)


def test_a_wrong_key_is_refused_in_words(context: BrowserContext, base_url: str) -> None:
    page = context.new_page()
    page.goto(f"{base_url}/dashboard")
    page.get_by_label("Admin key").fill("sk-weir-wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("That is not an admin key of this gateway.")


def test_logging_out_closes_the_door(page: Page, base_url: str) -> None:
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/dashboard/login")
    page.goto(f"{base_url}/dashboard?period=30d")
    page.wait_for_url("**/dashboard/login")


def test_a_page_whose_session_ended_goes_back_to_the_login(
    page: Page, context: BrowserContext, base_url: str
) -> None:
    charts_drawn(page)
    context.clear_cookies()
    page.emulate_media(color_scheme="dark")
    page.wait_for_url("**/dashboard/login")


def test_names_full_of_markup_stay_text(page: Page, watch: Watch) -> None:
    page.goto(f"{watch.base_url}/dashboard?period=30d")
    charts_drawn(page)
    panel = page.locator("[data-panel=spend_by_workflow]")
    panel.get_by_text("Show as table").click()
    expect(panel.get_by_role("cell", name=MARKUP, exact=True)).to_be_visible()
    assert panel.locator(".ytick", has_text='"><img src=x onerror=alert(').count() == 1
    bar = panel.locator(".points .point path").nth(5)
    bar.hover(force=True)
    expect(panel.locator(".hoverlayer")).to_contain_text(MARKUP)
    assert page.locator("main img, main script").count() == 0
    assert_clean(watch)


def test_every_chart_has_its_rows_as_a_table_by_keyboard(page: Page, watch: Watch) -> None:
    charts_drawn(page)
    for panel in CHARTS:
        section = page.locator(f"[data-panel={panel.id}]")
        summary = section.locator("summary", has_text="Show as table")
        summary.focus()
        page.keyboard.press("Enter")
        table = section.locator("table")
        expect(table).to_be_visible()
        assert table.locator("th").count() > 1
        assert table.locator("tbody tr").count() > 0
        answer = section.locator(".answer").inner_text()
        expect(section.locator(".chart")).to_have_accessible_name(f"{panel.title} {answer}")
    assert_clean(watch)


def test_the_page_follows_the_dark_scheme_while_it_is_open(page: Page, watch: Watch) -> None:
    charts_drawn(page)
    body = page.locator("body")
    light = page.screenshot()
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("[data-panel]:not([data-ready=dark])", state="detached")
    expect(body).to_have_css("background-color", rgb(SCHEMES["dark"].page))
    background = page.locator("[data-panel=spend_by_day] .main-svg").first
    expect(background).to_have_css("background-color", rgb(SCHEMES["dark"].card))
    assert page.screenshot() != light
    assert_clean(watch)


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"


def test_a_recent_request_leads_to_its_explanation(page: Page, watch: Watch) -> None:
    page.locator("#recent tbody a").first.click()
    page.wait_for_url("**/dashboard/requests/req_*")
    for heading in ("Why this route", "Models rejected, and why", "Tokens", "Money"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    assert_clean(watch)


def test_the_csv_link_downloads_the_rows(page: Page, watch: Watch) -> None:
    with page.expect_download() as waiting:
        page.locator("[data-panel=spend_by_model] footer a").click()
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    assert waiting.value.suggested_filename == "weir-spend_by_model-7d.csv"
    assert text.startswith("provider,model,requests,input_tokens,output_tokens,cost_nano,cost_usd")
    assert_clean(watch)


@pytest.mark.parametrize("width", [360, 768, 1360])
def test_no_page_is_wider_than_its_screen(page: Page, watch: Watch, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("/dashboard?period=30d", "/dashboard/requests/req_00002999"):
        page.goto(f"{watch.base_url}{path}")
        if "requests" not in path:
            charts_drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert_clean(watch)


def test_a_panel_that_fails_says_so_and_can_be_tried_again(page: Page, watch: Watch) -> None:
    charts_drawn(page)
    page.route("**/data/endings.json*", lambda route: route.fulfill(status=500, body="no"))
    page.reload()
    section = page.locator("[data-panel=endings]")
    expect(section.locator(".status")).to_contain_text("the gateway answered 500")
    page.unroute("**/data/endings.json*")
    section.get_by_role("button", name="Try again").click()
    charts_drawn(page)
    expect(section.locator("svg.main-svg").first).to_be_visible()


def test_an_empty_gateway_shows_the_first_steps_and_no_broken_chart(
    browser: Browser, tmp_path: Path
) -> None:
    with (
        Warehouse.open(tmp_path / "weir.duckdb") as empty,
        served(Backstage(empty, budgets=[])) as url,
    ):
        context = browser.new_context()
        watch = Watch(url)
        page = watch.follow(context)
        log_in(page, url)
        expect(page.get_by_role("heading", name="No request yet")).to_be_visible()
        expect(page.locator(".status")).to_contain_text("No budget is configured.")
        assert page.locator("svg.main-svg").count() == 0
        assert_clean(watch)
        context.close()
