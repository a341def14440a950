"""The audit log's chain: what is changed, dropped, inserted, moved or cut off, and what of that can be seen."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.gallery.audit import GENESIS, digest, verify_chain
from mien.gallery.home import AuditEntry


def chain(length, head=GENESIS, start=1):
    entries = []
    for seq in range(start, start + length):
        action, who = ("enrol", "remove", "migrate")[seq % 3], None if seq % 3 == 2 else f"{seq:032x}"
        head = digest(head, seq, 1.5e9 + seq, action, who, seq % 5)
        entries.append(AuditEntry(seq, 1.5e9 + seq, action, who, seq % 5, head))
    return entries


def test_the_digest_is_the_documented_bytes():
    previous = hashlib.sha256(b"before").hexdigest()
    plain = b"mien.audit.1" + bytes.fromhex(previous) + (7).to_bytes(8, "big") + struct.pack(">d", 12.25)
    plain += (3).to_bytes(8, "big") + b"\0\0\0\5" + b"enrol" + b"\0\0\0\4" + "面x".encode()
    assert digest(previous, 7, 12.25, "enrol", "面x", 3) == hashlib.sha256(plain).hexdigest()
    assert digest(previous, 7, 12, "enrol", "", 3) != digest(previous, 7, 12, "enrol", None, 3)


fields = st.tuples(
    st.integers(1, 2**62),
    st.floats(0, 1e12),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    st.integers(0, 2**40),
)


@given(fields, fields)
def test_different_entries_have_different_digests(one, other):
    assert (digest(GENESIS, *one) == digest(GENESIS, *other)) == (one == other)


@pytest.mark.parametrize(
    "bad",
    [
        {"previous": ""},
        {"previous": "A" * 64},
        {"previous": "0" * 63},
        {"time": float("nan")},
        {"time": float("inf")},
        {"seq": 2**63},
        {"count": -(2**63) - 1},
        {"action": "\ud800"},
    ],
)
def test_what_cannot_be_an_entry_is_refused(bad):
    entry = {"previous": GENESIS, "seq": 1, "time": 1.0, "action": "enrol", "pseudonym": None, "count": 1, **bad}
    with pytest.raises(ValueError):  # noqa: PT011 - several messages
        digest(**entry)


def test_a_whole_chain():
    entries = chain(20)
    found = verify_chain(iter(entries))
    assert (found.whole, found.entries, found.head, found.broken) == (True, 20, entries[-1].digest, None)
    assert verify_chain([]).head == GENESIS
    assert verify_chain([]).whole


@pytest.mark.parametrize(
    "change",
    [
        {"time": 1.0},
        {"action": "erase"},
        {"pseudonym": None},
        {"pseudonym": "ff"},
        {"count": 99},
        {"digest": GENESIS},
        {"time": float("nan")},
    ],
)
@pytest.mark.parametrize("at", [0, 9, 19])
def test_a_changed_entry_is_named(change, at):
    entries = chain(20)
    if entries[at].pseudonym is None and change == {"pseudonym": None}:
        change = {"pseudonym": "00"}
    entries[at] = replace(entries[at], **change)
    found = verify_chain(entries)
    assert (found.whole, found.broken, found.entries) == (False, at + 1, at)
    assert str(at + 1) in found.reason


def test_dropped_inserted_moved():
    entries = chain(20)
    assert verify_chain(entries[:4] + entries[5:]).broken == 6
    assert verify_chain(entries[1:]).broken == 2
    renumbered = [*entries[:4], *(replace(e, seq=e.seq - 1) for e in entries[5:])]
    assert verify_chain(renumbered).broken == 5
    assert verify_chain([*entries[:4], entries[3], *entries[4:]]).broken == 4
    swapped = [*entries[:4], entries[5], entries[4], *entries[6:]]
    assert verify_chain(swapped).broken == 6


def test_only_an_anchor_shows_a_tail_cut_off_and_a_chain_written_anew():
    entries = chain(20)
    anchor = entries[14].digest
    assert verify_chain(entries, anchor=anchor).anchored == 15
    assert verify_chain(entries, anchor=GENESIS).anchored == 0
    cut = entries[:10]
    assert verify_chain(cut).whole  # cannot be seen
    found = verify_chain(cut, anchor=anchor)
    assert not found.whole
    assert found.broken is None
    assert "anchor" in found.reason
    anew = entries[:4] + chain(15, entries[3].digest, 5)
    assert verify_chain(anew, anchor=entries[3].digest).whole
    forged = [*entries[:4]]
    for entry in entries[5:]:
        seq = len(forged) + 1
        head = digest(forged[-1].digest, seq, entry.time, entry.action, entry.pseudonym, entry.count)
        forged.append(replace(entry, seq=seq, digest=head))
    assert verify_chain(forged).whole  # nor this
    assert not verify_chain(forged, anchor=anchor).whole
