"""The whole story in a real browser: an invitation, a first key, and a key that a client asks for."""

import json
import re
from dataclasses import dataclass

import anyio
import pytest
from playwright.async_api import Error, Page, expect

from mcp_keys_server.server import client_config
from tests.browser.axe import Axe
from tests.browser.look import DESKTOP_LIGHT, IN_EACH_LOOK, Look
from tests.browser.screenshots import Screenshots
from tests.browser.site import Site
from tests.browser.visit import Visit
from tests.clients.connections import LEGACY, MODERN, call, over_http, over_stdio
from tests.clients.node_clients import installed_node_clients
from tests.conftest import KEY
from tests.running_server import environment, run

pytestmark = pytest.mark.anyio
GONE = "status of 410"
REFUSED = "status of 403"
WRONG = "status of 400"
ABSENT = "status of 404"


@dataclass(frozen=True)
class Looker:
    """Looks at each page as people do, and lets axe-core look too."""

    look: Look
    screenshots: Screenshots
    axe: Axe

    async def see(self, page: Page, name: str) -> None:
        await self.screenshots.take(page, f"{name}-{self.look}")
        assert await self.axe.violations(page) == [], name
        wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is wider than the screen"


def invite(site: Site, user: str) -> str:
    """A link for this user, new or not."""
    printed = run(
        "users", "invite", user, "--json", "--database", str(site.database), MCP_KEYS_PUBLIC_URL=site.url
    ).stdout
    url: str = json.loads(printed)["url"]
    return url


async def shown_key(page: Page) -> str:
    key = await page.locator("#the-key").inner_text()
    assert KEY.fullmatch(key)
    return key


async def first_key(page: Page, site: Site, user: str) -> str:
    await page.goto(invite(site, user))
    await page.get_by_role("button", name="Show me the key").click()
    return await shown_key(page)


async def sign_in(page: Page, key: str) -> None:
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in").click()


@IN_EACH_LOOK
async def test_from_an_invitation_to_a_key_in_another_client(  # noqa: PLR0917 - what a test is given
    look: Look, site: Site, visit: Visit, axe: Axe, screenshots: Screenshots, tmp_path_factory: pytest.TempPathFactory
) -> None:
    looker, user = Looker(look, screenshots, axe), str(look)
    page = await visit.open(look)
    visit.troubles.expect(GONE)
    visit.troubles.expect(REFUSED)
    invitation = invite(site, user)
    await page.goto(invitation)
    await looker.see(page, "1-invitation")
    await page.get_by_role("button", name="Show me the key").click()
    first = await shown_key(page)
    await page.get_by_text("Claude Desktop", exact=True).click()
    await looker.see(page, "2-first-key")
    await page.goto(invitation)
    await expect(page.get_by_role("heading", level=1)).to_have_text("This invitation is used up")
    await looker.see(page, "3-invitation-used")

    async with over_http(site.server.endpoint(user), first, MODERN) as client:
        made = await call(client, "create_key", name="Laptop", expires_in_days=30)
    assert made["claim_url"].startswith(site.url)

    await page.goto(made["claim_url"])
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    await looker.see(page, "4-sign-in")
    await sign_in(page, first[:-1] + ("A" if first[-1] != "A" else "B"))
    await expect(page.get_by_text("This is not a valid API key")).to_be_visible()
    await looker.see(page, "5-sign-in-refused")
    await sign_in(page, first)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Claim your new key")
    await looker.see(page, "6-claim")
    await page.get_by_role("button", name="Show me the key").click()
    second = await shown_key(page)
    await looker.see(page, "7-key")

    nodes = installed_node_clients()
    home = tmp_path_factory.mktemp("home")
    desktop = client_config.snippet(
        client_config.Client.CLAUDE_DESKTOP,
        client_config.Endpoint(site.server.endpoint(user)),
        alias="keys",
        key=second,
    )
    entry = json.loads(desktop.text)["mcpServers"]["keys"]
    variables = environment(HOME=str(home), MCP_REMOTE_CONFIG_DIR=str(home), **entry["env"])
    command = nodes.without_npx([entry["command"], *entry["args"]])
    with anyio.fail_after(60):
        async with over_stdio(command, variables, LEGACY, home / "log") as laptop:
            who = await call(laptop, "whoami")
    assert (who["user_id"], who["key"]["key_id"]) == (user, made["key_id"])

    await page.goto(made["claim_url"])
    await expect(page.get_by_text("was claimed already")).to_be_visible()
    await expect(page.get_by_text("from 127.0.0.1")).to_be_visible()
    await looker.see(page, "8-claimed-before")
    await page.get_by_role("link", name="Revoke Laptop").click()
    await looker.see(page, "9-revoke")
    await page.get_by_role("link", name="Cancel").click()
    await looker.see(page, "10-your-keys")


@IN_EACH_LOOK
async def test_what_is_wrong_in_a_form_stands_beside_its_field(
    look: Look, site: Site, visit: Visit, axe: Axe, screenshots: Screenshots
) -> None:
    looker = Looker(look, screenshots, axe)
    page = await visit.open(look)
    visit.troubles.expect(WRONG)
    visit.troubles.expect(ABSENT)
    key = await first_key(page, site, f"forms-{look}")
    await page.goto(f"{site.url}/keys/")
    await sign_in(page, key)
    await page.get_by_label("Name").fill("   ")
    await page.get_by_label("Endpoints").fill("a/b")
    await page.get_by_label("Days until it expires").fill("soon")
    await page.get_by_role("button", name="Create key").click()
    for label, rule in (
        ("Name", "1 to 64 printable characters in one line"),
        ("Endpoints", "1 to 64 of 'a-z 0-9 _ -'"),
        ("Days until it expires", "A number of days, or nothing"),
    ):
        await expect(page.get_by_label(label)).to_have_accessible_description(re.compile(re.escape(rule)))
        await expect(page.get_by_text(rule)).to_be_visible()
    await expect(page.get_by_label("Days until it expires")).to_have_value("soon")
    await looker.see(page, "11-form-with-problems")
    await page.goto(f"{site.url}/keys/{'key_' + '0' * 16}/rename")
    await looker.see(page, "13-not-found")


async def test_all_of_it_works_without_scripts_and_with_the_keyboard_alone(site: Site, visit: Visit) -> None:
    page = await visit.open(javascript=False)
    await page.goto(invite(site, "plain"))
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    key = await shown_key(page)
    assert await page.get_by_role("button", name="Copy").count() == 0
    await page.goto(f"{site.url}/keys/")
    await page.get_by_label("API key").focus()
    await page.keyboard.type(key)
    await page.keyboard.press("Enter")
    await page.get_by_label("Name").focus()
    await page.keyboard.type("Typed")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Claim your new key")
    await page.get_by_role("button", name="Show me the key").focus()
    await page.keyboard.press("Enter")
    assert await shown_key(page) != key
    await page.goto(f"{site.url}/keys/")
    await page.get_by_role("link", name="Rename Typed").click()
    await page.get_by_label("Name").fill("Renamed")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_have_text("The key is called Renamed now.")
    await page.get_by_role("link", name="Revoke Renamed").click()
    await page.get_by_role("button", name="Revoke Renamed").click()
    await expect(page.get_by_role("status")).to_contain_text("Renamed is revoked")
    await page.get_by_role("button", name="Sign out").click()
    await page.goto(f"{site.url}/keys/")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_the_copy_button_copies_the_key(site: Site, visit: Visit) -> None:
    page = await visit.open()
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.url)
    key = await first_key(page, site, "copier")
    await page.get_by_role("button", name="Copy").first.click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == key


async def test_neither_reload_nor_back_shows_a_key_a_second_time(site: Site, visit: Visit) -> None:
    page = await visit.open()
    visit.troubles.expect(GONE)
    visit.troubles.expect("ERR_CACHE_MISS")
    await first_key(page, site, "backer")
    await page.reload()  # which sends the form again
    await expect(page.get_by_role("heading", level=1)).to_have_text("This invitation is used up")
    await first_key(page, site, "backer")
    await page.goto(f"{site.url}/keys/")
    with pytest.raises(Error, match="ERR_CACHE_MISS"):  # the browser kept nothing of it
        await page.go_back()


async def test_the_session_is_kept_from_scripts_and_other_sites(site: Site, visit: Visit) -> None:
    page = await visit.open(DESKTOP_LIGHT)
    key = await first_key(page, site, "keeper")
    await page.goto(f"{site.url}/keys/")
    await sign_in(page, key)
    assert await page.evaluate("document.cookie") == ""
    (cookie,) = await page.context.cookies()
    assert cookie["name"] == "__Host-mcp_keys_session"
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")
