"""The rig itself: it shows what is there, and it notices what is wrong."""

import pytest
from playwright.async_api import Browser, Page, Route

from tests.browser.axe import Axe
from tests.browser.look import IN_EACH_LOOK, PHONE_DARK, Look
from tests.browser.screenshots import Screenshots
from tests.browser.site import Site
from tests.browser.troubles import POLICY
from tests.browser.visit import Visit

pytestmark = pytest.mark.anyio

MADE_UP = "https://page.example/"
STRICT = "default-src 'none'; style-src 'self'; frame-ancestors 'none'"


async def show(page: Page, body: str, policy: str = STRICT) -> None:
    """A page that no server has: an answer that stands for one, with a strict policy."""
    html = f"<!doctype html><html lang=en><meta name=viewport content='width=device-width'><title>A page</title>{body}"

    async def answer(route: Route) -> None:
        await route.fulfill(body=html, content_type="text/html", headers={"Content-Security-Policy": policy})

    await page.route(MADE_UP, answer)
    await page.goto(MADE_UP)


async def test_the_server_answers_through_tls(site: Site, visit: Visit) -> None:
    page = await visit.open()
    answer = await page.goto(f"{site.url}/healthz")
    assert answer
    assert await answer.json() == {"status": "ok"}
    assert await page.evaluate("isSecureContext")


@IN_EACH_LOOK
async def test_a_page_is_seen_as_on_the_device(look: Look, visit: Visit) -> None:
    page = await visit.open(look)
    await show(page, "<main><h1>Hello</h1></main>")
    phone = look.device == "phone"
    assert await page.evaluate("[innerWidth, innerHeight]") == ([390, 844] if phone else [1280, 800])
    assert await page.evaluate("[devicePixelRatio, navigator.maxTouchPoints]") == ([2, 1] if phone else [1, 0])
    assert await page.evaluate(f"matchMedia('(prefers-color-scheme: {look.colours})').matches")


async def test_scripts_do_not_run_where_they_are_switched_off(visit: Visit) -> None:
    page = await visit.open(javascript=False)
    await show(page, "<h1>As it came</h1><script>document.title = 'Changed'</script>", "script-src 'unsafe-inline'")
    assert await page.title() == "A page"


async def test_visitors_do_not_share_cookies(visit: Visit) -> None:
    first, second = await visit.open(), await visit.open()
    await show(first, "")
    await show(second, "")
    await first.evaluate("document.cookie = '__Host-a=b; Secure; Path=/'")
    assert await first.evaluate("document.cookie") == "__Host-a=b"
    assert await second.evaluate("document.cookie") == ""


async def test_an_image_without_a_text_is_a_grave_violation(visit: Visit, axe: Axe) -> None:
    page = await visit.open()
    await show(page, "<main><h1>A picture</h1><img src='data:,'></main>", f"{STRICT}; img-src data:")
    (violation,) = await axe.violations(page)
    assert violation.startswith("image-alt (critical): ")
    assert violation.endswith('<img src="data:,">')


async def test_a_page_is_pictured_whole(visit: Visit, screenshots: Screenshots) -> None:
    page = await visit.open(PHONE_DARK)
    await show(page, "<main><h1>Long</h1><svg height=2000></svg></main>")
    header = (await screenshots.take(page, "long")).read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    width, height = int.from_bytes(header[16:20]), int.from_bytes(header[20:24])
    assert width == 2 * 390
    assert height > 2 * 2000


async def test_what_the_policy_forbids_is_a_trouble(visit: Visit) -> None:
    for forbidden in ("Executing inline script", "Applying inline style", "Loading the image"):
        visit.troubles.expect(f"^console: {forbidden} .*{POLICY}")
    elsewhere = "<img src=https://elsewhere.example/a.png>"
    await show(await visit.open(), f"<script>alert(1)</script><p style='color: red'>Red</p>{elsewhere}")


async def test_an_exception_on_a_page_is_a_trouble(visit: Visit) -> None:
    visit.troubles.expect("^exception: .*nobody")
    await show(
        await visit.open(), "<script>throw new Error('nobody catches this')</script>", "script-src 'unsafe-inline'"
    )


async def test_a_request_without_an_answer_is_a_trouble(visit: Visit) -> None:
    visit.troubles.expect("ERR_CONNECTION_REFUSED")
    page = await visit.open()
    await page.route("**/lost.png", lambda route: route.abort("connectionrefused"))
    await show(page, "<img src=lost.png alt=Lost>", "img-src 'self'")


async def test_an_answer_that_refuses_is_a_trouble(site: Site, visit: Visit) -> None:
    visit.troubles.expect(f"^console: .* 404 .*{site.url}/nowhere")
    page = await visit.open()
    await page.goto(f"{site.url}/nowhere")


async def test_troubles_are_reported_unless_they_are_expected(browser: Browser) -> None:
    async with Visit(browser) as visit:
        await show(await visit.open(), "<script>alert(1)</script>")
    (reported,) = visit.troubles.report()
    assert reported.endswith(f"({MADE_UP})")
    visit.troubles.expect("inline script")
    assert visit.troubles.report() == []
    visit.troubles.expect("something else")
    assert visit.troubles.report() == ["expected and not seen: something else"]
