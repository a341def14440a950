"""Whose time is up: people are kept until a day that was agreed on, and then erased."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mien.errors import InputError
from mien.gallery.privacy.erasure import erase

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mien.gallery.home import Home
    from mien.gallery.privacy.receipt import Receipt
    from mien.types import Subject

__all__ = ["due", "expire"]


def due(home: Home, now: float | None = None) -> list[Subject]:
    """Subjects whose `expires` is past, those that are longest overdue first.

    Args:
        home: the gallery's home.
        now: seconds since the epoch; None for now.
    """
    moment = time.time() if now is None else now
    late = [subject for subject in home.subjects() if subject.expires is not None and subject.expires <= moment]
    return sorted(late, key=lambda subject: (subject.expires or 0.0, subject.id))


def expire(
    home: Home,
    now: float | None = None,
    *,
    receipts: Path | None = None,
    progress: Callable[[Receipt], object] | None = None,
) -> list[Receipt]:
    """Erase everybody whose time is up, each as `erase` does; the audit log says "expire".

    Args:
        home: the gallery's home.
        now: seconds since the epoch; None for now.
        receipts: an existing folder for the receipts, named by pseudonym; None for none.
        progress: told of each person.

    Raises:
        UnsupportedError: the home cannot prove an erasure; `due` and `Home.remove` still work there.
        InputError: `receipts` is not a folder.
    """
    if receipts is not None and not receipts.is_dir():
        raise InputError(f"{receipts}: expected an existing folder for the receipts")
    done = []
    for subject in due(home, now):
        path = None
        if receipts is not None:
            pseudonym = getattr(home, "pseudonym_of", lambda name: name)(subject.name)
            path = receipts / f"erased-{pseudonym}.json"
        receipt = erase(home, subject.name, receipt=path, action="expire")
        done.append(receipt)
        if progress is not None:
            progress(receipt)
    return done
