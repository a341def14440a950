"""Many pictures of one: meshes over ID photos, masks, cover, poor light and quality, as files beside the clean ones."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np

from mien.errors import InputError, MienError
from mien.images import augment, decode, list_images, save
from mien.prepare.manifest import Manifest, done_before, stamp
from mien.prepare.workers import CHUNK, over
from mien.types import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mien.prepare.manifest import Entry
    from mien.recognizer import Recognizer
    from mien.types import Pixels

    Change: TypeAlias = Callable[[Pixels, np.random.Generator], Pixels]

__all__ = ["KINDS", "GeneratorOptions", "GeneratorReport", "Kind", "generate"]

Kind: TypeAlias = Literal["mesh", "mask", "hat", "glasses", "cover", "dark", "small", "blur", "jpeg", "grey"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorOptions:
    """What is made of each picture.

    Attributes:
        kind: see `KINDS`. "mask", "hat" and "glasses" need a face to be found; pictures without one
            are skipped.
        copies: how many different pictures of each.
        strength: 1 for what occurs; more is worse.
        seed: with the picture's name and the copy's number it decides the result, in whatever order they are made.
        suffix: of the new files: ".png" keeps them as drawn, ".jpg" is smaller.
    """

    kind: Kind = "mesh"
    copies: int = 1
    strength: float = 1.0
    seed: int = 0
    suffix: Literal[".png", ".jpg"] = ".png"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"kind: expected one of {', '.join(KINDS)}, got {self.kind!r}")
        if not (1 <= self.copies <= 10_000 and 0 < self.strength <= 10 and self.suffix in (".png", ".jpg")):
            raise InputError(f"generate: a value lies outside its range: {self}")


@dataclass(slots=True)
class GeneratorReport:
    """What became of a folder: pictures of which copies were made now or before, left out, or that were broken."""

    made: int = 0
    before: int = 0
    skipped: int = 0
    errors: int = 0


def generate(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: GeneratorOptions | None = None,
    *,
    workers: int = 1,
    fresh: bool = False,
    dry_run: bool = False,
    advance: Callable[[int], None] | None = None,
) -> GeneratorReport:
    """Make changed pictures of a folder's, in `target/KIND/...~1.png`, and the clean one beside in `target/clean/...`.

    A manifest in `target` tells of every picture; a run that was stopped goes on where it was.

    Args:
        folder: pictures at any depth.
        target: where to; not in `folder`.
        options: see `GeneratorOptions`.
        workers: processes.
        fresh: do again what an earlier run did.
        dry_run: only count.
        advance: called with the number of pictures done since the last call.

    Raises:
        InputError: no pictures, or the folders cannot be used.
    """
    options = options or GeneratorOptions()
    root, place = Path(folder), Path(target)
    if Path(os.path.realpath(place)).is_relative_to(os.path.realpath(root)):
        raise InputError(f"{place}: lies in the folder of the pictures; choose another one")
    pictures = list_images(root)
    if not pictures:
        raise InputError(f"{root}: no pictures in it")
    report = GeneratorReport()
    if dry_run:
        done = (lambda *_: False) if fresh else done_before(place, "generate", asdict(options))
        report.made = sum(1 for _ in _new(pictures, root, done, report))
        return report
    with Manifest(place, "generate", asdict(options), fresh=fresh) as manifest:
        job = functools.partial(_make, root=root, target=place, options=options)
        for entries in over(_new(pictures, root, manifest.done, report), job, workers=workers, chunk=CHUNK // 4):
            manifest.add(entries)
            for entry in entries:
                decision = entry["decision"]
                report.made += decision == "made"
                report.skipped += decision == "skipped"
                report.errors += decision == "error"
            if advance:
                advance(len(entries))
    return report


def _new(
    pictures: Sequence[Path], root: Path, done: Callable[[str, Mapping[str, int]], bool], report: GeneratorReport
) -> Iterator[Path]:
    for path in pictures:
        try:
            before = done(path.relative_to(root).as_posix(), stamp(path))
        except OSError:
            before = False  # the worker says what is wrong with it
        report.before += before
        if not before:
            yield path


def _make(paths: Sequence[Path], *, root: Path, target: Path, options: GeneratorOptions) -> list[Entry]:
    return [_one(path, root, target, options) for path in paths]


def _one(path: Path, root: Path, target: Path, options: GeneratorOptions) -> Entry:
    name = path.relative_to(root).as_posix()
    entry: dict[str, Any] = {"source": name}
    try:
        entry |= stamp(path)
        image = decode(path)
        change = _change(options, image.pixels)
        if change is None:
            return {**entry, "decision": "skipped", "reason": "no face found"}
        relative = PurePosixPath(name)
        clean = target / "clean" / relative.with_name(f"{relative.name}{options.suffix}")
        outputs = []
        for copy in range(options.copies):
            rng = augment.generator(options.seed, copy, _number(name))
            file = target / options.kind / relative.with_name(f"{relative.name}~{copy + 1}{options.suffix}")
            file.parent.mkdir(parents=True, exist_ok=True)
            save(Image(change(image.pixels, rng)), file, quality=95)
            outputs.append(file.relative_to(target).as_posix())
        clean.parent.mkdir(parents=True, exist_ok=True)
        save(image, clean, quality=95)
        return {**entry, "decision": "made", "clean": clean.relative_to(target).as_posix(), "outputs": outputs}
    except (MienError, OSError) as error:
        return {**entry, "decision": "error", "reason": str(error)}


def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _change(options: GeneratorOptions, pixels: Pixels) -> Change | None:
    """What is done to a picture; None where it cannot be done."""
    strength = options.strength
    side = min(pixels.shape[:2])
    match options.kind:
        case "mesh":
            return lambda p, rng: augment.draw_mesh(p, augment.random_mesh(rng, strength=strength))
        case "cover":
            return lambda p, rng: augment.occlude(p, rng, min(0.9, float(rng.uniform(0.1, 0.25)) * strength))
        case "dark":
            return lambda p, rng: _dark(p, rng, strength)
        case "small":
            return lambda p, rng: augment.lower_resolution(p, max(4, round(float(rng.uniform(16, 40)) / strength)))
        case "blur":
            return lambda p, rng: augment.blur(
                p,
                float(rng.uniform(0.01, 0.03)) * side * strength,
                motion=float(rng.uniform(0, 0.08)) * side * strength,
                angle=float(rng.uniform(0, np.pi)),
            )
        case "jpeg":
            return lambda p, rng: augment.compress(p, max(1, round(float(rng.uniform(5, 30)) / strength)))
        case "grey":
            return lambda p, rng: augment.grey(p)
        case "mask" | "hat" | "glasses" as worn:
            faces = _recognizer().detect(pixels)
            if not len(faces):
                return None
            points = faces.landmarks[faces.main((pixels.shape[1], pixels.shape[0]))]
            put_on = {"mask": augment.mask_face, "hat": augment.wear_hat, "glasses": augment.wear_glasses}[worn]
            return lambda p, rng: put_on(p, points, rng)


def _dark(pixels: Pixels, rng: np.random.Generator, strength: float) -> Pixels:
    """As a sensor sees in poor light: dim, the shadows crushed, and noise."""
    dim = augment.change_light(pixels, brightness=-0.1 * strength)
    return augment.add_noise(augment.gamma(dim, 1 + float(rng.uniform(0.6, 1.6)) * strength), rng, 4 * strength)


@functools.cache
def _recognizer() -> Recognizer:
    from mien.recognizer import Recognizer

    return Recognizer("fast", workers=1)
