"""A server on this machine that delivers data files well and badly, and small files in their publishers' formats."""

import contextlib
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile

import numpy as np
from PIL import Image
from scipy.io import savemat

from sinewy.data import cifar, cifar100, pictures, svhn

CONTENT = bytes(range(256)) * 5000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; /short ends too early, /part honours Range and ends early unless asked for the rest."""

    def do_GET(self):
        self.server.asked.append(self.path)
        begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if self.path == "/moved":
            return self.reply(302, b"", Location="/good")
        if self.path == "/elsewhere":
            return self.reply(302, b"", Location="file:///etc/hostname")
        if self.path == "/short":
            return self.reply(200, CONTENT[:1000], length=len(CONTENT))
        if self.path == "/wrong-part":
            return self.reply(206, CONTENT[5:], **{"Content-Range": "bytes 5-9/10"}) if begin else self.reply(404, b"")
        if self.path not in self.server.files:
            return self.reply(404, b"")
        content = self.server.files[self.path]
        if begin and self.server.ranges:
            if begin >= len(content):
                return self.reply(416, b"")
            span = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            return self.reply(206, content[begin:], **{"Content-Range": span})
        return self.reply(200, content)

    def reply(self, code, body, length=None, **headers):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.server.sent += len(body)
        with contextlib.suppress(OSError):  # the client may have left
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "SINEWY_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked, server.ranges, server.sent = {"/good": CONTENT, "/bad": b"tampered"}, [], True, 0
        server.base = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def md5(content):
    return hashlib.md5(content).hexdigest()


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


def write_cifar(root, monkeypatch, n=20):
    """Write a CIFAR-10 of n images a batch in the official form, and make its checksums the expected ones."""
    generator = np.random.default_rng(1)
    folder = root / cifar.FOLDER
    folder.mkdir(parents=True)
    for table in (cifar.TRAIN_MD5, cifar.TEST_MD5):
        for name in table:
            records = generator.integers(0, 256, (n, cifar.RECORD), dtype=np.uint8)
            records[:, 0] = np.arange(n) % 10
            (folder / name).write_bytes(records.tobytes())
            monkeypatch.setitem(table, name, md5(records.tobytes()))


def tar_of(members):
    """Return a gzipped tar of {name: bytes}, with members that try to climb out of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {**members, "../evil": b"evil", "/tmp/sinewy-evil": b"evil"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("dtd/images/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    return buffer.getvalue()


def picture(grey, kind, size=(50, 40)):
    buffer = io.BytesIO()
    Image.new("L", size, grey).save(buffer, kind)
    return buffer.getvalue()


def serve_svhn(monkeypatch, train=40, test=20):
    """Return {path: bytes} of an SVHN that small, whose checksums are then the expected ones."""
    generator, files = np.random.default_rng(3), {}
    for part, count in (("train", train), ("test", test)):
        images = generator.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        buffer = io.BytesIO()
        savemat(buffer, {"X": images, "y": (np.arange(count) % 10 + 1)[:, None].astype(np.uint8)}, do_compression=True)
        files[f"/{svhn.PARTS[part]}"] = buffer.getvalue()
        monkeypatch.setitem(svhn.MD5, svhn.PARTS[part], md5(buffer.getvalue()))
    return files


def serve_cifar100(monkeypatch):
    """Return {path: bytes} of a CIFAR-100 with 2 and 1 images a class."""
    generator, members = np.random.default_rng(4), {}
    for name, count in (("train.bin", 2), ("test.bin", 1)):
        records = generator.integers(0, 256, (100 * count, cifar100.RECORD), dtype=np.uint8)
        records[:, 1] = np.arange(100 * count) % 100
        members[f"{cifar100.FOLDER}/{name}"] = records.tobytes()
        monkeypatch.setitem(cifar100.PER_CLASS, name, count)
    archive = tar_of(members)
    monkeypatch.setattr(cifar100, "ARCHIVE_MD5", md5(archive))
    return {f"/{cifar100.ARCHIVE}": archive}


def serve_textures(monkeypatch, count=4):
    """Return {path: bytes} of `count` textures; other members of the archive are as in the official one."""
    members = {f"dtd/images/banded/banded_{i:04}.jpg": picture(60 * i, "jpeg") for i in range(count)}
    members |= {"dtd/labels/train1.txt": b"banded/banded_0000.jpg\n", "dtd/images/banded/.directory": b"x"}
    return _pictures(monkeypatch, "textures", tar_of(members), count)


def serve_omniglot(monkeypatch, count=4):
    """Return {path: bytes} of `count` characters, with members that try to climb out of the archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(count):
            archive.writestr(
                f"images_evaluation/Angelic/character01/0965_{i:02}.png", picture(60 * i, "png", (105, 105))
            )
        archive.writestr("images_evaluation/../../evil.png", b"evil")
        archive.writestr("/tmp/sinewy-evil.png", b"evil")
    return _pictures(monkeypatch, "omniglot", buffer.getvalue(), count)


def _pictures(monkeypatch, name, archive, count):
    about = pictures.SETS[name]._replace(md5=md5(archive), pictures=count)
    monkeypatch.setitem(pictures.SETS, name, about)
    return {f"/{about.archive}": archive}


SERVED = {
    "svhn": serve_svhn,
    "cifar100": serve_cifar100,
    "textures": serve_textures,
    "omniglot": serve_omniglot,
}
