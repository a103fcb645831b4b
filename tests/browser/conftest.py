"""A real Chromium in front of the dashboard, watched for errors and for requests to elsewhere."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, sync_playwright

from telemetry.warehouse import Warehouse
from tests.browser.sample import filled_warehouse
from tests.browser.serving import ADMIN_KEY, Backstage, served

PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
]


@dataclass
class Watch:
    """What a page did that it should not: complaints in the console, requests to elsewhere."""

    base_url: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def follow(self, context: BrowserContext) -> Page:
        """A new page whose doings are written down."""
        page = context.new_page()
        page.on("console", lambda said: self._console(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._request(request.url))
        page.on("dialog", self._dialog)
        return page

    def _console(self, kind: str, text: str) -> None:
        if kind != "verbose":
            self.complaints.append(f"{kind}: {text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _request(self, url: str) -> None:
        if not url.startswith(f"{self.base_url}/dashboard"):
            self.elsewhere.append(url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.fail("no Chromium found; `.ci/system-deps test` says how to get one")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with filled_warehouse(tmp_path_factory.mktemp("browser") / "weir.duckdb") as filled:
        yield filled


@pytest.fixture(scope="module")
def base_url(warehouse: Warehouse) -> Iterator[str]:
    with served(Backstage(warehouse)) as url:
        yield url


@pytest.fixture
def watch(base_url: str) -> Watch:
    return Watch(base_url)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(
        color_scheme="light", viewport={"width": 1360, "height": 900}, accept_downloads=True
    )
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Page:
    """A page that is logged in and shows the overview."""
    opened = watch.follow(context)
    log_in(opened, watch.base_url)
    return opened


def log_in(page: Page, base_url: str) -> None:
    page.goto(f"{base_url}/dashboard")
    page.get_by_label("Admin key").fill(ADMIN_KEY)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{base_url}/dashboard")


def charts_drawn(page: Page) -> None:
    """Wait until every panel has drawn its figure."""
    page.wait_for_selector("[data-panel]:not([data-ready])", state="detached")
