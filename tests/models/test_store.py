"""The store against a local server that misbehaves in every way a download can go wrong."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from mien.errors import CardError, InputError, ModelFileError
from mien.models import catalogue, download
from mien.models.card import ModelCard, ModelFile
from mien.models.store import ModelStore, store_folder

CONTENT = bytes(range(256)) * 8192  # 2 MiB
SHA = hashlib.sha256(CONTENT).hexdigest()
SLEEP = time.sleep  # the tests take the real one away from the downloader
URL = "https://models.example/net.onnx"


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Serves CONTENT under faults; remembers the Range header of every request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges: list[str | None] = []
        self.faults: list[str] = []  # one a request, then none

    def opener(self, request, *, timeout):
        """What urllib does, with the https host replaced by this server."""
        target = request.full_url.replace("https://models.example", f"http://127.0.0.1:{self.server_port}")
        director = urllib.request.build_opener(urllib.request.ProxyHandler({}), download.HttpsRedirects())
        return director.open(urllib.request.Request(target, headers=dict(request.header_items())), timeout=timeout)


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        fault = server.faults.pop(0) if server.faults else ""
        content, start = server.content, 0
        if fault in ("404", "500", "503", "403"):
            self.send_error(int(fault))
            return
        if fault.startswith("redirect "):
            self.send_response(302)
            self.send_header("Location", fault.split()[1])
            self.end_headers()
            return
        if asked and fault != "ignore range":
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            shown = start + 1 if fault == "wrong range" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        if fault == "longer":
            body += b"x" * 10
        if fault not in ("no length", "longer silently"):
            self.send_header("Content-Length", str(len(body)))
        if fault == "longer silently":
            body += b"x" * 10
        self.end_headers()
        if fault == "cut":
            body = body[: len(body) // 2]
        if fault == "slow":
            SLEEP(0.5)
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda _s: None)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path, server):
    return ModelStore(tmp_path / "models", opener=server.opener)


def card(name="net", **file):
    file = {"name": "net.onnx", **file}
    return ModelCard(
        name=name,
        title="T",
        task="detector",
        family="mtcnn",
        licence="MIT",
        commercial_use=True,
        files=(ModelFile(**file),),
    )


NET = card(url=URL, size=len(CONTENT), sha256=SHA)


def only_the_model(store):
    """The files of the model's folder, but for the lock."""
    return sorted(p.name for p in (store.root / "net").iterdir() if not p.name.endswith(".lock"))


def test_pull_then_use(store, server):
    seen = []
    (stored,) = store.pull(NET, progress=lambda done, total: seen.append((done, total)))
    assert stored.path == store.root / "net" / "net.onnx"
    assert stored.path.read_bytes() == CONTENT
    assert (stored.sha256, stored.pinned_by) == (SHA, "card")
    assert store.paths(NET) == (stored.path,)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert only_the_model(store) == ["net.onnx"]
    store.pull(NET)
    assert server.ranges == [None], "what is there is not fetched again"


def test_an_interrupted_download_goes_on_by_itself(store, server):
    server.faults = ["cut"]
    store.pull(NET)
    assert server.ranges == [None, f"bytes={len(CONTENT) // 2}-"]
    assert store.paths(NET)[0].read_bytes() == CONTENT


def test_an_interrupted_download_goes_on_in_another_process(store, server):
    server.faults = ["cut"] * 3
    with pytest.raises(ModelFileError, match=r"connection broke after .* run the same command again"):
        store.pull(NET)
    assert only_the_model(store) == [".net.onnx.part"]
    with pytest.raises(ModelFileError, match="mien models pull net"):
        store.paths(NET)
    ModelStore(store.root, opener=server.opener).pull(NET)
    assert server.ranges[-1] == f"bytes={len(CONTENT) * 7 // 8}-"
    assert only_the_model(store) == ["net.onnx"]


def test_a_server_that_ignores_the_range(store, server):
    server.faults = ["cut", "ignore range"]
    store.pull(NET)
    assert server.ranges == [None, f"bytes={len(CONTENT) // 2}-"], "what it sends is taken from the start at once"
    assert store.paths(NET)[0].read_bytes() == CONTENT


def test_a_server_that_sends_another_range(store, server):
    server.faults = ["cut", "wrong range"]
    store.pull(NET)
    assert server.ranges[-1] is None, "begins anew"
    assert store.paths(NET)[0].read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away(store, server):
    part = store.root / "net" / ".net.onnx.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"not the beginning")
    store.pull(NET)
    assert server.ranges == ["bytes=17-", None]
    assert store.paths(NET)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [0, 5])
def test_a_part_that_is_complete_or_too_long(extra, store, server):
    part = store.root / "net" / ".net.onnx.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT + b"x" * extra)
    store.pull(NET)
    assert server.ranges == ([] if not extra else [None])
    assert store.paths(NET)[0].read_bytes() == CONTENT


def test_a_server_with_a_shorter_file(store, server):
    part = store.root / "net" / ".net.onnx.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:-10])
    server.content = CONTENT[:100]
    with pytest.raises(ModelFileError, match=r"net\.onnx"):
        store.pull(NET)
    assert "net.onnx" not in only_the_model(store)


def test_a_wrong_checksum_installs_nothing(store, server):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(ModelFileError, match=f"expected sha256 {SHA}, found [0-9a-f]{{64}}; nothing was installed"):
        store.pull(NET)
    assert only_the_model(store) == []


@pytest.mark.parametrize("fault", ["longer", "longer silently"])
def test_a_file_longer_than_the_card_says(fault, store, server):
    server.faults = [fault]
    with pytest.raises(ModelFileError, match=f"at most {len(CONTENT)} bytes"):
        store.pull(NET)
    assert only_the_model(store) == []


def test_an_endless_file_is_cut_off_without_a_known_size(store, server, monkeypatch):
    monkeypatch.setattr(download, "UNKNOWN_SIZE_LIMIT", 1000)
    server.faults = ["no length"]
    with pytest.raises(ModelFileError, match="at most 1000 bytes"):
        store.pull(card(url=URL, sha256=SHA))
    assert only_the_model(store) == []


def test_no_announced_length(store, server):
    server.faults = ["no length"]
    store.pull(card(url=URL, sha256=SHA))
    assert store.paths(NET)[0].read_bytes() == CONTENT


@pytest.mark.parametrize(("fault", "tries"), [("404", 1), ("403", 1), ("503", 3)])
def test_refusals(fault, tries, store, server):
    server.faults = [fault] * 9
    with pytest.raises(ModelFileError, match=f"https://models.example/net.onnx.*{fault}"):
        store.pull(NET)
    assert len(server.ranges) == tries


def test_a_passing_fault_is_survived(store, server):
    server.faults = ["503", "500"]
    store.pull(NET)
    assert store.paths(NET)


@pytest.mark.parametrize("target", ["http://127.0.0.1:9/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "/same-host"])
def test_redirects_only_to_https(target, store, server):
    server.faults = [f"redirect {target}"]
    with pytest.raises(ModelFileError, match=r"only https|not allowed|answers 302"):
        store.pull(NET)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1:9/x", "ftp://127.0.0.1/x", "data:,x"])
def test_the_real_opener_knows_https_only(url, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OSError, match="unknown url type"):
        download.https_opener()(urllib.request.Request(url), timeout=1)


def test_a_card_cannot_name_an_insecure_address():
    with pytest.raises(CardError, match="https://"):
        card(url="http://models.example/net.onnx")


def test_an_unreachable_server(tmp_path, monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda _s: None)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with pytest.raises(ModelFileError, match="cannot be reached"):
        ModelStore(tmp_path).pull(card(url="https://127.0.0.1:9/net.onnx", sha256=SHA, size=9))


PULL = """
import sys, urllib.request
from pathlib import Path
from mien.models.card import ModelCard, ModelFile
from mien.models.store import ModelStore

def opener(request, *, timeout):
    target = request.full_url.replace("https://models.example", "http://127.0.0.1:" + sys.argv[2])
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(target, timeout=timeout)

file = ModelFile(name="net.onnx", url="https://models.example/net.onnx", size=int(sys.argv[3]), sha256=sys.argv[4])
card = ModelCard(
    name="net", title="T", task="detector", family="mtcnn", licence="MIT", commercial_use=True, files=(file,)
)
ModelStore(Path(sys.argv[1]), opener=opener).pull(card)
"""


def test_two_processes_fetch_once(store, server):
    server.faults = ["slow"]
    command = [sys.executable, "-c", PULL, str(store.root), str(server.server_port), str(len(CONTENT)), SHA]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert server.ranges == [None], "the second waits, and finds the file"
    assert store.paths(NET)[0].read_bytes() == CONTENT


def test_many_threads_fetch_once(store, server):
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: store.pull(NET), range(8)))
    assert len(set(results)) == 1
    assert server.ranges == [None]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: store.paths(NET), range(32))) == {(store.root / "net" / "net.onnx",)}


def test_waiting_for_another_process_ends(store, server):
    impatient = ModelStore(store.root, opener=server.opener, wait_s=0)
    (store.root / "net").mkdir(parents=True)
    with (
        _download_lock(store.root / "net" / ".net.onnx.lock"),
        pytest.raises(ModelFileError, match="another process"),
    ):
        impatient.pull(NET)


def _download_lock(path):
    from mien.file_lock import file_lock

    return file_lock(path, wait_s=1, busy=TimeoutError())


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "folder"])
def test_damage_after_the_pull_is_noticed_at_load(damage, store):
    (stored,) = store.pull(NET)
    store.paths(NET)
    stored.path.unlink()
    if damage == "flip":
        stored.path.write_bytes(CONTENT[:-1] + b"!")
    elif damage == "cut":
        stored.path.write_bytes(CONTENT[:-1])
    elif damage == "folder":
        stored.path.mkdir()
    with pytest.raises(ModelFileError, match=r"net\.onnx"):
        store.paths(NET)
    assert store.verify(NET)[0].state == ("damaged" if damage in ("flip", "cut") else "missing")


def test_a_damaged_file_is_fetched_again(store):
    (stored,) = store.pull(NET)
    stored.path.write_bytes(b"damaged")
    store.pull(NET)
    assert store.paths(NET)[0].read_bytes() == CONTENT
    assert store.verify(NET)[0].state == "ok"


def test_big_files_are_hashed_once(store, monkeypatch):
    from mien.models import _verified

    store.pull(NET)
    hashed = []
    real = _verified.file_sha256
    monkeypatch.setattr(_verified, "file_sha256", lambda path: hashed.append(path) or real(path))
    store.paths(NET)
    ModelStore(store.root).paths(NET)
    assert len(hashed) == 1
    os.utime(store.root / "net" / "net.onnx", ns=(1, 1))
    ModelStore(store.root).paths(NET)
    assert len(hashed) == 2


@pytest.mark.parametrize("memory", ["", "[]", "null", '{"PATH": 3}', '{"PATH": [1, 2, 3, 4, 5]}', "[" * 100_000])
def test_a_spoilt_memory_only_costs_time(memory, store):
    (stored,) = store.pull(NET)
    text = memory.replace("PATH", str(stored.path).replace("\\", "\\\\"))
    (store.root / ".verified.json").write_text(text)
    assert ModelStore(store.root).paths(NET) == (stored.path,)


def test_a_file_of_the_user(store, tmp_path, server):
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(CONTENT)
    assert store.pull(NET, mine)[0].path.read_bytes() == CONTENT
    assert server.ranges == []
    mine.write_bytes(b"other")
    with pytest.raises(ModelFileError, match=r"mine\.onnx: expected \d+ bytes, found 5"):
        store.pull(card(name="net2", url=URL, size=len(CONTENT), sha256=SHA), mine)


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_file_of_the_user_that_is_none(what, store, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelFileError, match=what):
        store.pull(NET, tmp_path / what)


def test_first_use_is_recorded_then_held_to(store, tmp_path):
    unpinned = card()
    mine, other = tmp_path / "mine.onnx", tmp_path / "other.onnx"
    mine.write_bytes(CONTENT)
    other.write_bytes(b"other")
    with pytest.raises(ModelFileError, match=r"mien models pull net --file FILE"):
        store.pull(unpinned)
    with pytest.raises(ModelFileError, match=r"mien models pull net --file FILE \[--sha256"):
        store.paths(unpinned)
    (stored,) = store.pull(unpinned, mine)
    assert (stored.sha256, stored.pinned_by) == (SHA, "first use")
    assert store.paths(unpinned)[0].read_bytes() == CONTENT
    assert store.pinned(unpinned).files[0].sha256 == SHA
    with pytest.raises(ModelFileError, match="--sha256"):
        store.pull(unpinned, other)
    assert store.paths(unpinned)[0].read_bytes() == CONTENT
    (stored,) = store.pull(unpinned, other, sha256=hashlib.sha256(b"other").hexdigest().upper())
    assert stored.pinned_by == "user"
    assert store.paths(unpinned)[0].read_bytes() == b"other"


def test_a_given_checksum_is_held_to(store, tmp_path):
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(CONTENT)
    with pytest.raises(ModelFileError, match="nothing was installed"):
        store.pull(card(), mine, sha256="b" * 64)
    assert only_the_model(store) == []
    with pytest.raises(ModelFileError, match="its card pins"):
        store.pull(NET, mine, sha256="b" * 64)
    with pytest.raises(CardError, match="sha256"):
        store.pull(card(), mine, sha256="abc")


def test_a_file_without_a_pin_is_not_used(store):
    place = store.root / "net" / "net.onnx"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert store.verify(card())[0].state == "unpinned"
    with pytest.raises(ModelFileError, match="no checksum is known"):
        store.paths(card())


def test_a_file_that_stays_where_it_is(store, tmp_path):
    mine = tmp_path / "mine.onnx"
    local = card(path=mine)
    with pytest.raises(ModelFileError, match=r"mine\.onnx"):
        store.pull(local)
    mine.write_bytes(CONTENT)
    (stored,) = store.pull(local)
    assert stored.path == mine
    assert store.paths(local) == (mine,)
    mine.write_bytes(b"other")
    with pytest.raises(ModelFileError, match="expected sha256"):
        store.paths(local)


def test_installed_packages_need_no_pull(tmp_path):
    store = ModelStore(tmp_path / "never")
    for name in ("mtcnn", "dlib-resnet29", "dlib-trees5"):
        found = catalogue.get(name)
        assert [p.name for p in store.paths(found)] == [f.name for f in found.files]
        assert {s.state for s in store.verify(found)} == {"ok"}
        assert [s.path for s in store.pull(found)] == list(store.paths(found))
    assert not store.root.exists(), "looking leaves no trace"


def test_files_can_be_given_to_models_of_one_file_only(store, tmp_path):
    with pytest.raises(InputError, match="several"):
        store.pull(catalogue.get("mtcnn"), tmp_path / "x")
    with pytest.raises(InputError, match="installed package"):
        store.pull(catalogue.get("dlib-trees5"), tmp_path / "x")


def test_a_package_file_of_another_checksum(tmp_path):
    wrong = card(name="net", packaged="mtcnn-pnet", sha256="c" * 64)
    with pytest.raises(ModelFileError, match=r"expected sha256 cccc.*pip install .*mtcnn==1\.0\.0"):
        ModelStore(tmp_path).paths(wrong)
    assert ModelStore(tmp_path).verify(wrong)[0].state == "damaged"


def test_a_folder_that_cannot_be_made(tmp_path, server):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelFileError, match="file"):
        ModelStore(tmp_path / "file" / "models", opener=server.opener).pull(NET)


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MIEN_MODELS", str(tmp_path / "m"))
    assert store_folder() == ModelStore().root == tmp_path / "m"
    monkeypatch.delenv("MIEN_MODELS")
    assert store_folder().parts[-2:] == ("mien", "models")


def test_pins_are_plain_json(store, tmp_path):
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(CONTENT)
    store.pull(card(), mine)
    pins = json.loads((store.root / "net" / ".pins.json").read_text())
    assert pins == {"net.onnx": {"sha256": SHA, "by": "first use"}}
