"""Downloads from a server on this machine: right bytes or none, and a sentence for everything that can go wrong."""

import errno
import fcntl
import hashlib
import io
import resource
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_server import CONTENT, MD5, SERVED, idx_bytes, md5, picture, serving, tar_of, write_cifar
from sinewy.data import archives, cifar, download, idx, load, pictures, present, telling
from sinewy.data.archives import below, unpack_files, unpack_folder
from sinewy.data.cifar100 import read_test as read_cifar100
from sinewy.data.download import fetch
from sinewy.data.standing import standing
from sinewy.data.svhn import read_test as read_svhn
from sinewy.errors import CorruptFileError, InputError

READERS = {
    "svhn": read_svhn,
    "cifar100": read_cifar100,
    "textures": pictures.textures,
    "omniglot": pictures.omniglot,
}


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server


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
    parts = [file.name for file in tmp_path.iterdir() if file.name != "x"]
    assert parts == ([f".x.{MD5[:8]}.part"] if path == "short" else [])


def test_a_download_that_broke_off_goes_on_where_it_was(server, tmp_path):
    with pytest.raises(InputError, match=r"run the same command again, which goes on after these 1,000 bytes"):
        fetch(f"{server.base}/short", tmp_path / "x", MD5)
    server.sent, seen = 0, []
    fetch(f"{server.base}/good", tmp_path / "x", MD5, on_progress=lambda *event: seen.append(event))
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.sent == len(CONTENT) - 1000
    assert seen[0] == ("x", 1000, len(CONTENT))
    assert seen[-1] == ("x", len(CONTENT), len(CONTENT))
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("before", [b"wrong", b"wrong" + CONTENT, CONTENT[:-1], CONTENT])
def test_bytes_left_from_before_never_spoil_a_download(server, tmp_path, before, ranges):
    server.ranges = ranges
    (tmp_path / f".x.{MD5[:8]}.part").write_bytes(before)
    fetch(f"{server.base}/good", tmp_path / "x", MD5)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    assert (server.asked == []) == (before == CONTENT)


def test_a_server_that_sends_another_part_is_not_believed(server, tmp_path):
    (tmp_path / f".x.{MD5[:8]}.part").write_bytes(CONTENT[:100])
    fetch([f"{server.base}/wrong-part", f"{server.base}/good"], tmp_path / "x", MD5)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_what_is_there_and_right_is_not_fetched(server, tmp_path):
    (tmp_path / "x").write_bytes(CONTENT)
    fetch(f"{server.base}/good", tmp_path / "x", MD5)
    assert server.asked == []


def test_of_several_at_once_one_fetches(server, tmp_path):
    """Another process holds the unfinished file; when it is done, what it fetched is taken."""
    part = tmp_path / f".x.{MD5[:8]}.part"
    with part.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=fetch, args=(f"{server.base}/good", tmp_path / "x", MD5))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        other.write(CONTENT)
        other.flush()
        part.rename(tmp_path / "x")
    waiting.join(10)
    assert server.asked == []
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_a_killed_download_leaves_what_came(tmp_path):
    """SIGKILL while the server is silent in the middle: the bytes are there, the file is not."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code = (
            "import pathlib, sys; from sinewy.data.download import fetch\n"
            "fetch(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], on_progress=lambda *e: print(e[1], flush=True))"
        )
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        command = [sys.executable, "-c", code, url, str(tmp_path / "x"), MD5]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={}) as process:
            connection, _ = silent.accept()
            with connection:
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
                connection.sendall(head.encode() + CONTENT[: download.BLOCK])
                while process.stdout.readline().strip() != str(download.BLOCK):
                    pass
                process.kill()
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [CONTENT[: download.BLOCK]]


def test_a_disk_too_small_is_said_before_the_bytes_come(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(InputError, match=r"x needs 1 MB, but the disk of .* has 0 MB left; free some, or name another"):
        fetch(f"{server.base}/good", tmp_path / "x", MD5)
    assert list(tmp_path.iterdir()) == []


def test_downloads_that_nobody_shows_are_said_on_stderr(server, tmp_path, capsys):
    fetch(f"{server.base}/good", tmp_path / "x", MD5)
    assert capsys.readouterr().err == f"fetching x into {tmp_path}: 0 of 1.3 MB\n"


def test_lines_on_stderr_are_seconds_apart(tmp_path, capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
    tell = telling.Teller(tmp_path / "x")
    for received in (0, 10**6, 2 * 10**6, 3 * 10**8, 4 * 10**8):
        tell("x", received, 4 * 10**8)
        now[0] += 6
    said = [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ["0 of 400 MB", "2 of 400 MB"]


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
    folder = tmp_path / "made" / cifar.FOLDER
    archive = tar_of({f"{cifar.FOLDER}/{file.name}": file.read_bytes() for file in folder.iterdir()})
    server.files[f"/{cifar.ARCHIVE}"] = archive
    monkeypatch.setattr(cifar, "ARCHIVE_MD5", md5(archive))
    monkeypatch.setenv("SINEWY_MIRROR", server.base)
    root = tmp_path / "root"
    first = load("cifar10", root=root)
    assert present("cifar10", root)
    assert not (tmp_path / "evil").exists()
    assert sorted(path.name for path in (root / cifar.FOLDER).iterdir()) == sorted([*cifar.TRAIN_MD5, *cifar.TEST_MD5])
    again = load("cifar10", root=root)
    assert first.train.hash == again.train.hash
    (root / cifar.FOLDER / "test_batch.bin").unlink()
    assert load("cifar10", root=root, download=False).test.hash == first.test.hash  # from the archive
    assert server.asked == [f"/{cifar.ARCHIVE}"]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"no archive", "not the archive it should be"), (tar_of({"other": b"x"}), "it has no cifar-10-batches-bin/data")],
)
def test_an_archive_that_is_none_is_said(tmp_path, monkeypatch, content, says):
    (tmp_path / cifar.ARCHIVE).write_bytes(content)
    monkeypatch.setattr(cifar, "ARCHIVE_MD5", md5(content))
    with pytest.raises(CorruptFileError, match=says):
        load("cifar10", root=tmp_path)


@pytest.mark.parametrize("name", SERVED)
def test_each_set_is_fetched_once_and_then_read_without_a_network(server, tmp_path, monkeypatch, name):
    files = SERVED[name](monkeypatch)
    server.files |= files
    monkeypatch.setenv("SINEWY_MIRROR", server.base)
    root = tmp_path / "deep" / "root"
    assert standing(name, root).startswith("fetched on first use, ")
    first = READERS[name](root=root)
    assert server.asked == [path for path in files if "train" not in path]  # the training images are not needed
    again = READERS[name](root=root, download=False)
    assert np.array_equal(first, again) if isinstance(first, np.ndarray) else first == again
    assert present(name, root) == (name != "svhn")
    assert not any(found.name.startswith((".", "evil")) or found.suffix == ".part" for found in tmp_path.rglob("*"))
    assert not Path("/tmp/sinewy-evil").exists()
    assert not Path("/tmp/sinewy-evil.png").exists()


@pytest.mark.parametrize("name", SERVED)
def test_archives_and_files_put_there_by_hand_are_enough(tmp_path, monkeypatch, name):
    for path, content in SERVED[name](monkeypatch).items():
        place = tmp_path / path[1:]
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
    assert standing(name, tmp_path) == "present"
    READERS[name](root=tmp_path, download=False)
    assert present(name, tmp_path)


@pytest.mark.parametrize("name", SERVED)
def test_what_may_not_be_fetched_is_said_with_the_place_and_the_address(tmp_path, name):
    with pytest.raises(InputError, match=rf"{tmp_path}/.* is not there; allow downloads, or get http.* put it there"):
        READERS[name](root=tmp_path, download=False)
    assert not present(name, tmp_path)


@pytest.mark.parametrize("name", SERVED)
def test_wrong_and_truncated_deliveries_are_refused(server, tmp_path, monkeypatch, name):
    [(path, content)] = [item for item in SERVED[name](monkeypatch).items() if "train" not in item[0]]
    monkeypatch.setenv("SINEWY_MIRROR", server.base)
    for module in ("svhn", "cifar100"):  # the real addresses are not asked
        monkeypatch.setattr(f"sinewy.data.{module}.{'ADDRESS' if module == 'svhn' else 'URLS'}", _none(server, module))
    monkeypatch.setitem(pictures.SETS, "textures", pictures.SETS["textures"]._replace(urls=[f"{server.base}/none"]))
    monkeypatch.setitem(pictures.SETS, "omniglot", pictures.SETS["omniglot"]._replace(urls=[f"{server.base}/none"]))
    server.files[path] = content[:-9] + b"tampered!"
    with pytest.raises(CorruptFileError, match=r"wrong checksum .*put the file at"):
        READERS[name](root=tmp_path)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == []
    (tmp_path / path[1:]).parent.mkdir(exist_ok=True)
    (tmp_path / path[1:]).write_bytes(content[:-9])
    with pytest.raises(CorruptFileError, match=r"is damaged \(md5 .*delete it and run the same command again"):
        READERS[name](root=tmp_path)


def _none(server, module):
    return f"{server.base}/none" if module == "svhn" else [f"{server.base}/none"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/b/c.jpg", "b/c.jpg"),
        ("a/../c.jpg", None),
        ("a/b/../../c.jpg", None),
        ("/a/c.jpg", None),
        ("ab/c.jpg", None),
        ("a/.hidden.jpg", None),
        ("./a/c.jpg", "c.jpg"),
    ],
)
def test_only_what_is_below_leaves_an_archive(name, found):
    assert below(name, "a") == (None if found is None else Path(found))


def test_a_folder_is_unpacked_whole_or_not_at_all(tmp_path, monkeypatch):
    content = tar_of({f"a/{i}.jpg": picture(i, "jpeg") for i in range(5)})
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(content)
    (tmp_path / ".a.part").mkdir()  # of a process that was killed
    (tmp_path / ".a.part" / "old.jpg").write_bytes(b"old")
    written = []

    def full(path, data):
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match=r"cannot unpack .*a.tar.gz: No space left on device"):
            unpack_folder(archive, md5(content), "a", tmp_path / "a", ".jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]
    unpack_folder(archive, md5(content), "a", tmp_path / "a", ".jpg")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [f"{i}.jpg" for i in range(5)]
    with pytest.raises(CorruptFileError, match=r"it has no b/\*.jpg"):
        unpack_folder(archive, md5(content), "b", tmp_path / "b", ".jpg")


def test_of_several_at_once_one_unpacks(tmp_path, monkeypatch):
    content = tar_of({"a/1.jpg": picture(1, "jpeg")})
    (tmp_path / "a.tar.gz").write_bytes(content)
    calls, original = [], archives._write_below
    monkeypatch.setattr(archives, "_write_below", lambda *given: (calls.append(1), original(*given)))
    arguments = (tmp_path / "a.tar.gz", md5(content), "a", tmp_path / "a", ".jpg")
    together = [threading.Thread(target=unpack_folder, args=arguments) for _ in range(4)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert calls == [1]
    assert (tmp_path / "a" / "1.jpg").is_file()


@pytest.mark.parametrize(("kind", "damage"), [("tar.gz", "truncated"), ("zip", "truncated"), ("zip", "flipped")])
def test_a_damaged_archive_with_the_right_checksum_is_still_a_sentence(tmp_path, kind, damage):
    if kind == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a/1.png", np.random.default_rng(0).bytes(3000))
        content = buffer.getvalue()
    else:
        content = tar_of({"a/1.png": np.random.default_rng(0).bytes(3000)})
    middle = len(content) // 2
    content = content[:middle] if damage == "truncated" else content[:middle] + b"?" * 9 + content[middle + 9 :]
    archive = tmp_path / f"a.{kind}"
    archive.write_bytes(content)
    with pytest.raises(CorruptFileError, match="is not the archive it should be"):
        unpack_folder(archive, md5(content), "a", tmp_path / "a", ".png")
    with pytest.raises(CorruptFileError, match="is not the archive it should be"):
        unpack_files(archive, md5(content), {"a/1.png": tmp_path / "1.png"})
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_are_fetched_from_their_own_folder_of_the_mirror(server, tmp_path, monkeypatch, name):
    generator = np.random.default_rng(2)
    for path in idx.FILES[name]:
        images = generator.integers(0, 256, (30, 28, 28), dtype=np.uint8)
        content = idx_bytes(images if "images" in path else np.arange(30, dtype=np.uint8) % 10)
        server.files[f"/{path}"] = content
        monkeypatch.setitem(idx.MD5[name], path.rpartition("/")[2], md5(content))
    monkeypatch.setenv("SINEWY_MIRROR", server.base)
    splits = load(name, root=tmp_path)
    assert [len(part) for part in splits] == [27, 3, 30]
    assert present(name, tmp_path)
    damaged = tmp_path / idx.FILES[name][2]
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(CorruptFileError, match=r"t10k-images-idx3-ubyte.gz is damaged \(md5"):
        load(name, root=tmp_path)
