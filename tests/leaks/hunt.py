"""The life of keys through the whole product, in processes of its own that say all they can, and what is left of it."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.cli.test_workers import children
from tests.cli.upstream_files import configuration
from tests.conftest import KEY
from tests.databases import SqliteDatabase
from tests.leaks.echoing import Elsewhere, elsewhere
from tests.leaks.forms import Secrets
from tests.leaks.loud_program import SPANS, WITNESS
from tests.leaks.wrong_places import FORM, OWN_WORDS, Careless, as_garbage, era, message
from tests.running_server import ADA, RunningServer, run, running_server
from tests.sources import Hub

LOUD = [sys.executable, "-m", "tests.leaks.loud_program"]
ECHOING = [sys.executable, "-I", "-S", str(Path(__file__).with_name("echoing.py"))]
BOTH = ["keys:read", "keys:write"]


@dataclass
class Hunt:
    """What was left where, once all is over."""

    secrets: Secrets = field(default_factory=Secrets)
    places: dict[str, bytes] = field(default_factory=dict)
    witness: bytes = b""
    """What the loggers said before the formatter took anything out."""
    revealed: list[str] = field(default_factory=list)

    def put(self, place: str, content: bytes | str) -> None:
        self.places[place] = self.places.get(place, b"") + (content.encode() if isinstance(content, str) else content)

    def key(self, what: str, text: str) -> str:
        """The one key in what is there to reveal it, and the rest for the places."""
        found = KEY.search(text)
        assert found, f"{what}: {text}"
        self.put(f"what is said beside {what}", text.replace(found[0], ""))
        return self.secrets.add(what, found[0])


class Story:
    """All that is done, in order."""

    def __init__(self, hunt: Hunt, folder: Path, there: Elsewhere) -> None:
        self.hunt = hunt
        self.there = there
        self.database = SqliteDatabase(folder / "data" / "keys.db")
        self.folder = folder
        self.loud = {WITNESS: str(folder / "witness"), SPANS: str(folder / "spans")}
        self.at = ("--database", str(self.database))
        self.variables = {"HOME": str(folder), "TMPDIR": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}

    def tell(self) -> None:
        self.folder.joinpath("witness").touch()
        with ExitStack() as servers:
            first = servers.enter_context(self.serving("link", "--workers", "2", *ADA))
            key = self.hunt.secrets.add("the first key", first.first_key)
            self.hunt.put("what serve prints", first.printed.replace(key, ""))
            second = servers.enter_context(self.serving("inline"))
            self.on_the_command_line(key)
            self.over_mcp(second, key)
            self.on_the_pages(first, key)
            misused = [key, self.imported()]
            for server, alias in ((first, "elsewhere"), (second, "program")):
                endpoints = [server.endpoint(alias="keys"), server.endpoint(alias=alias)]
                with self.heard(server) as http:
                    for wrong, good in zip(
                        misused, ({"x-api-key": key}, {"authorization": f"Bearer {key}"}), strict=True
                    ):
                        Careless(http, wrong, good).send_everywhere(endpoints)
                self.hunt.put("what the server says to garbage", b"".join(as_garbage(server, one) for one in misused))
                self.look_at_processes(server)
            self.over_stdio(key)
            self.kept()
            self.without_a_database(first, key)
        for server in (first, second):
            self.hunt.put("the log", server.log.read_bytes())
        self.hunt.put("what the server elsewhere heard", "\n".join(self.there.heard))
        self.hunt.put("traces", (self.folder / "spans").read_bytes())
        self.hunt.witness = (self.folder / "witness").read_bytes()
        for file in self.folder.rglob("*"):
            if file.is_file() and file.name not in {"witness", "spans"}:
                place = (
                    "the file of a key" if "config" in file.parts else f"left behind: {file.relative_to(self.folder)}"
                )
                self.hunt.put(place, file.read_bytes())

    @contextmanager
    def serving(self, delivery: str, *arguments: str) -> Iterator[RunningServer]:
        upstreams: dict[str, dict[str, object]] = {"elsewhere": {"url": self.there.url, "allow_private": True}}
        if delivery == "inline":
            upstreams = {"program": {"command": ECHOING, "env": {"WHO": "{user_id}"}}}
        folder = self.folder / delivery
        folder.mkdir()
        limits = [f"{limit} = 1000000" for limit in ("calls_per_minute", "changes_per_hour", "failures_per_minute")]
        config = configuration(folder, upstreams, *limits, f'secret_delivery = "{delivery}"')
        more = self.loud | self.variables
        with running_server(self.database, "--config", str(config), *arguments, program=LOUD, **more) as server:
            yield server

    @contextmanager
    def heard(self, server: RunningServer) -> Iterator[httpx2.Client]:
        """A client of which all answers are kept."""

        def keep(answer: httpx2.Response) -> None:
            # Of a method that there is not, and of what is no message, the SDK quotes to its sender what was sent.
            told = OWN_WORDS if OWN_WORDS in answer.request.extensions else "what callers are told"
            head = [f"{name}: {value}" for name, value in answer.headers.items()]
            self.hunt.put(told, "\n".join(head).encode() + answer.read())

        with httpx2.Client(base_url=server.base_url, event_hooks={"response": [keep]}, timeout=60) as http:
            yield http

    def run(self, *arguments: str, stdin: str = "") -> str:
        done = run(*arguments, *self.at, stdin=stdin, **self.variables)
        self.hunt.put("what commands complain of", done.stderr)
        return done.stdout

    def on_the_command_line(self, key: str) -> None:
        made = json.loads(self.run("keys", "create", "--user", "ada", "--name", "Made", "--json"))
        self.hunt.key("a key made on the command line", json.dumps(made))
        self.hunt.key("a key rotated there", self.run("keys", "rotate", made["key_id"]))
        for said in (
            self.run("keys", "verify", stdin=f"{made['key']}\n"),
            self.run("keys", "verify", stdin=f"{key}x\n"),
            self.run("keys", "create", "--user", key, "--name", key, "--scopes", key),
            self.run("keys", "revoke", key),
            self.run(key),
        ):
            self.hunt.put("what commands print", said)

    def over_mcp(self, server: RunningServer, key: str) -> None:
        keys = []
        for modern in (False, True):
            made = self.call(server, key, "create_key", {"name": "Inline", "scopes": BOTH}, modern=modern)
            keys.append(self.hunt.key(f"a key made over MCP, modern={modern}", json.dumps(made)))
            rotated = self.call(server, key, "rotate_key", {"key_id": made["key_id"]}, modern=modern)
            keys.append(self.hunt.key(f"a key rotated over MCP, modern={modern}", json.dumps(rotated)))
        form = FORM | {"x-api-key": key}
        with self.heard(server) as http:
            for one in keys:
                http.post("/introspect", data={"token": one}, headers=form)
                http.get("/verify/alias/keys", headers={"authorization": f"Bearer {one}"})

    def call(self, server: RunningServer, key: str, tool: str, arguments: object, *, modern: bool) -> dict[str, Any]:
        body = message("tools/call", modern=modern, name=tool, arguments=arguments)
        headers = era("tools/call", tool, modern=modern) | {"x-api-key": key}
        answer = httpx2.post(server.endpoint(), headers=headers, json=body, timeout=60).json()
        structured: dict[str, Any] = answer["result"]["structuredContent"]
        return structured

    def on_the_pages(self, server: RunningServer, key: str) -> None:
        made = self.call(server, key, "create_key", {"name": "Claimed", "scopes": BOTH}, modern=True)
        with httpx2.Client(base_url=server.base_url, headers=FORM, timeout=60) as http:
            signed_in = http.post("/keys/sign-in", data={"key": key})
            self.hunt.put("what callers are told", signed_in.content)
            shown = http.post(f"/keys/{made['key_id']}/claim").text
            found = KEY.search(shown)
            assert found, shown
            self.hunt.put("what callers are told", shown.replace(found[0], ""))
            self.hunt.put("what callers are told", http.get("/keys/?all=1").content)
        self.hunt.secrets.add("a key claimed on its page", found[0])

    def imported(self) -> str:
        hub = Hub(self.folder / "hub.db")
        key = self.hunt.secrets.add("an imported key", hub.add_key(user_id=hub.add_user("carol@example.com")))
        self.hunt.put("what commands print", self.run("import", "hub", str(hub.path)))
        return key

    def over_stdio(self, key: str) -> None:
        """Start the program as a client does; the new key is in a private file afterwards."""
        calls = [message("initialize", modern=False, protocolVersion="2025-11-25", capabilities={}, clientInfo=INFO)]
        calls += [message("tools/call", modern=False, request_id=2, name="create_key", arguments={"name": "File"})]
        calls += [message("tools/call", modern=False, request_id=3, name=key, arguments={key: key})]
        said = "".join(f"{json.dumps(call)}\n" for call in calls) + f"{key}\n"
        with_key = {"MCP_KEYS_API_KEY": key, "MCP_KEYS_LOG_LEVEL": "debug", **self.variables}
        done = run("stdio", *self.at, stdin=said, **with_key)
        self.hunt.put("what stdio says", done.stdout + done.stderr)
        (made,) = (self.folder / "config").rglob("*/keys/*")
        self.hunt.revealed.append(self.hunt.secrets.add("a key in its file", KEY.findall(made.read_text())[0]))

    def kept(self) -> None:
        """A copy of the database, and what is said of what is in it."""
        self.hunt.put("what commands print", self.run("database", "backup", str(self.folder / "backup.db")))
        self.hunt.put("what commands print", self.run("keys", "list", "--all", "--json"))
        self.hunt.put("what commands print", self.run("events", "list"))

    def look_at_processes(self, server: RunningServer) -> None:
        """What everybody on the machine, or whoever is the same user, reads of those that run."""
        workers = children(server.process.pid)
        for pid in {server.process.pid, *workers, *(child for worker in workers for child in children(worker))}:
            for what in ("cmdline", "environ"):
                self.hunt.put(f"the {what} of a process", Path(f"/proc/{pid}/{what}").read_bytes())

    def without_a_database(self, server: RunningServer, key: str) -> None:
        self.hunt.put("the database", self.database.stored_bytes())
        self.database.spoil()
        with self.heard(server) as http:
            for path in ("/u/ada/keys/mcp", "/keys/", "/readyz", f"/verify?alias={key}"):
                http.post(path, headers=FORM | {"x-api-key": key})


INFO = {"name": "a client", "version": "1"}


@contextmanager
def hunted(folder: Path) -> Iterator[Hunt]:
    hunt = Hunt()
    with elsewhere() as there:
        Story(hunt, folder, there).tell()
    yield hunt


def readable(content: bytes) -> list[str]:
    """The lines of a log that have the form of a key, for a failing test."""
    return [line for line in content.decode("utf-8", "replace").splitlines() if re.search(KEY, line)]
