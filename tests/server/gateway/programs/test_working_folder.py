import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_keys_server.core.errors import InvalidFieldError
from mcp_keys_server.server.gateway.programs.working_folder import WorkingFolder, WorkingFolderError, working_folder
from tests.server.gateway.programs.child_programs import root_only

UIDS = range(61_200, 61_203)


@pytest.fixture
def root() -> Iterator[Path]:
    """In a folder where other users may come, which is not so of those that pytest makes."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)
    yield folder / "programs"
    shutil.rmtree(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(root: Path, uids: range | None = None, *, user_id: str = "ada") -> str:
    with pytest.raises(WorkingFolderError) as failure:
        working_folder(root, "notes", user_id, uids)
    return str(failure.value)


def test_without_users_of_their_own_the_folders_are_ours_alone(root: Path) -> None:
    given = working_folder(root, "notes", "ada", None)
    assert given == WorkingFolder(root / "notes" / "ada", None)
    assert [mode(folder) for folder in (root, root / "notes", given.path)] == [0o700] * 3
    assert given.path.stat().st_uid == os.geteuid()


def test_a_folder_that_is_there_is_kept_as_it_is_and_made_private_again(root: Path) -> None:
    given = working_folder(root, "notes", "ada", None)
    (given.path / "mine").write_text("kept")
    given.path.chmod(0o777)
    assert working_folder(root, "notes", "ada", None) == given
    assert (given.path / "mine").read_text() == "kept"
    assert mode(given.path) == 0o700


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", ".lock"])
def test_no_name_leads_out_of_the_root(root: Path, name: str) -> None:
    for alias, user_id in ((name, "ada"), ("notes", name)):
        with pytest.raises(InvalidFieldError):
            working_folder(root, alias, user_id, None)
    assert not root.exists()


@pytest.mark.parametrize("place", ["", "notes", "notes/ada", ".lock"])
def test_a_link_in_any_place_is_refused(root: Path, tmp_path: Path, place: str) -> None:
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).symlink_to(tmp_path)
    assert "no links" in refusal(root)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_a_folder_is_refused(root: Path) -> None:
    root.mkdir()
    (root / "notes").touch()
    assert "must be folders" in refusal(root)


@root_only
def test_each_folder_belongs_to_a_user_of_its_own_and_is_found_again(root: Path) -> None:
    names = (("notes", "ada"), ("notes", "bob"), ("files", "ada"))
    given = [working_folder(root, *name, UIDS) for name in names]
    assert [folder.uid for folder in given] == list(UIDS)
    for folder in given:
        about = folder.path.stat()
        assert (about.st_uid, about.st_gid, mode(folder.path)) == (folder.uid, folder.uid, 0o700)
    assert [mode(folder) for folder in (root, root / "notes", root / "files")] == [0o711] * 3
    assert (root / ".lock").stat().st_uid == 0
    assert mode(root / ".lock") == 0o600
    assert [working_folder(root, *name, UIDS) for name in names] == given


@root_only
def test_when_all_users_are_taken_it_says_so_and_the_lowest_that_is_free_again_is_given(root: Path) -> None:
    given = [working_folder(root, "notes", user_id, UIDS) for user_id in ("ada", "bob", "cyd")]
    assert "all 3 users for programs are taken" in refusal(root, UIDS, user_id="dan")
    given[1].path.rmdir()
    assert working_folder(root, "notes", "dan", UIDS).uid == UIDS[1]


@root_only
def test_a_folder_that_was_made_and_not_yet_given_is_given_the_next_time(root: Path) -> None:
    (root / "notes" / "ada").mkdir(parents=True)
    assert working_folder(root, "notes", "ada", UIDS).uid == UIDS[0]


@root_only
def test_a_folder_with_anything_in_it_that_is_not_of_those_users_is_given_to_nobody(root: Path) -> None:
    path = working_folder(root, "notes", "ada", None).path
    (path / "ours").touch()
    assert "belongs to none of the users for programs" in refusal(root, UIDS)
    (path / "ours").unlink()
    os.chown(path, 61_300, 61_300)
    assert "belongs to none of the users for programs" in refusal(root, UIDS)
    assert path.stat().st_uid == 61_300


@root_only
def test_a_folder_of_a_user_of_its_own_is_not_used_as_ours(root: Path) -> None:
    working_folder(root, "notes", "ada", UIDS)
    assert f"belongs to uid {UIDS[0]}" in refusal(root)


@root_only
def test_a_closed_folder_above_is_told_with_what_to_do(root: Path) -> None:
    root.parent.chmod(0o700)
    assert f"run: chmod o+x '{root.parent}'" in refusal(root, UIDS)


@root_only
def test_of_many_processes_at_once_no_two_give_the_same_user(root: Path) -> None:
    code = """
import sys
from pathlib import Path
from mcp_keys_server.server.gateway.programs.working_folder import working_folder
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    print(working_folder(Path(sys.argv[1]), sys.argv[2], f"user{number}", range(61_200, 61_260)).uid)
"""
    processes = [
        subprocess.Popen(
            (sys.executable, "-c", code, root, alias), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for alias in ("a", "b", "c")
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    given = [int(uid) for process in processes for uid in process.communicate()[0].split()]
    assert sorted(given) == list(range(61_200, 61_260))
