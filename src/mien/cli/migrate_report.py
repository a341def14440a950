"""How far a change of a gallery's model is, and what it will bring: for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mien.cli.output import counted, print_line, print_table, printable, say
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.gallery import Gallery
    from mien.match import Calibration
    from mien.types import ModelIdentity

__all__ = ["show_change", "status_facts"]

_TOLD = 10


def status_facts(known: Gallery, given: Calibration | None) -> dict[str, Any]:
    """Everything about a change that is under way.

    Args:
        known: the gallery.
        given: a calibration of either model; the others are those kept in the gallery and the shipped ones.
    """
    from mien.evaluate.model_change import compare_models
    from mien.gallery.migration import both_models, status

    found = status(known.home)
    facts: dict[str, Any] = {"model": None if found.identity is None else str(found.identity), "other": None}
    if found.other is None or found.identity is None:
        return facts
    other = found.other
    facts["other"] = {
        "model": str(other.identity),
        "role": other.role,
        "faces": other.faces,
        "missing": [
            {"face_id": one.face.id, "name": one.name, "picture": one.face.picture, "crop": one.face.crop}
            for one in found.missing
        ],
    }
    live, staged = _of_live(known, given), _of(other.identity, given)
    facts["thresholds"] = _thresholds(live, staged, known.home.counts().faces)
    try:
        change = compare_models(both_models(known.home), live=live, staged=staged)
    except InputError as error:
        return facts | {"comparison": None, "note": str(error)}
    return facts | {"comparison": asdict(change), "note": None}


def _of_live(known: Gallery, given: Calibration | None) -> Calibration | None:
    if given is not None and known.identity is not None and given.belongs_to(known.identity):
        return given
    try:
        return known.calibration
    except InputError:
        return None


def _of(identity: ModelIdentity, given: Calibration | None) -> Calibration | None:
    from mien.match import calibration_for

    if given is not None and given.belongs_to(identity):
        return given
    try:
        return calibration_for(identity)
    except InputError:
        return None


def _thresholds(live: Calibration | None, staged: Calibration | None, faces: int) -> dict[str, Any]:
    """What either model asks of a face to be named, at the rate that is used unless another is given."""
    from mien.match import IDENTIFY_FPIR

    def at(calibration: Calibration | None) -> float | None:
        return None if calibration is None else calibration.threshold_for(fpir=IDENTIFY_FPIR, gallery_size=faces)

    return {"fpir": IDENTIFY_FPIR, "gallery_size": faces, "model": at(live), "other": at(staged)}


def show_change(facts: dict[str, Any]) -> None:
    """Print it for a person."""
    other = facts["other"]
    if other is None:
        print_line(f"{facts['gallery']}: uses {facts['model']}; no change is under way")
        return
    for one in other["missing"][:_TOLD]:
        say(printable(f"{one['name']}, face {one['face_id']} ({one['picture']})"), label="missing:")
    if len(other["missing"]) > _TOLD:
        say(f"and {len(other['missing']) - _TOLD:,} more (--json lists them all)", label="missing:")
    what = "to change to" if other["role"] == "new" else "changed from"
    print_line(f"{facts['gallery']}: uses {facts['model']}")
    print_line(f"{what} {other['model']}: {counted(other['faces'], 'face')}, {len(other['missing']):,} missing")
    thresholds, change = facts["thresholds"], facts["comparison"]
    rows = [
        (
            f"threshold, FPIR {thresholds['fpir']:g}, {counted(thresholds['gallery_size'], 'face')}",
            *(_number(thresholds[one]) for one in ("model", "other")),
        )
    ]
    if change is None:
        say(facts["note"], label="note:")
    else:
        models = change["live"], change["staged"]
        rate = f"{change['fmr']:g}"
        rows += [
            ("d'", *(f"{one['d_prime']:.2f}" for one in models)),
            (f"TAR at FMR {rate} on these faces", *(_interval(one["tar"]) for one in models)),
            (f"threshold of the calibration at FMR {rate}", *(_calibrated(one, "threshold") for one in models)),
            ("  FMR it gives on these faces", *(_calibrated(one, "fmr") for one in models)),
            ("  TAR it gives on these faces", *(_calibrated(one, "tar") for one in models)),
        ]
    print_table(["", "in use", "other"], rows)
    if change is not None:
        faces = f"{counted(change['faces'], 'face')} of {counted(change['people'], 'person', 'people')}"
        gain = change["gain"]
        told = (
            "too few pairs to tell TAR at that rate" if gain is None else f"the other's TAR is {_points(gain)} higher"
        )
        print_line(f"{faces}: {told}")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _interval(value: dict[str, Any] | None) -> str:
    return "too few" if value is None else f"{value['value']:.1%} ({value['low']:.1%} to {value['high']:.1%})"


def _calibrated(model: dict[str, Any], what: str) -> str:
    found = model["calibrated"]
    if found is None:
        return "none"
    return f"{found[what]:.4f}" if what == "threshold" else f"{found[what]:.3%}"


def _points(gain: dict[str, Any]) -> str:
    value, low, high = (100 * gain[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} points ({low:+.1f} to {high:+.1f})"
