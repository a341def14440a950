"""Master keys, the key file and what is sealed with it: round trips, refusals, other processes, kills, wear."""

from __future__ import annotations

import base64
import multiprocessing
import os
import stat
import subprocess
import sys
import threading

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import GalleryError, GalleryFileError, InputError, MissingExtraError, NotFoundError
from mien.gallery.privacy import key_layout
from mien.gallery.privacy.key_file import key_states
from mien.gallery.privacy.key_layout import HEADER, SLOT
from mien.gallery.privacy.master import MasterKey, master_key, new_master_key
from mien.gallery.privacy.sealer import EncryptedSealer
from mien.gallery.sealing import Sealer

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

MASTER = MasterKey("test:a", bytes(range(32)))
OTHER = MasterKey("test:b", bytes(range(32, 64)))


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "people.db.keys"


@pytest.fixture
def sealer(keys):
    sealer = EncryptedSealer(keys, MASTER, create=True)
    yield sealer
    sealer.close()


# Master keys


@pytest.mark.parametrize(
    "written",
    [
        MASTER.secret,
        MASTER.secret.hex().encode(),
        MASTER.secret.hex().upper().encode() + b"\n",
        base64.b64encode(MASTER.secret) + b"\r\n",
        base64.urlsafe_b64encode(MASTER.secret).rstrip(b"="),
    ],
)
def test_a_key_file_in_each_form(tmp_path, written):
    path = tmp_path / "master"
    path.write_bytes(written)
    path.chmod(0o600)
    assert master_key(f"file:{path}").secret == MASTER.secret


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_key_file_that_others_may_read_is_refused_with_the_fix(tmp_path, mode):
    path = tmp_path / "master"
    path.write_bytes(MASTER.secret)
    path.chmod(mode)
    with pytest.raises(GalleryError, match="chmod 600"):
        master_key(f"file:{path}")


def test_a_new_key_file_is_private_and_never_written_over(tmp_path):
    made = new_master_key(f"file:{tmp_path / 'master'}")
    assert master_key(f"file:{tmp_path / 'master'}") == made
    assert stat.S_IMODE((tmp_path / "master").stat().st_mode) == 0o600
    with pytest.raises(GalleryError, match="never written over"):
        new_master_key(f"file:{tmp_path / 'master'}")
    assert new_master_key(f"file:{tmp_path / 'other'}").secret != made.secret
    with pytest.raises(GalleryError, match="cannot be written"):
        new_master_key(f"file:{tmp_path / 'no' / 'folder'}")


def test_keys_from_the_environment(monkeypatch):
    monkeypatch.setenv("MIEN_TEST_KEY", MASTER.secret.hex())
    assert master_key("env:MIEN_TEST_KEY").secret == MASTER.secret
    monkeypatch.setenv("MIEN_TEST_KEY", "correct horse battery")
    assert master_key("passphrase:MIEN_TEST_KEY").passphrase
    with pytest.raises(InputError, match="32 bytes"):
        master_key("env:MIEN_TEST_KEY")
    monkeypatch.setenv("MIEN_TEST_KEY", "short")
    with pytest.raises(InputError, match="12 characters"):
        master_key("passphrase:MIEN_TEST_KEY")
    with pytest.raises(InputError, match="cannot set"):
        new_master_key("env:MIEN_TEST_KEY")


@pytest.mark.parametrize("source", ["", "file:", MASTER.secret.hex(), "env:a b", "env:" + "=" * 44, "http://key"])
def test_sources_that_are_none_are_refused_without_repeating_a_key(source):
    with pytest.raises(InputError) as caught:
        master_key(source)
    assert MASTER.secret.hex() not in str(caught.value)


@pytest.mark.parametrize("source", ["file:/no/such/key", "env:MIEN_NO_SUCH_VARIABLE"])
def test_missing_keys(source):
    with pytest.raises(NotFoundError):
        master_key(source)


def test_a_key_that_is_not_random_is_refused():
    with pytest.raises(InputError, match="not random"):
        MasterKey("x", bytes(32))
    with pytest.raises(InputError, match="31"):
        MasterKey("x", bytes(31))
    assert MASTER.secret.hex() not in repr(MASTER)
    assert str(MASTER.secret) not in repr(MASTER)


def test_the_operating_systems_keyring(monkeypatch):
    keyring = pytest.importorskip("keyring")
    backend = pytest.importorskip("keyring.backend")
    kept = {}

    class Memory(backend.KeyringBackend):
        priority = 1

        def get_password(self, service, username):
            return kept.get((service, username))

        def set_password(self, service, username, password):
            kept[service, username] = password

    class Locked(Memory):
        def get_password(self, service, username):
            raise keyring.errors.KeyringLocked("locked")

    before = keyring.get_keyring()
    try:
        keyring.set_keyring(Memory())
        with pytest.raises(NotFoundError):
            master_key("keyring:mien/people")
        made = new_master_key("keyring:mien/people")
        assert master_key("keyring:mien/people") == made
        with pytest.raises(GalleryError, match="already"):
            new_master_key("keyring:mien/people")
        with pytest.raises(InputError, match="SERVICE/USER"):
            master_key("keyring:mien")
        keyring.set_keyring(Locked())
        with pytest.raises(GalleryError, match="locked"):
            master_key("keyring:mien/people")
    finally:
        keyring.set_keyring(before)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MissingExtraError, match="keyring"):
        master_key("keyring:mien/people")


def test_without_cryptography_the_error_says_what_to_install(keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(MissingExtraError, match=r"mien\[crypto\]"):
        EncryptedSealer(keys, MASTER, create=True)
    assert not keys.exists()


# Sealing


def test_derivation_is_rfc_5869():
    oracle = HKDF(hashes.SHA256(), 32, salt=b"salt", info=b"purpose").derive(b"secret")
    assert key_layout.derived(b"secret", b"salt", "purpose") == oracle


@settings(deadline=None, max_examples=200)
@given(
    data=st.binary(max_size=300),
    context=st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    who=st.sampled_from([None, "a", "b"]),
)
def test_sealed_fields_open_to_themselves_and_to_nothing_else(tmp_path_factory, data, context, who):
    sealer = _shared(tmp_path_factory)
    sealed = sealer.seal(who, data, context)
    assert sealer.open(who, sealed, context) == data
    assert sealer.seal(who, data, context) != sealed
    assert len(sealed) == len(data) + 29
    if len(data) >= 4:
        assert data not in sealed
    for other in {None, "a", "b"} - {who}:
        with pytest.raises(GalleryFileError):
            sealer.open(other, sealed, context)
    with pytest.raises(GalleryFileError):
        sealer.open(who, sealed, context + "x")


_SHARED = {}


def _shared(factory):
    if not _SHARED:
        _SHARED["sealer"] = EncryptedSealer(factory.mktemp("keys") / "keys", MASTER, create=True)
        _SHARED["sealer"].new_subject("a", "b")
    return _SHARED["sealer"]


def test_every_changed_byte_is_noticed(sealer):
    sealer.new_subject("a")
    sealed = sealer.seal("a", b"personal", "subjects.name/1")
    for i in range(len(sealed)):
        changed = bytearray(sealed)
        changed[i] ^= 1
        with pytest.raises(GalleryFileError, match=r"subjects\.name/1"):
            sealer.open("a", bytes(changed), "subjects.name/1")
    for short in (b"", sealed[:12], sealed[:-1], sealed + b"x"):
        with pytest.raises(GalleryFileError):
            sealer.open("a", short, "subjects.name/1")


def test_nonces_never_repeat(sealer):
    sealer.new_subject("a")
    nonces = [sealer.seal("a", b"", "x")[1:13] for _ in range(20_000)]
    assert len(set(nonces)) == len(nonces)


def test_a_large_field_and_one_that_is_too_large(sealer):
    large = os.urandom(1 << 22)
    assert sealer.open(None, sealer.seal(None, large, "snapshot"), "snapshot") == large

    class Huge(bytes):
        def __len__(self):
            return 2**31

    with pytest.raises(GalleryError, match="too many"):
        sealer.seal(None, Huge(), "snapshot")


def test_lookup_is_stable_and_belongs_to_the_key_file(tmp_path):
    one = EncryptedSealer(tmp_path / "1", MASTER, create=True)
    two = EncryptedSealer(tmp_path / "2", MASTER, create=True)
    assert one.lookup("面") == one.lookup("面")
    assert len({one.lookup("面"), two.lookup("面"), one.lookup("面 "), one.lookup("")}) == 4
    assert one.lookup("\udcff")
    one.close()
    again = EncryptedSealer(tmp_path / "1", MASTER)
    assert isinstance(again.lookup("x"), bytes)
    assert again.lookup("面") == EncryptedSealer(tmp_path / "1", MASTER, readonly=True).lookup("面")


def test_it_is_a_sealer(sealer):
    plug: Sealer = sealer
    assert plug.encrypted is True
    assert sealer.destroyed(["a"]) == set()


# The key file


def test_the_file_is_private_and_holds_no_key_in_clear(keys, sealer):
    sealer.new_subject("a")
    content = keys.read_bytes()
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    for secret in (MASTER.secret, sealer.keys.gallery_key, sealer.keys.key("a")):
        assert secret not in content
    assert len(content) == HEADER + SLOT
    assert [p.name for p in keys.parent.iterdir()] == [keys.name]


def test_a_wrong_master_key_is_named_and_never_gives_a_wrong_text(keys, sealer):
    for wrong in (OTHER, MasterKey("test:p", b"correct horse battery", passphrase=True)):
        with pytest.raises(GalleryFileError, match=f"{wrong.source} is not the one"):
            EncryptedSealer(keys, wrong)
    with pytest.raises(NotFoundError, match="key file is missing"):
        EncryptedSealer(keys.with_name("none"), MASTER)


def test_a_passphrase_is_stretched(keys, monkeypatch):
    monkeypatch.setattr(key_layout, "_SCRYPT", (10, 8, 1))  # 1 MiB instead of 128
    master = MasterKey("test:p", b"correct horse battery", passphrase=True)
    EncryptedSealer(keys, master, create=True).close()
    EncryptedSealer(keys, master).close()
    with pytest.raises(GalleryFileError, match="not the one"):
        EncryptedSealer(keys, MasterKey("test:q", b"correct horse batterz", passphrase=True))
    with pytest.raises(GalleryFileError, match="not the one"):
        EncryptedSealer(keys, MASTER)


@pytest.mark.parametrize("at", [0, 9, 20, 40, 100, 150, 200, 300, HEADER - 1])
def test_a_damaged_head(keys, sealer, at):
    content = bytearray(keys.read_bytes())
    content[at] ^= 1
    keys.write_bytes(content)
    with pytest.raises(GalleryFileError, match=r"restore it|not a key file"):
        EncryptedSealer(keys, MASTER)


def test_a_head_with_a_right_checksum_that_was_tampered_with(keys, sealer):
    import zlib

    for at, value in ((12, b"\x1f\0\0\0" * 3), (12, b"\x0f\0\0\0\x01\0\0\0\x01\0\0\0"), (24, b"x" * 16), (100, b"y")):
        content = bytearray(keys.read_bytes())
        content[at : at + len(value)] = value
        content[HEADER - 4 : HEADER] = zlib.crc32(content[: HEADER - 4]).to_bytes(4)
        forged = keys.with_name("forged")
        forged.write_bytes(content)
        with pytest.raises(GalleryFileError):
            EncryptedSealer(forged, MASTER)


@pytest.mark.parametrize("content", [b"", b"mienkeys", b"SQLite format 3\0" * 64])
def test_what_is_no_key_file(keys, content):
    keys.write_bytes(content)
    with pytest.raises(GalleryFileError):
        EncryptedSealer(keys, MASTER, create=True)
    assert keys.read_bytes() == content


def test_keys_outlive_the_process_and_exchanged_slots_are_refused(keys, sealer):
    sealer.new_subject("a", "b")
    sealed = sealer.seal("a", b"personal", "x")
    sealer.close()
    again = EncryptedSealer(keys, MASTER)
    assert again.open("a", sealed, "x") == b"personal"
    again.close()
    content = bytearray(keys.read_bytes())
    one, two = content[HEADER : HEADER + SLOT], content[HEADER + SLOT :]
    # b's wrapped key under a's name, with a right checksum
    forged = key_layout.live_slot("a", bytes(two[64:76]), bytes(two[76:124]))
    keys.write_bytes(content[:HEADER] + forged + two)
    swapped = EncryptedSealer(keys, MASTER)
    with pytest.raises(GalleryFileError, match="changed"):
        swapped.open("a", sealed, "x")
    assert one != forged


def test_destroyed_is_gone_from_the_file_and_stays_so(keys, sealer):
    sealer.new_subject("a", "b")
    sealed = sealer.seal("a", b"personal", "x")
    wrapped = keys.read_bytes()[HEADER + 64 : HEADER + 124]  # nonce and wrapped key of a
    backup = keys.read_bytes()
    assert key_states(keys) == {"a": True, "b": True}
    sealer.destroy("a", "nobody")
    assert not any(wrapped[i : i + 16] in keys.read_bytes() for i in range(0, 45, 4))
    assert key_states(keys) == {"a": False, "b": True, "nobody": False}
    assert sealer.destroyed(["a", "b", "c"]) == {"a"}
    for _ in range(2):
        with pytest.raises(GalleryFileError, match="destroyed"):
            sealer.open("a", sealed, "x")
        with pytest.raises(GalleryError, match="destroyed"):
            sealer.new_subject("a")
        with pytest.raises(GalleryFileError, match="destroyed"):
            sealer.seal("a", b"", "x")
        sealer.destroy("a")
        sealer = EncryptedSealer(keys, MASTER)
    # what the documentation says of a key file's backup: it opens again what was erased
    keys.with_name("backup").write_bytes(backup)
    assert EncryptedSealer(keys.with_name("backup"), MASTER).open("a", sealed, "x") == b"personal"


def test_another_process_sees_new_and_destroyed_keys_at_once(keys, sealer):
    beside = EncryptedSealer(keys, MASTER)
    sealer.new_subject("a")
    sealed = beside.seal("a", b"personal", "x")
    assert sealer.open("a", sealed, "x") == b"personal"
    sealer.destroy("a")
    with pytest.raises(GalleryFileError, match="destroyed"):
        beside.open("a", sealed, "x")
    with pytest.raises(GalleryFileError, match="no key"):
        beside.open("never", sealed, "x")
    beside.new_subject("b")
    sealer.new_subject("b", "c")
    assert beside.open("b", sealer.seal("b", b"1", "x"), "x") == b"1"
    assert len(beside.keys) == 2 or beside.keys.live("c")


def test_readonly_and_closed(keys, sealer):
    sealer.new_subject("a")
    sealed = sealer.seal("a", b"1", "x")
    reader = EncryptedSealer(keys, MASTER, readonly=True)
    assert reader.open("a", sealed, "x") == b"1"
    for refused in (reader.new_subject, reader.destroy):
        with pytest.raises(GalleryError, match="readonly"):
            refused("b")
    with pytest.raises(GalleryError, match="readonly"):
        reader.rekey(OTHER)
    reader.close()
    reader.close()
    for use in (lambda: reader.open("a", sealed, "x"), lambda: reader.lookup("x"), lambda: reader.seal(None, b"", "x")):
        with pytest.raises(GalleryError, match="closed"):
            use()


def test_a_torn_tail_is_written_over_and_a_bad_slot_costs_only_its_subject(keys, sealer):
    sealer.new_subject("a", "b", "c")
    sealed = {name: sealer.seal(name, name.encode(), "x") for name in "abc"}
    content = bytearray(keys.read_bytes())
    content[HEADER + SLOT + 70] ^= 1  # b's
    keys.write_bytes(content + b"LIVE torn by a power cut")
    again = EncryptedSealer(keys, MASTER)
    again.new_subject("d")
    assert keys.stat().st_size == HEADER + 4 * SLOT
    assert {name: again.open(name, sealed[name], "x") for name in "ac"} == {"a": b"a", "c": b"c"}
    with pytest.raises(GalleryFileError, match="restore the key file"):
        again.open("b", sealed["b"], "x")
    assert EncryptedSealer(keys, MASTER).keys.live("d")


def test_rekey(keys, sealer):
    sealer.new_subject("a", "b")
    sealer.destroy("b")
    sealed, lookup = sealer.seal("a", b"personal", "x"), sealer.lookup("name")
    beside = EncryptedSealer(keys, MASTER)
    assert beside.open("a", sealed, "x") == b"personal"
    old = keys.read_bytes()
    kept_open = keys.open("rb")
    sealer.rekey(OTHER)
    assert kept_open.read() == bytes(len(old))  # the old file was overwritten before it was let go
    kept_open.close()
    assert sealer.open("a", sealed, "x") == b"personal"
    sealer.new_subject("c")
    assert [p.name for p in keys.parent.iterdir()] == [keys.name]
    with pytest.raises(GalleryFileError, match="not the one"):
        EncryptedSealer(keys, MASTER)
    again = EncryptedSealer(keys, OTHER)
    assert (again.open("a", sealed, "x"), again.lookup("name")) == (b"personal", lookup)
    assert again.destroyed("abc") == {"b"}
    for use in (lambda: beside.open("a", sealed, "x"), lambda: beside.new_subject("z"), lambda: beside.destroy("a")):
        with pytest.raises(GalleryFileError, match="master key was changed"):
            use()
    assert not any(old[HEADER + 64 + i : HEADER + 80 + i] in keys.read_bytes() for i in range(0, 45, 4))


@pytest.mark.skipif(not hasattr(os, "link"), reason="needs hard links")
def test_what_a_killed_rekey_leaves_is_wiped_and_never_the_live_file(keys, sealer):
    sealer.new_subject("a")
    sealed = sealer.seal("a", b"personal", "x")
    new, old = keys.with_name(keys.name + ".new"), keys.with_name(keys.name + ".old")
    new.write_bytes(b"wrapped keys")
    os.link(keys, old)  # killed between the link and the replacement
    again = EncryptedSealer(keys, MASTER)
    assert not new.exists()
    assert not old.exists()
    assert again.open("a", sealed, "x") == b"personal"


def test_a_full_disk_leaves_the_file_as_it_was(keys, sealer):
    resource = pytest.importorskip("resource")
    sealer.new_subject("a")
    before = keys.read_bytes()
    script = (
        "import resource, signal, sys; from mien.errors import GalleryFileError\n"
        "from mien.gallery.privacy.master import MasterKey\n"
        "from mien.gallery.privacy.sealer import EncryptedSealer\n"
        "s = EncryptedSealer(sys.argv[1], MasterKey('k', bytes(range(32))))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + SLOT + 10},) * 2)\n"
        "try: s.new_subject('b', 'c')\n"
        "except GalleryFileError as error: print(error)\n"
        "s.new_subject('d')"
    )
    assert resource
    run = subprocess.run([sys.executable, "-c", script, keys], capture_output=True, text=True, check=True)
    assert "too large" in run.stdout
    assert keys.read_bytes()[: len(before)] == before
    assert key_states(keys) == {"a": True, "d": True}


def test_threads_and_processes_at_once(keys, sealer):
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        others = [pool.apply_async(_work, (str(keys), name, 30)) for name in ("p", "q")]
        failed = []

        def thread(name):
            try:
                _work(sealer, name, 30)
            except BaseException as error:  # noqa: BLE001
                failed.append(error)

        threads = [threading.Thread(target=thread, args=(f"t{i}",)) for i in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for other in others:
            other.get(60)
    assert not failed
    states = key_states(keys)
    assert len(states) == 5 * 30
    assert {name for name, live in states.items() if not live} == {n for n in states if int(n.split("-")[1]) % 3 == 0}


def _work(sealer, name, count):
    if isinstance(sealer, str):
        sealer = EncryptedSealer(sealer, MASTER)
    for i in range(count):
        who = f"{name}-{i}"
        sealer.new_subject(who)
        assert sealer.open(who, sealer.seal(who, who.encode(), "x"), "x") == who.encode()
        if i % 3 == 0:
            sealer.destroy(who)
