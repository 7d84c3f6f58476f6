import io
import shutil
import stat
import threading
import zipfile
from collections import namedtuple
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from probav_estimators.datasets import _fetch as fetch_module
from probav_estimators.datasets import fetch_probav, unpack_data_set

TRAIN_FILES = ("LR000.png", "LR001.png", "QM000.png", "QM001.png", "HR.png", "SM.png")
SCENES = {
    "train/RED/imgset0000": TRAIN_FILES,
    "train/RED/imgset0001": TRAIN_FILES,
    "train/NIR/imgset0002": TRAIN_FILES,
    "test/RED/imgset0003": TRAIN_FILES[:4],
    "test/NIR/imgset0004": TRAIN_FILES[:4],
}


def make_files():
    """Small version of the data set: 3 training and 2 test scenes, incompressible, about 260 kB."""
    random = np.random.default_rng(0)
    files = {f"{scene}/{name}": random.bytes(10_000) for scene in SCENES for name in SCENES[scene]}
    return {"norm.csv": b"imgset0000 46.5\nimgset0001 44.1\nimgset0002 50.0\n", **files}


def pack(files, *, folder="", **changes):
    """Zip `files`; `changes` are set on the ZipInfo of norm.csv."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            bundle.writestr(name if isinstance(name, zipfile.ZipInfo) else folder + name, content)
        for attribute, value in changes.items():
            setattr(bundle.getinfo(folder + "norm.csv"), attribute, value)
    return buffer.getvalue()


def read_tree(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


class Server(ThreadingHTTPServer):
    """Serves `body`; `n_sent` truncates the next response."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = pack(make_files())
        self.status = 200
        self.n_sent = None
        self.n_requests = 0
        self.url = f"http://127.0.0.1:{self.server_port}/probav_data.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.n_requests += 1
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body[: server.n_sent])
        server.n_sent = None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """Server of a small archive in place of the official one."""
    with Server() as server:
        archive = replace(fetch_module._PROBAV, url=server.url, n_train=3, n_test=2)
        monkeypatch.setattr(fetch_module, "_PROBAV", archive)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def write_files(root):
    for name, content in make_files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


@pytest.mark.parametrize("folder", ["", "any name/"])
def test_archive_is_unpacked_with_and_without_a_top_folder(server, home, folder):
    server.body = pack(make_files(), folder=folder)
    root = fetch_probav(home)
    assert root == home / "probav_data"
    assert read_tree(root) == make_files()
    assert list(home.iterdir()) == [root]


def test_data_home_may_come_from_the_environment(server, home, monkeypatch):
    monkeypatch.setenv("PROBAV_DATA", str(home))
    assert read_tree(fetch_probav()) == make_files()


@pytest.mark.parametrize("folder", ["", "probav_data/unpacked by hand"])
def test_complete_data_set_is_returned_without_a_request(server, home, folder):
    write_files(home / folder)
    assert fetch_probav(home) == home / folder
    assert server.n_requests == 0


def test_incomplete_data_set_in_the_way_is_named_and_left_alone(server, home):
    root = home / "probav_data"
    write_files(root)
    shutil.rmtree(root / "train/RED/imgset0001")
    before = read_tree(root)
    with pytest.raises(ValueError, match="train holds 2 scenes instead of 3") as raised:
        fetch_probav(home)
    assert str(root) in str(raised.value)
    assert read_tree(root) == before
    assert server.n_requests == 0


def test_interrupted_download_leaves_nothing_and_starts_over(server, home):
    server.n_sent = 200_000
    with pytest.raises(ConnectionError):
        fetch_probav(home)
    assert list(home.iterdir()) == []
    assert read_tree(fetch_probav(home)) == make_files()


def test_missing_archive_on_the_server_is_a_clear_error(server, home):
    server.status = 404
    with pytest.raises(ConnectionError, match="404") as raised:
        fetch_probav(home)
    assert server.url in str(raised.value) and "by hand" in str(raised.value)
    assert list(home.iterdir()) == []


def assert_refused_and_removed(server, home, reason):
    with pytest.raises(ValueError, match=reason) as raised:
        fetch_probav(home)
    assert str(home / "probav_data.zip") in str(raised.value)
    assert "removed" in str(raised.value) and "fetch_probav again" in str(raised.value)
    assert list(home.iterdir()) == []
    assert list(home.parent.iterdir()) == [home]


def test_truncated_archive_is_refused_and_removed(server, home):
    server.body = server.body[:150_000]
    assert_refused_and_removed(server, home, "not a zip file")


def test_archive_with_a_changed_byte_is_refused_and_removed(server, home):
    # Random bytes are stored in literal blocks, so a changed byte keeps the stream valid.
    middle = len(server.body) // 2
    changed = bytes([server.body[middle] ^ 255])
    server.body = server.body[:middle] + changed + server.body[middle + 1 :]
    assert_refused_and_removed(server, home, "CRC")


@pytest.mark.parametrize(
    "name",
    ["train/../../evil.png", "/evil.png", "C:/evil.png", "..\\evil.png"],
)
def test_entry_outside_of_the_folder_is_refused(server, home, name):
    server.body = pack({**make_files(), name: b"evil"})
    assert_refused_and_removed(server, home, "leads out of the folder")


def test_symbolic_link_is_refused(server, home):
    link = zipfile.ZipInfo("train/RED/imgset0000/LR002.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    server.body = pack({**make_files(), link: b"/etc/passwd"})
    assert_refused_and_removed(server, home, "is a link")


def test_archive_that_would_fill_the_disk_is_refused(server, home):
    server.body = pack(make_files(), file_size=2**50)
    assert_refused_and_removed(server, home, "would unpack to")


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("norm.csv", "norm.csv is missing"),
        ("train/NIR/imgset0002/", "train holds 2 scenes instead of 3"),
        ("train/RED/imgset0001/QM001.png", "imgset0001 lacks images"),
        (("train/NIR/imgset0002/LR", "train/NIR/imgset0002/QM"), "imgset0002 lacks images"),
    ],
)
def test_incomplete_archive_is_refused_and_removed(server, home, missing, reason):
    files = make_files()
    server.body = pack({name: files[name] for name in files if not name.startswith(missing)})
    assert_refused_and_removed(server, home, reason)


def kill_after_entries(monkeypatch, n_entries):
    extract = zipfile.ZipFile.extract
    extracted = []

    def extract_some(self, entry, path):
        if len(extracted) == n_entries:
            raise KeyboardInterrupt
        extracted.append(entry)
        return extract(self, entry, path)

    monkeypatch.setattr(zipfile.ZipFile, "extract", extract_some)


@pytest.mark.parametrize("has_time_to_clean_up", [True, False])
def test_kill_while_unpacking_leaves_nothing_that_looks_whole(
    server, home, has_time_to_clean_up, monkeypatch
):
    with monkeypatch.context() as patch:
        kill_after_entries(patch, n_entries=8)
        if not has_time_to_clean_up:
            patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(KeyboardInterrupt):
            fetch_probav(home)
    assert not (home / "probav_data").exists()
    if not has_time_to_clean_up:
        (home / "probav_data.unpacking" / "left over").write_bytes(b"")

    root = fetch_probav(home)
    assert read_tree(root) == make_files()
    assert server.n_requests == 1, "the archive that is there is not downloaded again"
    assert set(home.iterdir()) == {root, home / "probav_data.zip"}


def test_archive_that_was_placed_by_hand_is_unpacked_and_left(server, home):
    home.mkdir()
    own = home / "probav_data.zip"
    own.write_bytes(server.body)
    root = fetch_probav(home)
    assert read_tree(root) == make_files()
    assert own.read_bytes() == server.body
    assert server.n_requests == 0
    assert set(home.iterdir()) == {root, own}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"half a download", "not a zip file"),
        (pack({"norm.csv": b"", "train/notes.txt": b"mine"}), "train holds 0 scenes instead of 3"),
    ],
)
def test_archive_that_was_placed_by_hand_is_never_deleted(server, home, body, reason):
    home.mkdir()
    own = home / "probav_data.zip"
    own.write_bytes(body)
    with pytest.raises(ValueError, match=reason) as raised:
        fetch_probav(home)
    message = str(raised.value)
    assert str(own) in message and "was kept" in message
    assert "Move it away" in message and "fetch_probav again" in message
    assert own.read_bytes() == body
    assert server.n_requests == 0
    assert list(home.iterdir()) == [own]


def test_full_disk_is_noticed_before_anything_is_unpacked(server, home, monkeypatch):
    usage = namedtuple("usage", ["total", "used", "free"])(1000, 900, 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match="100 bytes free"):
        fetch_probav(home)
    assert list(home.iterdir()) == [home / "probav_data.zip"]


class TestUnpackDataSet:
    @pytest.mark.parametrize("top", ["", "probav_data/"])
    def test_a_data_set_is_unpacked_once_and_its_zip_stays(self, tmp_path, top):
        archive = tmp_path / "mine.zip"
        archive.write_bytes(pack(make_files(), folder=top))
        content = archive.read_bytes()
        root = unpack_data_set(archive, tmp_path / "deep" / "data")
        assert root == tmp_path / "deep" / "data" / top
        assert read_tree(root).items() >= make_files().items()
        (root / "norm.csv").write_text("changed")
        assert unpack_data_set(archive, tmp_path / "deep" / "data") == root
        assert (root / "norm.csv").read_text() == "changed"
        assert archive.read_bytes() == content
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["data"]

    def test_a_folder_of_something_else_is_refused_and_left(self, tmp_path):
        archive, other = tmp_path / "mine.zip", tmp_path / "other.zip"
        archive.write_bytes(pack(make_files()))
        other.write_bytes(pack(make_files() | {"norm.csv": b"imgset0000 40\n"}))
        unpack_data_set(archive, tmp_path / "data")
        (tmp_path / "mine").mkdir()
        for path, folder in ((other, "data"), (archive, "mine")):
            before = read_tree(tmp_path / folder)
            with pytest.raises(ValueError, match="is not that archive's"):
                unpack_data_set(path, tmp_path / folder)
            assert read_tree(tmp_path / folder) == before

    def test_what_is_no_zip_or_damaged_is_refused(self, tmp_path):
        archive = tmp_path / "mine.zip"
        archive.write_bytes(b"no zip")
        with pytest.raises(ValueError, match=r"mine\.zip cannot be unpacked"):
            unpack_data_set(archive, tmp_path / "data")
        content = bytearray(pack(make_files()))
        content[5000] ^= 1
        archive.write_bytes(bytes(content))
        with pytest.raises(ValueError, match=r"mine\.zip cannot be unpacked"):
            unpack_data_set(archive, tmp_path / "data")
        assert not (tmp_path / "data").exists()
