"""Files are replaced as a whole or not at all, also if the power fails."""

import ast
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import probav_estimators
from probav_estimators.files import (
    read_json,
    remove_partial_files,
    replace_file,
    replace_files,
    write_json,
)

PACKAGE = Path(probav_estimators.__file__).parent


@pytest.fixture
def events(monkeypatch):
    """What is written to the disk and renamed, in order."""
    seen, fsync, replace = [], os.fsync, Path.replace

    def log_fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        seen.append("sync folder" if is_folder else "sync file")
        fsync(descriptor)

    def log_replace(path, target):
        seen.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(Path, "replace", log_replace)
    return seen


class TestReplacing:
    def test_files_are_on_the_disk_before_the_first_is_renamed(self, tmp_path, events):
        with replace_files([tmp_path / "a", tmp_path / "b"]) as partials:
            for path in partials:
                path.write_text("new")
            assert not events
        assert events == ["sync file"] * 2 + ["rename"] * 2 + ["sync folder"]
        assert sorted(os.listdir(tmp_path)) == ["a", "b"]

    def test_an_error_leaves_all_files_as_they_were(self, tmp_path):
        (tmp_path / "a").write_text("old")
        paths = [tmp_path / "a", tmp_path / "b"]
        # The second is never written.
        with pytest.raises(FileNotFoundError), replace_files(paths) as partials:
            partials[0].write_text("new")
        assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"

    @pytest.mark.skipif(os.name == "nt", reason="modes and links of POSIX")
    @pytest.mark.parametrize("mode", [0o600, 0o444, 0o755])
    def test_mode_and_link_are_kept(self, tmp_path, mode):
        folder, link = tmp_path / "disk", tmp_path / "link"
        folder.mkdir()
        (folder / "file").write_text("old")
        (folder / "file").chmod(mode)
        link.symlink_to(folder / "file")
        (folder / ".file.0123.partial").write_text("of a killed process")
        remove_partial_files(link)
        with replace_file(link) as partial:
            partial.write_text("new")
        assert link.is_symlink() and link.read_text() == "new"
        assert stat.S_IMODE((folder / "file").stat().st_mode) == mode
        assert os.listdir(folder) == ["file"]

    @pytest.mark.skipif(not os.path.exists("/dev/null"), reason="devices of POSIX")
    def test_a_device_is_never_replaced(self):
        with (
            pytest.raises(FileExistsError, match="/dev/null is a device"),
            replace_file("/dev/null"),
        ):
            pass
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)

    def test_nothing_else_in_the_package_renames_files(self):
        renaming = set()
        for path in PACKAGE.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    one_path = len(node.args) == 1 and not node.keywords
                    if one_path:
                        # xarray renames dims by a dict.
                        kinds = ast.Dict | ast.DictComp | ast.Constant
                        one_path = not isinstance(node.args[0], kinds)
                    name = ast.unparse(node.func)
                    if name in ("os.rename", "os.replace") or (
                        one_path and node.func.attr in ("rename", "replace")
                    ):
                        renaming.add(path.name)
        # The others rename whole folders.
        assert renaming - {"files.py"} <= {"folders.py", "_fetch.py"}


class TestRecords:
    @settings(max_examples=50)
    @given(st.data())
    def test_that_are_damaged_are_refused_with_file_and_remedy(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("records") / "record.json"
        record = {"a": [1.5, "x"], "b": None}
        write_json(path, record)
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        flipped = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
        path.write_bytes(
            data.draw(st.sampled_from([whole[:at], whole[:at] + flipped + whole[at + 1 :]]))
        )
        try:
            found = read_json(path, "remove it")
        except ValueError as error:
            found, message = record, str(error)
        else:
            message = f"{path}: remove it"
        assert found == record
        assert str(path) in message and "remove it" in message

    def test_that_are_not_there_are_none(self, tmp_path):
        assert read_json(tmp_path / "record.json", "remove it") is None
