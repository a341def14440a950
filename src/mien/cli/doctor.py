"""`mien doctor`: is everything that mien needs here, whole and working; and what to do where it is not."""

from __future__ import annotations

import importlib.util
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.output import ExitCode, JsonFlag, counted, emit_json, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Check", "doctor", "self_test"]

_NEEDED = ("numpy", "opencv-python-headless", "pillow", "onnx", "onnxruntime", "lz4", "platformdirs", "typer", "rich")
_CARRIERS = ("matplotlib", "scikit-image", "mtcnn", "face-recognition-models")  # read for their files
_EXTRAS = {  # extra: (module, distribution, what it is for)
    "heic": ("pillow_heif", "pillow-heif", "HEIC photos, as iPhones make them"),
    "openvino": ("openvino", "openvino", "a faster engine on Intel and AMD processors"),
}
_FOR_CV2 = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
_REINSTALL = 'pip install --force-reinstall "mien"'

# What the shipped models give on two portraits that packages ship, and how far another engine may be off it: the place
# of Grace Hopper's face; the score of two altered pictures of her; and her score with a stranger.
_BOX = (175.0, 116.0, 350.0, 335.0)
_OVERLAP = 0.9
_SAME = {"fast": 0.988, "accurate": 0.992}
_OTHER = {"fast": 0.892, "accurate": 0.893}
_TOLERANCE = 0.004

NoSelfTest = Annotated[bool, typer.Option("--no-self-test", help="Leave out the part that runs the models.")]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        ok: whether it is as it should be.
        detail: what was found.
        fix: what to do when it is not.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def doctor(*, no_self_test: NoSelfTest = False, as_json: JsonFlag = False) -> None:
    """Check this installation: versions, engines, model files, folders, and a run on a real portrait.

    Exit code 0: all is well, 1: something is broken; what to do is said beside it.
    """
    checks = [_looked("engines", _engine)]
    checks += [_package(name) for name in (*_NEEDED, *_CARRIERS)]
    checks += [_looked(name, lambda name=name: _model_file(name)) for name in _model_names()]  # type: ignore[misc]
    if not no_self_test:
        checks += _self_tests()
    system, extras, folders = _system(), _extras(), _folders()
    ok = all(check.ok for check in checks)
    if as_json:
        emit_json(
            {
                "ok": ok,
                "system": system,
                "checks": [asdict(check) for check in checks],
                "extras": extras,
                "folders": folders,
            }
        )
    else:
        _show(system, checks, extras, folders, ok)
    if not ok:
        raise typer.Exit(ExitCode.NO_MATCH)


def _looked(name: str, look: Callable[[], Check]) -> Check:
    """What a look found; a look that fails is a finding, too."""
    from mien.errors import MienError

    try:
        return look()
    except MienError as error:
        return Check(name, False, str(error), _REINSTALL)
    except Exception as error:  # noqa: BLE001 - the doctor must outlive what is broken
        return Check(name, False, f"{type(error).__name__}: {error}", _REINSTALL)


def _package(name: str) -> Check:
    names = _FOR_CV2 if name in _FOR_CV2 else (name,)
    for candidate in names:
        try:
            return Check(candidate, True, metadata.version(candidate))
        except metadata.PackageNotFoundError:
            continue
    return Check(name, False, "not installed", f"pip install {name}")


def _model_names() -> list[str]:
    from mien.models.packaged import PACKAGED

    return list(PACKAGED)


def _model_file(name: str) -> Check:
    from mien.models.packaged import packaged_file, read_packaged

    size = len(read_packaged(name))  # raises unless the checksum is right
    return Check(name, True, f"{size:,} bytes, checksum right, {packaged_file(name)}")


def _engine() -> Check:
    import onnxruntime

    from mien.models.session_openvino import installed

    engines = f"onnxruntime {onnxruntime.__version__}"
    if installed():
        engines += f", openvino {metadata.version('openvino')} (used where measured to be faster and equal)"
    return Check("engines", True, engines)


def _self_tests() -> list[Check]:
    checks: list[Check] = []

    def test() -> Check:
        checks.extend(self_test())
        return checks.pop()

    last = _looked("self-test", test)
    return [*checks, last]


def self_test(preset: str | None = None) -> list[Check]:
    """Find and compare a known face; raises whatever is broken."""
    from mien.cli import samples
    from mien.cli.inputs import make_recognizer

    recognizer = make_recognizer(preset)
    identity = recognizer.identity
    portrait = samples.hopper()
    found = recognizer.analyze_one(portrait)
    one = len(found.faces) == 1
    overlap = _overlap(found.faces[0].box, _BOX) if one else 0.0
    checks = [
        Check(
            "finds a face",
            one and overlap >= _OVERLAP,
            f"{counted(len(found.faces), 'face')}, "
            f"overlap with the right place {overlap:.2f} (expected 1, at least {_OVERLAP})",
            _REINSTALL,
        )
    ]
    photos = dict(samples.altered(portrait).values())  # file name: bytes
    mirrored, dim = recognizer.embed(photos["mirrored.webp"]), recognizer.embed(photos["dim.jpg"])
    stranger = recognizer.embed(samples.astronaut())
    for name, score, expected in (
        ("knows a face again", float(mirrored @ dim), _SAME[identity.preset]),
        ("tells two faces apart", float(mirrored @ stranger), _OTHER[identity.preset]),
    ):
        detail = f"score {score:.4f} (expected {expected:.3f} +- {_TOLERANCE}), {identity}"
        checks.append(Check(name, abs(score - expected) <= _TOLERANCE, detail, _REINSTALL))
    return checks


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return both / (areas - both)


def _system() -> dict[str, Any]:
    import os

    import mien
    from mien.models.session import available_cores

    return {
        "mien": mien.__version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "cores_available": available_cores(),
    }


def _extras() -> list[dict[str, Any]]:
    found = []
    for extra, (module, distribution, purpose) in _EXTRAS.items():
        here = importlib.util.find_spec(module) is not None
        found.append(
            {
                "extra": extra,
                "for": purpose,
                "version": metadata.version(distribution) if here else None,
                "install": None if here else f'pip install "mien[{extra}]"',
            }
        )
    return found


def _folders() -> dict[str, Any]:
    import platformdirs

    from mien.models.store import store_folder

    folder = store_folder()
    cache = platformdirs.user_cache_path("mien", appauthor=False)
    return {"models": str(folder), "models_exists": folder.is_dir(), "cache": str(cache)}


def _show(
    system: dict[str, Any], checks: list[Check], extras: list[dict[str, Any]], folders: dict[str, Any], ok: bool
) -> None:
    print_line(
        f"mien {system['mien']}, Python {system['python']}, {system['platform']}, "
        f"{system['cores_available']} of {system['cores']} cores"
    )
    print_line()
    print_table(["", "what", "found"], (["ok" if c.ok else "BROKEN", c.name, c.detail] for c in checks))
    print_line()
    print_table(
        ["extra", "for", ""], ([e["extra"], e["for"], e["version"] or f"missing: {e['install']}"] for e in extras)
    )
    print_line()
    print_line(f"Which engine was found faster is kept in: {folders['cache']}")
    there = "" if folders["models_exists"] else " (made when a model is pulled)"
    print_line(f"Fetched models: {folders['models']}{there}")
    for check in checks:
        if not check.ok:
            print_line(f"{check.name}: {check.detail}", style="bold red")
            print_line(f"  try: {check.fix}")
    if ok:
        print_line("All is well.", style="bold green")
