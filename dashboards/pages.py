"""Values become HTML. Every text is escaped by the template engine; nothing is marked safe."""

from pathlib import Path

import jinja2

from dashboards.assets import Assets
from dashboards.overview import Overview
from dashboards.request_page import RequestView, evidence_text, is_table, table_columns
from dashboards.tables import heading

_FOLDER = Path(__file__).parent / "templates"


class Pages:
    """The dashboard's pages. Importing this module costs about 4 MB, so the first hit does it."""

    __slots__ = ("_environment", "assets")

    def __init__(self) -> None:
        self.assets = Assets()
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.globals["static"] = self._static
        environment.filters["evidence_text"] = evidence_text
        environment.filters["heading"] = heading
        environment.filters["table_columns"] = table_columns
        environment.tests["is_table"] = is_table
        self._environment = environment

    def _static(self, plain_name: str) -> str:
        return f"/dashboard/static/{self.assets.name_of(plain_name)}"

    def _render(self, template: str, **values: object) -> str:
        return self._environment.get_template(template).render(**values)

    def login(self, error: str = "") -> str:
        """The form that asks for the admin key, with a message after a wrong one."""
        return self._render("login.html", error=error)

    def overview(self, view: Overview) -> str:
        """The overview of one period."""
        return self._render("overview.html", view=view)

    def request(self, view: RequestView) -> str:
        """One request explained."""
        return self._render("request.html", view=view)

    def missing(self, message: str) -> str:
        """What is said in place of a page that is not there."""
        return self._render("missing.html", message=message)
