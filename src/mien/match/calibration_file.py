"""Calibrations as TOML files: checked on the way in, written whole or not at all.

format = 2
model = "dlib-resnet29"          # with preset and sha256: the ModelIdentity it belongs to
preset = "fast"
sha256 = "..."
provisional = false
made_on = "my photos"
date = "2026-01-31"
fingerprint = "..."              # SHA-256 over the sorted content hashes of the pictures used
subjects = 500
pictures = 2000
genuine = { n = 1000, mean = 0.95, sd = 0.02 }
impostor = { n = 100000, mean = 0.70, sd = 0.06 }
[[table]]                        # from the loosest to the strictest
fmr = 1e-3                       # the share of impostor pairs that score >= threshold does not exceed fmr
threshold = 0.93
tar = 0.97                       # the share of genuine pairs that score >= threshold
supported = true                 # enough false matches to believe this row
low = 0.92                       # 95 % interval of the threshold over people, where it was measured
high = 0.94
[fpir]                           # from a stranger's highest score with a sampled gallery
faces_per_person = 1
draws = 300
[[fpir.sizes]]
gallery_size = 10
comparisons = 9.1
table = [{ fpir = 0.1, threshold = 0.91, low = 0.90, high = 0.92 }]
[[checks]]                       # what the thresholds gave elsewhere
data = "a held-out half of the people"
subjects = 250
pictures = 1000
rates = [{ asked = 1e-3, threshold = 0.93, measured = 9e-4, low = 5e-4, high = 1.2e-3, tar = 0.96 }]
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import tomllib
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mien.errors import CardError, InputError
from mien.match.calibration import Calibration, Check, CheckedRate, OperatingPoint, ScoreSpread
from mien.match.open_set import FpirPoint, FpirTable, GalleryRow

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FORMAT", "from_toml", "read", "shipped", "to_toml", "write"]

FORMAT: Final = 2
MAX_BYTES: Final = 1 << 20
"""A calibration is a few kilobytes; what is larger is something else, and is not read."""


def read(path: str | Path) -> Calibration:
    """Read a calibration; see `Calibration.read`."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CardError(f"{path}: not a regular file, so no calibration")
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise CardError(f"{path}: larger than {MAX_BYTES >> 20} MiB, so no calibration")
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, CardError):
            raise
        raise CardError(f"{path}: cannot be read as a calibration: {error}") from error
    return from_toml(text, source=str(path))


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to must not hold the program up."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def write(calibration: Calibration, path: Path, *, replace_old: bool = False) -> None:
    """Write a calibration: whole or not at all, and never over another file unless `replace_old`.

    Raises:
        InputError: there is something already, or the file cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(to_toml(calibration))
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            _place(Path(name), path, replace_old=replace_old)
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
    except FileExistsError as error:
        raise InputError(f"{path}: there already; --force replaces it") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _place(made: Path, path: Path, *, replace_old: bool) -> None:
    if not replace_old:
        try:
            os.link(made, path)  # unlike a rename, it fails where something has come to be meanwhile
        except FileExistsError:
            raise
        except OSError as error:  # not every file system has links
            if path.exists():
                raise FileExistsError from error
        else:
            return
    made.replace(path)


def from_toml(text: str, *, source: str = "<calibration>") -> Calibration:
    """Read a calibration from text; see `Calibration.from_toml`."""
    try:
        data: dict[str, Any] = tomllib.loads(text)
        if data.get("format") != FORMAT or isinstance(data["format"], bool):
            raise CardError(  # noqa: TRY301
                f"format: expected {FORMAT}, got {data.get('format', 1)!r}; make it again with: mien calibrate"
            )
        made = _calibration(data)
    except CardError as error:
        raise CardError(f"{source}: {error}") from error
    except KeyError as error:
        raise CardError(f"{source}: not a calibration: {error} is missing") from error
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:  # tomllib's is the first
        raise CardError(f"{source}: not a calibration: {error}") from error
    return replace(made, source=source)


def _calibration(data: Mapping[str, Any]) -> Calibration:
    fields = {key: _text(data, key) for key in ("model", "preset", "sha256", "made_on", "fingerprint")}
    open_set = data.get("fpir")
    return Calibration(
        **fields,
        date=data["date"] if isinstance(data["date"], str) else data["date"].isoformat(),
        provisional=_truth(data, "provisional"),
        subjects=_count(data, "subjects"),
        pictures=_count(data, "pictures"),
        genuine=_spread(data["genuine"]),
        impostor=_spread(data["impostor"]),
        table=tuple(
            OperatingPoint(
                float(row["fmr"]), float(row["threshold"]), float(row["tar"]), _truth(row, "supported"), *_ends(row)
            )
            for row in data["table"]
        ),
        fpir=None if open_set is None else _open_set(open_set),
        checks=tuple(_check(check) for check in data.get("checks", ())),
    )


def _open_set(data: Mapping[str, Any]) -> FpirTable:
    rows = tuple(
        GalleryRow(
            _count(row, "gallery_size"),
            float(row["comparisons"]),
            tuple(FpirPoint(float(p["fpir"]), float(p["threshold"]), *_ends(p)) for p in row["table"]),
        )
        for row in data["sizes"]
    )
    return FpirTable(_count(data, "faces_per_person"), _count(data, "draws"), rows)


def _check(data: Mapping[str, Any]) -> Check:
    rates = tuple(
        CheckedRate(
            float(rate["asked"]),
            _count(rate, "gallery_size") if "gallery_size" in rate else None,
            float(rate["threshold"]),
            float(rate["measured"]),
            float(rate["low"]),
            float(rate["high"]),
            float(rate["tar"]) if "tar" in rate else None,
        )
        for rate in data["rates"]
    )
    return Check(_text(data, "data"), _count(data, "subjects"), _count(data, "pictures"), rates)


def to_toml(calibration: Calibration) -> str:
    """A calibration as text; see `Calibration.to_toml`."""
    c, lines = calibration, [f"format = {FORMAT}"]
    keys = ("model", "preset", "sha256", "provisional", "made_on", "date", "fingerprint", "subjects", "pictures")
    lines += [f"{key} = {_string(getattr(c, key))}" for key in keys]
    lines += [f"{key} = {_inline(n=s.n, mean=s.mean, sd=s.sd)}" for key, s in _spreads(c).items()]
    for p in c.table:
        lines += ["", "[[table]]", f"fmr = {p.fmr!r}", f"threshold = {p.threshold!r}", f"tar = {p.tar!r}"]
        lines += [f"supported = {json.dumps(p.supported)}"]
        lines += [f"{key} = {end!r}" for key, end in (("low", p.low), ("high", p.high)) if end is not None]
    if c.fpir is not None:
        lines += ["", "[fpir]", f"faces_per_person = {c.fpir.faces_per_person}", f"draws = {c.fpir.draws}"]
        for row in c.fpir.rows:
            lines += ["", "[[fpir.sizes]]", f"gallery_size = {row.gallery_size}", f"comparisons = {row.comparisons!r}"]
            lines += ["table = ["]
            lines += [
                f"  {_inline(fpir=q.fpir, threshold=q.threshold, low=q.low, high=q.high)}," for q in row.table
            ] + ["]"]
    for check in c.checks:
        lines += ["", "[[checks]]", f"data = {_string(check.data)}"]
        lines += [f"subjects = {check.subjects}", f"pictures = {check.pictures}", "rates = ["]
        for r in check.rates:
            fields = {"asked": r.asked, "gallery_size": r.gallery_size, "threshold": r.threshold}
            lines += [f"  {_inline(**fields, measured=r.measured, low=r.low, high=r.high, tar=r.tar)},"]
        lines += ["]"]
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=1)
def shipped() -> tuple[Calibration, ...]:
    """The calibrations that mien ships."""
    folder = resources.files("mien.match") / "calibrations"
    if not folder.is_dir():
        return ()
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    read_in = (from_toml(f.read_text(encoding="utf-8"), source=f.name) for f in files)
    return tuple(replace(calibration, source="shipped") for calibration in read_in)


def _spreads(c: Calibration) -> dict[str, ScoreSpread]:
    return {"genuine": c.genuine, "impostor": c.impostor}


def _string(value: object) -> str:
    r"""Text as JSON writes it is TOML, but for DEL, which TOML does not let stand, and halves of surrogate pairs.

    >>> _string("a\x7f")
    '"a\\u007F"'
    """
    text = value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _inline(**fields: float | None) -> str:
    return "{ " + ", ".join(f"{key} = {value!r}" for key, value in fields.items() if value is not None) + " }"


def _text(data: Mapping[str, Any], key: str) -> str:
    if not isinstance(data[key], str):
        raise CardError(f"{key}: expected text, got {data[key]!r:.60}")
    return str(data[key])


def _truth(data: Mapping[str, Any], key: str) -> bool:
    if not isinstance(data[key], bool):
        raise CardError(f"{key}: expected true or false")
    return bool(data[key])


def _count(data: Mapping[str, Any], key: str) -> int:
    value = data[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise CardError(f"{key}: expected a whole number, got {value!r:.60}")
    return value


def _ends(data: Mapping[str, Any]) -> tuple[float | None, float | None]:
    low, high = (float(data[key]) if key in data else None for key in ("low", "high"))
    return low, high


def _spread(data: Mapping[str, Any]) -> ScoreSpread:
    return ScoreSpread(_count(data, "n"), float(data["mean"]), float(data["sd"]))
