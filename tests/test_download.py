"""Downloads from a server on this machine: right bytes or none, and a sentence for everything that can go wrong."""

import hashlib
import http.server
import io
import resource
import socket
import tarfile
import threading

import numpy as np
import pytest

from sinewy.data import cifar, download, idx, load, present
from sinewy.data.download import fetch
from sinewy.errors import CorruptFileError, InputError
from test_data import idx_bytes, write_cifar

CONTENT = bytes(range(256)) * 5000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/moved":
            return self.reply(302, b"", Location="/good")
        if self.path == "/elsewhere":
            return self.reply(302, b"", Location="file:///etc/hostname")
        if self.path == "/short":
            return self.reply(200, CONTENT[:1000], length=len(CONTENT))
        if self.path not in self.server.files:
            return self.reply(404, b"")
        return self.reply(200, self.server.files[self.path])

    def reply(self, code, body, length=None, **headers):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "SINEWY_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked = {"/good": CONTENT, "/bad": b"tampered"}, []
        server.base = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("checksum", [MD5, hashlib.sha256(CONTENT).hexdigest()])
def test_fetch_writes_the_bytes_and_reports(server, tmp_path, checksum):
    seen = []
    fetch(f"{server.base}/good", tmp_path / "a/b.bin", checksum, on_progress=lambda *event: seen.append(event))
    assert (tmp_path / "a/b.bin").read_bytes() == CONTENT
    assert seen[-1] == ("b.bin", len(CONTENT), len(CONTENT))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.bin"]


def test_mirrors_are_tried_in_order_and_redirects_followed(server, tmp_path):
    urls = [f"{server.base}/{name}" for name in ("missing", "bad", "short", "moved", "never")]
    fetch(urls, tmp_path / "x", MD5)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.asked == ["/missing", "/bad", "/short", "/moved", "/good"]


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("missing", InputError, "HTTP 404"),
        ("bad", CorruptFileError, f"wrong checksum {hashlib.md5(b'tampered').hexdigest()}, expected {MD5}"),
        ("short", InputError, f"ended after 1000 of {len(CONTENT)} bytes"),
        ("elsewhere", InputError, "HTTP 302|no connection"),
    ],
)
def test_what_the_server_does_wrong_is_said_and_loses_nothing(server, tmp_path, path, error, says):
    (tmp_path / "x").write_bytes(b"what was there before")
    with pytest.raises(InputError, match=says) as caught:
        fetch(f"{server.base}/{path}", tmp_path / "x", MD5)
    assert type(caught.value) is error
    assert "put the file at" in str(caught.value)
    assert (tmp_path / "x").read_bytes() == b"what was there before"
    assert len(list(tmp_path.iterdir())) == 1


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.delenv("SINEWY_MIRROR", raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
        with pytest.raises(InputError, match=r"no connection.*refused.*check the network"):
            fetch(url, tmp_path / "x", MD5)


def test_a_server_that_says_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(InputError, match="timed out"):
        fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/x", tmp_path / "x", MD5)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/x", "x"])
def test_other_schemes_are_refused(tmp_path, url):
    with pytest.raises(InputError, match="not an http or https address"):
        fetch(url, tmp_path / "x", MD5)


def test_unwritable_folder(server, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"cannot write.*file/x"):
        fetch(f"{server.base}/good", tmp_path / "file/x", MD5)


def test_a_disk_that_takes_no_more_leaves_nothing_behind(server, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, before[1]))
        with pytest.raises(InputError, match=r"cannot write.*untouched"):
            fetch(f"{server.base}/good", tmp_path / "x", MD5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_the_mirror_of_the_environment_comes_first(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SINEWY_MIRROR", f"{server.base}/")
    server.files["/deep/good.bin"] = CONTENT
    fetch(f"{server.base}/never", tmp_path / "x.bin", MD5, relative="deep/good.bin")
    assert server.asked == ["/deep/good.bin"]


def test_cifar_is_fetched_unpacked_and_then_found(server, tmp_path, monkeypatch):
    write_cifar(tmp_path / "made", monkeypatch)
    archive = pack(tmp_path / "made" / cifar.FOLDER)
    server.files[f"/{cifar.ARCHIVE}"] = archive
    monkeypatch.setattr(cifar, "ARCHIVE_MD5", hashlib.md5(archive).hexdigest())
    monkeypatch.setenv("SINEWY_MIRROR", server.base)
    root = tmp_path / "root"
    first = load("cifar10", root=root)
    assert present("cifar10", root)
    assert not (tmp_path / "evil").exists()
    assert sorted(path.name for path in (root / cifar.FOLDER).iterdir()) == sorted([*cifar.TRAIN_MD5, *cifar.TEST_MD5])
    again = load("cifar10", root=root)
    assert first.train.hash == again.train.hash
    (root / cifar.FOLDER / "test_batch.bin").unlink()
    assert load("cifar10", root=root).test.hash == first.test.hash
    assert server.asked == [f"/{cifar.ARCHIVE}"]


def pack(folder):
    """Return a gzipped archive of the folder, with a member that tries to climb out of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder, folder.name)
        member = tarfile.TarInfo("../evil")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    return buffer.getvalue()


def test_an_archive_that_is_none_is_said(tmp_path, monkeypatch):
    (tmp_path / cifar.ARCHIVE).write_bytes(b"no archive")
    monkeypatch.setattr(cifar, "ARCHIVE_MD5", hashlib.md5(b"no archive").hexdigest())
    with pytest.raises(CorruptFileError, match="not the CIFAR-10 archive"):
        load("cifar10", root=tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_are_fetched_from_their_own_folder_of_the_mirror(server, tmp_path, monkeypatch, name):
    generator = np.random.default_rng(2)
    for path in idx.FILES[name]:
        images = generator.integers(0, 256, (30, 28, 28), dtype=np.uint8)
        content = idx_bytes(images if "images" in path else np.arange(30, dtype=np.uint8) % 10)
        server.files[f"/{path}"] = content
        monkeypatch.setitem(idx.MD5[name], path.rpartition("/")[2], hashlib.md5(content).hexdigest())
    monkeypatch.setenv("SINEWY_MIRROR", server.base)
    splits = load(name, root=tmp_path)
    assert [len(part) for part in splits] == [27, 3, 30]
    assert present(name, tmp_path)
    damaged = tmp_path / idx.FILES[name][2]
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(CorruptFileError, match=r"t10k-images-idx3-ubyte.gz is damaged \(md5"):
        load(name, root=tmp_path)
