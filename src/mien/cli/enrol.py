"""`mien enrol`: make people known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.galleries import GalleryPath, open_gallery
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName, Upright, people_in, photos_in
from mien.cli.output import (
    CsvFlag,
    JsonFlag,
    counted,
    emit_csv,
    emit_json,
    finish,
    print_line,
    printable,
    progress,
    say,
)
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.gallery import EnrolReport, PictureReport

__all__ = ["enrol"]

Sources = Annotated[
    list[Path],
    typer.Argument(
        readable=False,
        help="Folders of people (a folder per person, or pictures named by person); with --name, pictures of one.",
        show_default=False,
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="The person whom all the pictures show.")]


def enrol(
    sources: Sources,
    *,
    name: Name = None,
    gallery: GalleryPath = Path("people.db"),
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    upright: Upright = False,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Make people known. Run it again after adding pictures: only what is new is enrolled."""
    people = _people(sources, name)
    total = sum(len(pictures) for _, pictures in people)
    quiet = as_json or as_csv
    reports: list[EnrolReport] = []
    with open_gallery(
        gallery,
        preset=preset,
        min_face=min_face,
        upright=upright,
        model=model,
        detector=detector,
        licence=licence,
        create=True,
    ) as known:
        with progress(total, "Enrolling") as advance:
            try:
                for report in known.enrol_people(people):
                    advance(len(report.pictures))
                    reports.append(report)
                    if not quiet:
                        _show(report)
                    _explain(report)
            except KeyboardInterrupt:
                say("stopped; whoever was enrolled stays so, and the same command goes on with the rest")
                raise
        subjects, faces = len(known), known.stats.faces

    skipped = [picture for report in reports for picture in report.skipped]
    if as_json:
        emit_json(
            {
                "gallery": str(gallery),
                "subjects": subjects,
                "faces": faces,
                "people": [_record(report) for report in reports],
                "errors": [{"source": picture.picture, "error": picture.reason} for picture in skipped],
            }
        )
    elif as_csv:
        emit_csv(
            ["name", "source", "outcome", "reason"],
            ([r.name, picture.picture, picture.outcome, picture.reason] for r in reports for picture in r.pictures),
        )
    else:
        added = sum(len(report.added) for report in reports)
        print_line(f"{gallery}: {counted(subjects, 'person', 'people')}, {counted(faces, 'face')} ({added} new)")
    finish(failed=bool(skipped))


def _people(sources: list[Path], name: str | None) -> list[tuple[str, list[Path]]]:
    """Who is to be enrolled from which pictures."""
    from mien.images import person_name

    if name is not None:
        return [(person_name(name), photos_in(sources))]
    people: list[tuple[str, list[Path]]] = []
    for source in sources:
        if source.is_file():
            raise InputError(f'{source}: whom does it show? Give --name "...", or a folder of people')
        people += people_in(source)
    if not any(pictures for _, pictures in people):
        raise InputError(f"no pictures in {', '.join(map(str, sources))}; expected a folder per person, or pictures")
    return people


def _show(report: EnrolReport) -> None:
    if report.added:
        more = f", {len(report.known)} known already" if report.known else ""
        print_line(f"{report.name}: {counted(len(report.added), 'picture')} enrolled{more}", style="green")
    elif report.known:
        print_line(f"{report.name}: nothing new, {counted(len(report.known), 'picture')} known already")
    else:
        print_line(f"{report.name}: not enrolled", style="yellow")


def _explain(report: EnrolReport) -> None:
    """Say on stderr what a person should look at: pictures left out, and choices made among several faces."""
    if not report.pictures:
        say(printable(f"{report.name}: the folder holds no picture"), label="note:")
    for picture in report.pictures:
        if picture.outcome == "skipped":
            say(printable(f"{picture.picture}: {picture.reason}"), label="skipped:")
        elif _chosen(picture):
            say(printable(f"{picture.picture}: {picture.faces} faces; the main one was taken"), label="note:")


def _chosen(picture: PictureReport) -> bool:
    return picture.outcome == "added" and picture.faces > 1


def _record(report: EnrolReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "faces": report.subject.faces if report.subject else 0,
        "added": list(report.added),
        "known": list(report.known),
        "skipped": [picture.picture for picture in report.skipped],
        "several_faces": [picture.picture for picture in report.pictures if _chosen(picture)],
    }
