"""Making a page of a template."""

from datetime import datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("mcp_keys_server.server.pages"),
    # Every value is escaped, whatever the template is called: names of keys are their owners' free text.
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, http_status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401 - what the template shows
    return HTMLResponse(_ENVIRONMENT.get_template(template).render(values), http_status)


def _moment(moment: datetime | None, never: str = "never") -> str:
    """To the minute, in UTC and saying so: the server does not know its visitors' zone."""
    return never if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


_ENVIRONMENT.filters["moment"] = _moment
