"""Which code makes a network: versions and commits, noted when a run starts and each time that it goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from mien.train.git_commit import checkout_commit, checkout_of, is_commit

__all__ = ["CodeRecord", "code_in_words", "code_now", "mien_commit"]

_MOST: Final = 200  # pieces that are kept; beyond that the first ones and the last
_VERSION: Final = re.compile(r"[0-9A-Za-z.+!_-]{1,40}")
_MOST_JSON: Final = 1 << 16
_MOST_STEPS: Final = 10**12


def mien_commit() -> str | None:
    """The commit of mien's own code: of the checkout that it runs from, or the one that pip installed; else None."""
    import mien

    if (checkout := _own_checkout()) is not None:
        return checkout_commit(checkout)
    package = Path(mien.__file__).resolve().parent
    with suppress(metadata.PackageNotFoundError, OSError, ValueError, TypeError, LookupError, RecursionError):
        installed = metadata.distribution("mien")
        if Path(str(installed.locate_file("mien"))).resolve() != package:
            return None
        text = installed.read_text("direct_url.json") or "{}"
        commit = json.loads(text)["vcs_info"]["commit_id"] if len(text) <= _MOST_JSON else None
        return commit if is_commit(commit) else None
    return None


def _own_checkout() -> Path | None:
    """The checkout that mien runs from; not any folder above, which may be a project with mien in it."""
    import mien

    package = Path(mien.__file__).resolve().parent
    if package.parent.name != "src" or not (package.parents[1] / ".git").exists():
        return None
    return package.parents[1]


def code_now(folder: Path | None = None) -> dict[str, str]:
    """What runs now: ``mien`` (version), and where known ``commit`` of mien and ``project``, of the user's checkout.

    Args:
        folder: in whose checkout the user works; None for the working folder.
    """
    import mien

    found = {"mien": str(mien.__version__)}
    if (commit := mien_commit()) is not None:
        found["commit"] = commit
    with suppress(OSError):  # the folder one stands in may be gone
        root = checkout_of(folder if folder is not None else Path.cwd())
        if root is not None and root != _own_checkout() and (project := checkout_commit(root)) is not None:
            found["project"] = project
    return found


class CodeRecord:
    """A run's record of the code that made it, piece by piece. Belongs to one thread.

    What runs now is looked up when this is made, not later: the files may be changed while the run goes on.

    >>> record = CodeRecord({"mien": "1.1"})
    >>> record.go_on([{"from_step": 1, "mien": "1.0"}], 40)
    >>> record.at(40), record.at(41)[1:]
    ([{'from_step': 1, 'mien': '1.0'}], [{'from_step': 41, 'mien': '1.1'}])

    Args:
        now: what runs; None looks it up ([code_now][]).
    """

    def __init__(self, now: Mapping[str, str] | None = None) -> None:
        self._now = dict(code_now() if now is None else now)
        self._past: list[dict[str, Any]] = []
        self._from = 0

    def go_on(self, record: object, step: int) -> None:
        """Take up a checkpoint's record; so many steps were taken. One of an earlier mien has none."""
        kept = record if isinstance(record, list) else []
        self._past, self._from = [dict(one) for one in kept if isinstance(one, dict)], step

    def at(self, step: int) -> list[dict[str, Any]]:
        """The record after so many steps: for each piece its first step, ``from_step``, and its code.

        The same code going on adds no piece, and neither does a start that took no step.
        """
        last = {key: value for key, value in self._past[-1].items() if key != "from_step"} if self._past else None
        if last == self._now or 0 < step == self._from:
            return list(self._past)
        return [*self._past[: _MOST - 1], {"from_step": self._from + 1, **self._now}]


def code_in_words(record: object) -> list[str]:
    """A kept record as a card tells it, a line a piece; what is none of it is passed over, for files may be anybody's.

    >>> code_in_words([{"from_step": 1, "mien": "1.0", "commit": "a" * 40}])
    ['mien 1.0, commit aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa']
    >>> code_in_words([{"from_step": 1, "mien": "1.0"}, {"from_step": 9, "mien": "1.1"}])
    ['from step 1: mien 1.0', 'from step 9: mien 1.1']
    """
    pieces: list[tuple[int, str]] = []
    for one in record if isinstance(record, list) else []:
        values = one if isinstance(one, dict) else {}
        version, step = values.get("mien"), values.get("from_step")
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            continue
        if not isinstance(step, int) or not 0 < step < _MOST_STEPS:
            continue
        text = f"mien {version}"
        if is_commit(commit := values.get("commit")):
            text += f", commit {commit}"
        if is_commit(commit := values.get("project")):
            text += f"; started in a checkout at commit {commit}"
        pieces.append((step, text))
    if len(pieces) == 1 and pieces[0][0] == 1:
        return [pieces[0][1]]
    return [f"from step {step:,}: {text}" for step, text in pieces]
