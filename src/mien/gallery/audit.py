"""The chain of the audit log: each entry's digest covers the one before, so that the past cannot be changed unseen.

The digest has no key: whoever can write the gallery can also compute a whole new chain. What stops that is an anchor,
the head of the chain noted where that person cannot write (a ticket, a letter, another machine); `verify_chain` then
says whether the noted head is still part of the chain. An anchor is also the only way to see a tail cut off.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mien.gallery.home import AuditEntry

__all__ = ["GENESIS", "Chain", "digest", "verify_chain"]

GENESIS: Final = "0" * 64
"""The digest before the first entry."""

_FIELDS: Final = struct.Struct(">32sqdq")
_HEX: Final = re.compile("[0-9a-f]{64}")


def digest(  # noqa: PLR0917 - the fields of an entry, in their order
    previous: str, seq: int, time: float, action: str, pseudonym: str | None, count: int
) -> str:
    """Hex SHA-256 over an entry and the digest of the entry before it.

    The bytes that are hashed: ``mien.audit.1``; the digest before (32 bytes), seq (int64), time (float64) and count
    (int64), big-endian; then the action and, where there is one, the pseudonym, each as UTF-8 behind its length
    (uint32). So no two different entries are the same bytes.

    Args:
        previous: digest of the entry before; `GENESIS` for the first.
        seq: 1, 2, 3, ...
        time: seconds since the epoch.
        action: what was done.
        pseudonym: of the subject, or None where the whole gallery is meant.
        count: faces concerned.

    Raises:
        ValueError: `previous` is no digest, a number does not fit, or a text is not Unicode.

    >>> digest(GENESIS, 1, 0.0, "enrol", "ab", 1)[:16]
    '057ac894eae3faef'
    """
    if not _HEX.fullmatch(previous):
        raise ValueError(f"previous: expected 64 lower-case hex digits, got {previous!r:.80}")
    if not math.isfinite(time):
        raise ValueError(f"time: expected a finite number of seconds, got {time}")
    try:
        fields = _FIELDS.pack(bytes.fromhex(previous), seq, time + 0.0, count)  # + 0.0: there is one zero, not two
    except struct.error as error:
        raise ValueError(f"seq {seq}, count {count}: {error}") from error
    texts = (action,) if pseudonym is None else (action, pseudonym)
    encoded = [text.encode() for text in texts]
    return hashlib.sha256(
        b"".join([b"mien.audit.1", fields, *(struct.pack(">I", len(part)) + part for part in encoded)])
    ).hexdigest()


@dataclass(frozen=True, slots=True)
class Chain:
    """What a look at the audit log found.

    Attributes:
        entries: how many entries are in order, from the first on.
        head: digest of the last of them; note it elsewhere, and `verify_chain` can be asked for it later.
        broken: seq of the first entry that does not follow from those before it, or None.
        reason: why not; empty where nothing is broken.
        anchored: seq of the entry that the asked anchor is; None where no anchor was given or it is not in the chain.
    """

    entries: int
    head: str
    broken: int | None = None
    reason: str = ""
    anchored: int | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.reason


def verify_chain(entries: Iterable[AuditEntry], *, anchor: str | None = None) -> Chain:
    """Check that an audit log is one unbroken chain.

    Found without an anchor: an entry that was changed, dropped, inserted or put in another place, unless all digests
    behind it were computed anew. Found with an anchor only: a chain that was computed anew, and a tail cut off.

    Args:
        entries: the log, oldest first; read once, not kept.
        anchor: a head that was noted before; it must be in the chain.
    """
    head, count, anchored = GENESIS, 0, 0 if anchor == GENESIS else None
    for entry in entries:
        reason = _wrong(entry, head, count + 1)
        if reason:
            return Chain(count, head, entry.seq, reason, anchored)
        head, count = entry.digest, count + 1
        if head == anchor:
            anchored = count
    if anchor is not None and anchored is None:
        reason = f"the anchor {anchor:.16} is not in the chain: its end was cut off, or it was written anew"
        return Chain(count, head, None, reason)
    return Chain(count, head, anchored=anchored)


def _wrong(entry: AuditEntry, previous: str, expected: int) -> str:
    if entry.seq != expected:
        return f"entry {entry.seq} stands where entry {expected} belongs: entries were dropped, inserted or moved"
    try:
        right = digest(previous, entry.seq, entry.time, entry.action, entry.pseudonym, entry.count)
    except ValueError as error:
        return f"entry {entry.seq} cannot be an entry ({error})"
    if right != entry.digest:
        return f"entry {entry.seq} or what stands before it was changed: its digest does not follow"
    return ""
