"""`mien demo`: the whole way on two portraits that installed packages ship, checked as it goes."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.galleries import open_gallery
from mien.cli.identify import KNOWN, UNKNOWN
from mien.cli.inputs import PresetName
from mien.cli.output import JsonFlag, emit_json, finish, print_line, print_table
from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mien.types import Analysis, Identification

__all__ = ["demo"]

_PERSON = "Grace Hopper"
_OURS = "mien-demo.txt"  # what tells a folder of ours from a folder of yours
_NOTE = "Written by `mien demo`. Everything in this folder may be deleted.\n"

Out = Annotated[Path, typer.Option("--out", help="Folder for everything that the demo writes.")]


def demo(*, out: Out = Path("mien-demo"), preset: PresetName = None, as_json: JsonFlag = False) -> None:
    """Watch mien work: enrol a person, know her in altered photos, refuse a stranger. Exit code 0: all came out right.

    Two public-domain portraits, of Grace Hopper and of Eileen Collins, come from packages that are installed anyway.
    Nothing is fetched, and nothing is written outside the folder.
    """
    _prepare(out)
    pictures = dict(_pictures(out))
    gallery = out / "people.db"
    began = time.perf_counter()
    with open_gallery(gallery, preset=preset, create=True) as known:
        _empty(known, gallery)
        known.enrol(_PERSON, out / "grace_hopper.jpg")
        enrolled = time.perf_counter()
        paths = [path for path, _ in pictures.values()]
        list(known.identify_all(paths[:2]))  # many photos run on models of their own, which load now
        loaded = time.perf_counter()
        answers = list(known.identify_all(paths))
        named = time.perf_counter()
        # One photo by itself, models warm: what a caller waits for an answer.
        known.identify(pictures["both in one picture"][0])
        single = time.perf_counter()
        model = str(known.identity)
    rows = [
        _row(what, path, expected, *answer)
        for (what, (path, expected)), answer in zip(pictures.items(), answers, strict=True)
    ]
    annotated = _annotate(out, pictures["both in one picture"][0], answers[-1])
    right = all(row["right"] for row in rows)
    timings = {
        "ready_seconds": round(enrolled - began, 3),
        "photos_per_second": round(len(rows) / (named - loaded), 1),
        "photo_seconds": round(single - named, 3),
    }
    if as_json:
        emit_json(
            {
                "right": right,
                "model": model,
                "gallery": str(gallery),
                "annotated": str(annotated),
                "pictures": rows,
                "timings": timings,
                "errors": [{"source": row["source"], "error": row["error"]} for row in rows if row["error"]],
            }
        )
    else:
        _show(out, rows, timings=timings, model=model, annotated=annotated, right=right)
    finish(failed=False, matched=right)


def _prepare(out: Path) -> None:
    """Make the folder, or see that an existing one is ours to write in."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: expected a folder, got a file")
    if out.is_dir() and any(out.iterdir()) and not (out / _OURS).is_file():
        raise InputError(f"--out {out}: holds files that are not the demo's; give a new folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / _OURS).write_text(_NOTE, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written to ({error.strerror or error})") from error


def _pictures(out: Path) -> Iterator[tuple[str, tuple[Path, list[str | None]]]]:
    """Write the photos: what each is, where it lies, and who is to be found in it, from left to right."""
    from mien.cli import samples

    original = samples.hopper()
    (out / "grace_hopper.jpg").write_bytes(original.read_bytes())
    for what, (name, data) in samples.altered(original).items():
        (out / name).write_bytes(data)
        yield f"{_PERSON}, {what}", (out / name, [_PERSON])
    stranger = samples.astronaut()
    (out / "eileen_collins.png").write_bytes(stranger.read_bytes())
    yield "a stranger, Eileen Collins", (out / "eileen_collins.png", [None])
    (out / "both.jpg").write_bytes(samples.side_by_side(original, stranger))
    yield "both in one picture", (out / "both.jpg", [_PERSON, None])


def _empty(known: Any, gallery: Path) -> None:  # noqa: ANN401 - a Gallery, whose room is not loaded for `--help`
    """Forget what the last demo enrolled; refuse to touch anybody else's people."""
    names = [subject.name for subject in known.subjects()]
    if set(names) - {_PERSON}:
        raise InputError(f"{gallery}: holds people that the demo did not enrol; give another --out")
    for name in names:
        known.remove(name)


def _row(
    what: str, path: Path, expected: list[str | None], found: Analysis, who: list[Identification]
) -> dict[str, Any]:
    """What came out for one picture, from left to right, beside what should."""
    who = sorted(who, key=lambda one: one.face.box[0])
    return {
        "picture": what,
        "source": str(path),
        "expected": expected,
        "names": [one.name for one in who],
        "scores": [round(one.match.score, 6) for one in who],
        "threshold": round(who[0].match.threshold, 6) if who else None,
        "right": [one.name for one in who] == expected,
        "error": str(found.error) if found.error else None,
    }


def _annotate(out: Path, photo: Path, answer: tuple[Analysis, list[Identification]]) -> Path:
    from mien.images import decode, draw, save

    found, who = answer
    labels = [f"{one.name or 'unknown'} {one.match.score:.2f}" for one in who]
    colours = [KNOWN if one.match.known else UNKNOWN for one in who]
    return save(draw(decode(photo), found.faces, labels, colours=colours).image, out / "both_with_names.png")


def _show(
    out: Path, rows: list[dict[str, Any]], *, timings: dict[str, float], model: str, annotated: Path, right: bool
) -> None:
    from mien.models.session import available_cores

    print_line(f"Enrolled {_PERSON} from one portrait. Who is in these photos?")
    print_line()
    table = [
        [
            row["picture"],
            " + ".join(name or "unknown" for name in row["names"]) or row["error"] or "no face found",
            " + ".join(f"{score:.3f}" for score in row["scores"]),
            "right" if row["right"] else "WRONG",
        ]
        for row in rows
    ]
    print_table(["photo", "answer", "score", ""], table)
    threshold = next((row["threshold"] for row in rows if row["threshold"] is not None), None)
    if threshold is not None:
        print_line(f"A face is named from {threshold:.3f} on: at most one stranger in a thousand gets a name.")
    print_line()
    if right:
        print_line("All of it is right.", style="bold green")
    else:
        print_line("Not everything came out right; `mien doctor` may say why.", style="bold red")
    print_line(f"Picture with names: {annotated}")
    print_line(
        f"Timing: models loaded and one face enrolled in {timings['ready_seconds']:.1f} s; then a photo takes "
        f"{1000 * timings['photo_seconds']:.0f} ms alone; together {timings['photos_per_second']:.0f} photos/s "
        f"on {available_cores()} cores"
    )
    print_line(f"Model: {model}")
    print_line()
    print_line("Try next:", style="bold")
    print_line(f"  mien identify {quote(str(out / 'both.jpg'))} --gallery {quote(str(out / 'people.db'))} --json")
    print_line("  mien enrol people/                 (a folder per person, or a picture per person)")
    print_line("  mien identify party/               (who is in these photos)")
    print_line("  mien find me.jpg photos/           (every photo that shows this person)")
