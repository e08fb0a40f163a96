from io import StringIO

from tests.benchmarks.progress import Progress


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_many_parts_are_done() -> None:
    terminal = Terminal()
    progress = Progress(terminal, 2)
    for _ in range(3):
        progress.show("round 1")
        progress.part_is_done()
    shown = terminal.getvalue().split("\r\x1b[K")[1:]
    assert [line.partition(" ")[2] for line in shown] == [f"{done} of 2 parts, round 1" for done in (0, 1, 2)]
    assert [line.count("█") for line in shown] == [0, 12, 24]


def test_what_is_no_terminal_gets_nothing() -> None:
    nobody = StringIO()
    Progress(nobody, 2).show("round 1")
    assert nobody.getvalue() == ""
