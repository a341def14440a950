"""`mien data overlap|merge|stats`: what two sets share, several sets as one, and what a set is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from mien.cli.criterion import CalibrationFile
from mien.cli.data_folders import Cached, embedded_folders, model_for
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName, make_recognizer
from mien.cli.output import JsonFlag, counted, emit_json, finish, print_line, print_table, progress, say
from mien.errors import InputError

__all__ = ["merge", "overlap", "stats"]

_SHOWN = 40
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def overlap(
    a: Annotated[Path, typer.Argument(metavar="A", show_default=False, help="A folder of people.")],
    b: Annotated[Path, typer.Argument(metavar="B", show_default=False, help="Another.")],
    *,
    pictures: Annotated[
        bool, typer.Option("--pictures/--people-only", help="Look for pictures too, also altered ones.")
    ] = True,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    calibration: CalibrationFile = None,
    cached: Cached = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much would be compared.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check two sets for people and pictures that are in both. Exit code 1 when there are any."""
    from mien.prepare.overlapping import overlap as find
    from mien.prepare.people import read_people

    if dry_run:
        sizes = [(len(people), sum(len(shown) for _, shown in people)) for people in map(read_people, (a, b))]
        if as_json:
            emit_json({"sets": [{"people": n, "pictures": m} for n, m in sizes], "dry_run": True})
        else:
            said = [f"{counted(m, 'picture')} of {counted(n, 'person', 'people')}" for n, m in sizes]
            print_line(f"{' would be compared with '.join(said)}; nothing would be written")
        return
    recognizer, meaning, found_by = model_for(preset, model, detector, licence, min_face, calibration, cached=cached)
    one, other = embedded_folders([a, b], recognizer, found_by)
    with progress(len(one) + len(other), "Fingerprinting pictures") as advance:
        found = find(one, other, meaning, pictures=pictures, cached=cached, advance=advance)
    shared = found.shared()
    if as_json:
        emit_json(found.record())
    else:
        in_both = f"{counted(len(shared), 'person', 'people')} and {counted(len(found.pictures), 'picture')} in both"
        print_line(in_both if pictures else in_both.partition(" and ")[0] + " in both", style="bold")
        if shared:
            rows = ([one.people[p.a], other.people[p.b], _score(p.score), p.by] for p in shared[:_SHOWN])
            print_table(("in A", "in B", "score", "by"), rows, right=("score",))
        if found.pictures:
            print_table(
                ("picture in A", "picture in B", "how"),
                (
                    [one.names[c.a], other.names[c.b], f"{c.how}, mirrored" if c.mirrored else c.how]
                    for c in found.pictures[:_SHOWN]
                ),
            )
        if max(len(shared), len(found.pictures)) > _SHOWN:
            print_line(f"only the first {_SHOWN} are shown; --json has all")
        for pair in (p for p in found.people if p.by == "name, not face"):
            print_line(f"called the same, but not alike: {one.people[pair.a]} and {other.people[pair.b]}")
    finish(failed=bool(one.unreadable or other.unreadable), matched=not (shared or found.pictures))


def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="A B ... DST", show_default=False, help="Sets, and where to.")
    ],
    *,
    how: Annotated[str, typer.Option("--place", help="copy the pictures, or link them (hard links).")] = "copy",
    again: Annotated[bool, typer.Option("--again", help="Forget what an earlier run did.")] = False,
    dry_run: DryRun = False,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    calibration: CalibrationFile = None,
    cached: Cached = True,
    as_json: JsonFlag = False,
) -> None:
    """Merge sets whose people overlap, by name and by face; copies are dropped, conflicts listed and left apart."""
    from mien.prepare.merging import merge as put
    from mien.prepare.merging import plan_merge

    *sources, target = folders
    if len(sources) < 2:
        raise InputError("merge: expected at least two sets and the folder to merge them into")
    if how not in ("copy", "link"):
        raise InputError(f"--place: expected copy or link, got {how!r}")
    recognizer, meaning, found_by = model_for(preset, model, detector, licence, min_face, calibration, cached=cached)
    sets = embedded_folders(sources, recognizer, found_by)
    total = sum(map(len, sets))
    with progress(total, "Fingerprinting pictures") as advance:
        plan = plan_merge(sets, meaning, cached=cached, advance=advance)
    counts = None
    if not dry_run:
        with progress(total, "Placing pictures") as advance:
            counts = put(plan, target, how=cast("Literal['copy', 'link']", how), fresh=again, advance=advance)
    if as_json:
        emit_json(plan.record() | {"folder": str(target), "dry_run": dry_run} | ({"counts": counts} if counts else {}))
    else:
        would = "would be " if dry_run else ""
        print_line(
            f"{counted(total - len(plan.dropped), 'picture')} of {counted(len(plan.names), 'person', 'people')} {would}"
            f"in {target}; {counted(len(plan.dropped), 'duplicate')} left out",
            style="bold",
        )
        for s, name, to, score in plan.aliases:
            print_line(f"by face: {name} of {sources[s]} is {to} ({_score(score)})")
        for conflict in plan.conflicts:
            said = ", ".join(f"{name} of {sources[s]} (as {to})" for s, name, to in conflict.people)
            say(f"{said}: {conflict.reason}; left apart", label="conflict:")
    finish(failed=any(folder.unreadable for folder in sets))


def stats(
    folder: Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="A folder of people, one each.")],
    *,
    page: Annotated[Path | None, typer.Option("--page", help="Write an HTML page with plots.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a page that is there.")] = False,
    dry_run: DryRun = False,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure a set: people, pictures, sizes, faces a picture, sharpness, light and pose."""
    from mien.prepare.people import read_people
    from mien.prepare.statistics import MEASURES, write_stats_page
    from mien.prepare.statistics import stats as measure

    if page is not None and page.exists() and not force:
        raise InputError(f"{page}: exists already; choose another name, or --force")
    people = read_people(folder)
    if dry_run:
        _would_measure(sum(len(pictures) for _, pictures in people), len(people), page, as_json=as_json)
        return
    recognizer = make_recognizer(None, min_face, detector=detector, licence=licence)
    with progress(sum(len(pictures) for _, pictures in people), "Measuring pictures") as advance:
        found = measure(folder, people, recognizer, advance=advance)
    if page:
        write_stats_page(found, page)
    record = found.record() | {"page": str(page) if page else None}
    for error in found.errors:
        say(f"{error['source']}: {error['error']}", label="skipped:")
    if as_json:
        emit_json(record)
    else:
        print_line(
            f"{counted(record['pictures'], 'picture')} of {counted(record['people'], 'person', 'people')}; "
            f"{record['without_face']:,} without a face, {record['several_faces']:,} with several",
            style="bold",
        )
        rows = [("Pictures of a person", record["pictures_a_person"])]
        rows += [(said, record["measures"][measure]) for measure, said in MEASURES.items()]
        columns = ("p5", "p25", "p50", "p75", "p95")
        print_table(
            ("", "mean", *(f"{c[1:]} %" for c in columns)),
            ([said, *(f"{spread[c]:.4g}" for c in ("mean", *columns))] for said, spread in rows if spread),
            right=("mean", *(f"{c[1:]} %" for c in columns)),
        )
        if page:
            print_line(f"page: {page}")
    finish(failed=bool(found.errors))


def _would_measure(pictures: int, people: int, page: Path | None, *, as_json: bool) -> None:
    if as_json:
        emit_json({"people": people, "pictures": pictures, "page": str(page) if page else None, "dry_run": True})
        return
    print_line(f"{counted(pictures, 'picture')} of {counted(people, 'person', 'people')} would be measured")
    print_line(f"page: would be {page}" if page else "nothing would be written")


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"
