"""Downloads by name, from a folder and from a small server: checked, taken up again, and never half there."""

import hashlib
import io
import re
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.label_subjects import DATA
from trak_core.datasets import download as module
from trak_core.datasets.download import COLLECTIONS, Collection, RemoteFile, download
from trak_core.errors import DownloadError, InvalidSettingError, StorageError

# From the pages of the data sets: github.com/zalandoresearch/fashion-mnist.
FASHION_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
CONTENTS = {name: np.random.default_rng(seed).bytes(700_001 + seed) for seed, name in enumerate(("a.bin", "b.bin"))}


def remote(name: str, content: bytes) -> RemoteFile:
    return RemoteFile(name, len(content), hashlib.sha256(content).hexdigest())


class Server(ThreadingHTTPServer):
    """Serves `contents` with ranges, and writes down what it was asked for and gave.

    Attributes:
        serves_ranges: whether it heeds them.
        says_length: whether it says how much is coming.
        breaks_off: bytes after which the next answers end.
        waits: seconds before each answer.
        repeats: how often each answer is said.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents = dict(CONTENTS)
        self.asked: list[tuple[str, str | None]] = []
        self.n_sent = 0
        self.serves_ranges = self.says_length = True
        self.breaks_off: int | None = None
        self.waits = 0.0
        self.repeats = 1

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may hang up."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name, wanted = self.path.rpartition("/")[2], self.headers.get("Range")
        self.server.asked.append((name, wanted))
        time.sleep(self.server.waits)
        content = self.server.contents.get(name)
        if content is None:
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.serves_ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if self.server.says_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        sent = content[start : start + self.server.breaks_off] if self.server.breaks_off else content[start:]
        for _ in range(self.server.repeats):
            self.wfile.write(sent)
            self.server.n_sent += len(sent)

    def log_message(self, *words: object) -> None:
        """Not on the terminal."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection of two files, called "small"."""
    files = tuple(remote(name, content) for name, content in CONTENTS.items())
    monkeypatch.setitem(COLLECTIONS, "small", Collection("https://unreachable.invalid/", files))


def is_whole(folder: Path) -> bool:
    return all((folder / name).read_bytes() == content for name, content in CONTENTS.items())


# --- what is fetched --------------------------------------------------------------------------------------------


def test_every_file_has_an_address_a_size_and_a_checksum():
    for name in ("fashion-mnist", "cifar-10", "ag-news"):
        assert COLLECTIONS[name].base.startswith("https://") and COLLECTIONS[name].base.endswith("/")
        for file in COLLECTIONS[name].files:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256) and file.n_bytes > 5000 and "/" not in file.name


def test_fashion_mnist_from_a_folder_has_the_checksums_of_its_page(tmp_path):
    mirror = DATA / "fashion_mnist"
    if not mirror.exists():
        pytest.skip(f"no {mirror}; TRAK_SHARED_DATA names the folder with it")
    folder = download("fashion-mnist", tmp_path, mirror=mirror)
    assert folder == tmp_path / "fashion-mnist"
    found = {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in folder.glob("*.gz")}
    assert found == FASHION_MD5


def test_a_folder_and_a_server_give_the_same_files(tmp_path, server):
    for name, content in CONTENTS.items():
        (tmp_path / name).write_bytes(content)
    for mirror in (tmp_path, str(tmp_path), server.address, f"{server.address}/", f"{server.address}/below/it"):
        folder = download("small", tmp_path / f"to {len(list(tmp_path.iterdir()))}", mirror=mirror)
        assert is_whole(folder)
        assert {path.name for path in folder.iterdir()} == {*CONTENTS, ".lock"}


def test_progress_runs_from_nothing_to_all_bytes(tmp_path, server):
    seen: list[tuple[int, int]] = []
    download("small", tmp_path, mirror=server.address, on_progress=lambda *numbers: seen.append(numbers))
    n_bytes = sum(map(len, CONTENTS.values()))
    done = [n_done for n_done, _ in seen]
    assert {n_all for _, n_all in seen} == {n_bytes}
    assert done == sorted(done) and 0 < done[0] < len(CONTENTS["a.bin"]) and done[-1] == n_bytes


def test_what_is_there_is_not_fetched_again_unless_it_is_damaged(tmp_path, server):
    folder = download("small", tmp_path, mirror=server.address)
    server.asked.clear()
    download("small", tmp_path, mirror=server.address)
    assert server.asked == []
    (folder / "b.bin").write_bytes(CONTENTS["b.bin"][:-1] + b"?")
    assert is_whole(download("small", tmp_path, mirror=server.address))
    assert server.asked == [("b.bin", None)]


# --- downloads that break off -----------------------------------------------------------------------------------


def test_a_download_that_breaks_off_is_taken_up_where_it_ended(tmp_path, server):
    server.breaks_off = 300_000
    with pytest.raises(DownloadError, match=r"a\.bin broke off after 300,000 of 700,001 bytes; give the same command"):
        download("small", tmp_path, mirror=server.address)
    assert {path.name for path in (tmp_path / "small").iterdir()} == {".a.bin.part", ".lock"}
    server.breaks_off, server.n_sent = None, 0
    server.asked.clear()
    assert is_whole(download("small", tmp_path, mirror=server.address))
    assert server.asked == [("a.bin", "bytes=300000-"), ("b.bin", None)]
    assert server.n_sent == sum(map(len, CONTENTS.values())) - 300_000
    assert not (tmp_path / "small" / ".a.bin.part").exists()


def test_a_server_that_cannot_go_on_is_asked_for_all(tmp_path, server):
    server.breaks_off = 1000
    with pytest.raises(DownloadError):
        download("small", tmp_path, mirror=server.address)
    server.breaks_off, server.serves_ranges = None, False
    server.asked.clear()
    assert is_whole(download("small", tmp_path, mirror=server.address))
    assert server.asked == [("a.bin", "bytes=1000-"), ("b.bin", None)]


@pytest.mark.parametrize("n_there", [1000, 700_000, 700_001, 900_000])
def test_a_part_of_something_else_is_thrown_away(tmp_path, server, n_there):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / ".a.bin.part").write_bytes(bytes(n_there))
    assert is_whole(download("small", tmp_path, mirror=server.address))


def test_two_at_once_fetch_once(tmp_path, server):
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: download("small", tmp_path, mirror=server.address), range(3)))
    assert len(set(folders)) == 1 and is_whole(folders[0])
    assert sorted(server.asked) == [("a.bin", None), ("b.bin", None)]


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize(
    "wrong",
    [
        CONTENTS["a.bin"][:-1] + b"?",
        CONTENTS["a.bin"] + b"?",
        CONTENTS["a.bin"] * 20,
    ],
    ids=["other", "longer", "much longer"],
)
def test_another_file_is_not_used(tmp_path, server, wrong, says_length):
    server.contents["a.bin"], server.says_length = wrong, says_length
    with pytest.raises(DownloadError, match=r"/a\.bin is not the file expected \(700,001 bytes, SHA-256 [0-9a-f]{12}"):
        download("small", tmp_path, mirror=server.address)
    assert {path.name for path in (tmp_path / "small").iterdir()} == {".lock"}
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.bin").write_bytes(wrong)
    with pytest.raises(DownloadError, match=r"mirror/a\.bin is not the file expected"):
        download("small", tmp_path, mirror=tmp_path / "mirror")


def test_a_page_in_place_of_the_file_is_not_taken_for_a_part_of_it(tmp_path, server):
    server.contents["a.bin"] = b"<html>Log in first</html>"
    with pytest.raises(DownloadError, match="is not the file expected"):
        download("small", tmp_path, mirror=server.address)
    assert {path.name for path in (tmp_path / "small").iterdir()} == {".lock"}


def test_an_answer_without_end_is_not_listened_to(tmp_path, server):
    server.repeats, server.says_length = 100, False  # 70 MB, and 0.7 MB are expected
    with pytest.raises(DownloadError, match="is not the file expected"):
        download("small", tmp_path, mirror=server.address)
    assert server.n_sent < 35 * len(CONTENTS["a.bin"])


def test_a_file_that_is_shorter_than_what_came_before_is_another_one(tmp_path, server):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / ".a.bin.part").write_bytes(bytes(1000))
    server.contents["a.bin"] = b"short"
    with pytest.raises(DownloadError, match="is not the file expected"):
        download("small", tmp_path, mirror=server.address)
    assert server.asked == [("a.bin", "bytes=1000-"), ("a.bin", None)]


def test_servers_that_do_not_have_it_or_do_not_answer_are_named(tmp_path, server, monkeypatch):
    del server.contents["b.bin"]
    with pytest.raises(DownloadError, match=r"/b\.bin is unavailable \(the server says 404 Not Found\); try again"):
        download("small", tmp_path, mirror=server.address)
    assert (tmp_path / "small" / "a.bin").read_bytes() == CONTENTS["a.bin"]  # what is right stays
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    server.waits = 0.5
    with pytest.raises(DownloadError, match=r"b\.bin cannot be reached \(timed out\); check the connection"):
        download("small", tmp_path, mirror=server.address)


def test_without_a_connection_it_says_so_and_what_helps(tmp_path, server, monkeypatch):
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    said = r"small/a\.bin cannot be reached \(.+\); check the connection .* or name a mirror, which may be a folder"
    monkeypatch.setitem(COLLECTIONS, "small", Collection("https://localhost:1/small/", COLLECTIONS["small"].files))
    with pytest.raises(DownloadError, match=said):
        download("small", tmp_path)


def test_a_mirror_without_the_file_is_named(tmp_path):
    (tmp_path / "mirror").mkdir()
    with pytest.raises(
        DownloadError, match=r"mirror/a\.bin cannot be opened \(No such file or directory\); check the mi"
    ):
        download("small", tmp_path, mirror=tmp_path / "mirror")


@pytest.mark.parametrize("mirror", ["ftp://example.org/", "file:///tmp", "/no/such/folder", "example.org"])
def test_a_mirror_that_is_neither_folder_nor_address_is_refused(tmp_path, mirror):
    with pytest.raises(InvalidSettingError, match="which is no folder; give one, or an address that begins with https"):
        download("small", tmp_path, mirror=mirror)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(InvalidSettingError, match=r"no data set 'cifar10' .*fashion-mnist.* Did you mean 'cifar-10'\?"):
        download("cifar10", "anywhere")


def test_a_place_that_cannot_be_written_is_named(tmp_path, server):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        StorageError, match=r"cannot write .*file/small: Not a directory; \w+ that, then give the same command"
    ):
        download("small", tmp_path / "file", mirror=server.address)


def test_a_full_disk_is_no_matter_of_the_network(tmp_path, server, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(StorageError, match="the disk is full; free some space, then give the same command again"):
        download("small", tmp_path, mirror=server.address)


# --- archives ---------------------------------------------------------------------------------------------------

MEMBERS = {"batches/one.bin": b"1" * 5000, "batches/names.txt": b"cat\ndog\n"}


def archive(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for info, content in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
                info.size = len(content)
            packed.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Path]:
    """Makes bytes the archive of a collection "packed" and fetches it into `tmp_path / "to"`."""

    def fetch(content: bytes) -> Path:
        sizes = {name: len(member) for name, member in MEMBERS.items()}
        monkeypatch.setitem(COLLECTIONS, "packed", Collection("https://x/", (remote("a.tar.gz", content),), sizes))
        (tmp_path / "mirror").mkdir(exist_ok=True)
        (tmp_path / "mirror" / "a.tar.gz").write_bytes(content)
        return download("packed", tmp_path / "to", mirror=tmp_path / "mirror")

    return fetch


def test_archives_are_unpacked_and_do_not_stay(tmp_path, packed):
    folder = packed(archive(*MEMBERS.items(), ("batches/more.html", b"not needed")))
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"} == {
        "one.bin": MEMBERS["batches/one.bin"],
        "names.txt": MEMBERS["batches/names.txt"],
    }
    (tmp_path / "mirror" / "a.tar.gz").unlink()
    assert download("packed", tmp_path / "to", mirror=tmp_path / "mirror") == folder  # nothing to fetch
    (folder / "one.bin").write_bytes(b"1")
    with pytest.raises(DownloadError, match="cannot be opened"):
        download("packed", tmp_path / "to", mirror=tmp_path / "mirror")


NAMES = ("batches/names.txt", MEMBERS["batches/names.txt"])
ONE = MEMBERS["batches/one.bin"]
HUGE = tarfile.TarInfo("batches/huge.bin")
HUGE.size = 2**33


@pytest.mark.parametrize(
    "members",
    [
        [("../one.bin", ONE), ("/tmp/one.bin", ONE), ("batches/../../one.bin", ONE), NAMES],
        [(link("batches/one.bin", "/etc/passwd"), b""), NAMES],
        [(link("batches/one.bin", "names.txt", size=len(ONE)), b""), NAMES],
        [(link("batches/one.bin", "../../secret", tarfile.LNKTYPE), b""), NAMES],
        [(link("batches/one.bin", "", tarfile.FIFOTYPE), b""), NAMES],
        [("batches/one.bin", ONE + b"1"), NAMES],
        [(f"batches/{number}", b"") for number in range(200)] + [("batches/one.bin", ONE), NAMES],
        [NAMES],
    ],
    ids=["climbing", "symbolic link", "link with a size", "hard link", "pipe", "size", "many", "missing"],
)
def test_archives_with_something_else_in_them_are_refused(tmp_path, packed, members):
    (tmp_path / "secret").write_bytes(ONE)
    with pytest.raises(DownloadError, match=r"a\.tar\.gz has no batches/one\.bin of the right size; remove it"):
        packed(archive(*members))
    assert {path.name for path in tmp_path.iterdir()} == {"secret", "mirror", "to"}
    left = {path.name for path in (tmp_path / "to" / "packed").rglob("*")}
    assert left <= {".lock", "a.tar.gz", "names.txt"}


def test_an_archive_that_would_grow_without_end_is_not_followed(packed):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packing:
        packing.fileobj.write(HUGE.tobuf())
        packing.fileobj.write(bytes(2**24))  # of the 8 GB that it says
    start = time.perf_counter()
    with pytest.raises(DownloadError, match="of the right size"):
        packed(buffer.getvalue())
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("content", [b"no archive", archive(*MEMBERS.items())[:-200]], ids=["other", "cut off"])
def test_a_damaged_archive_is_refused(packed, content):
    with pytest.raises(DownloadError, match=r"a\.tar\.gz (is damaged|has no batches)"):
        packed(content)
