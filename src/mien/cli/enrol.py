"""`mien enrol`: make people known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.enrol_report import PICTURE_COLUMNS, check_report_path, picture_rows, write_enrol_report
from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, open_gallery, shown_place
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
    from mien.gallery import EnrolReport, Gallery
    from mien.gallery.admission import HowToEnrol
    from mien.gallery.gate_reasons import Reason

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
PolicyOption = Annotated[
    str,
    typer.Option(
        "--policy", help="strict: refuse bad and wrong pictures; warn: enrol and say so; off: enrol every face."
    ),
]
SeveralOption = Annotated[
    str, typer.Option("--several", help="Of several faces in a picture take the main one, or refuse the picture.")
]
KeepCrops = Annotated[
    bool, typer.Option("--keep-crops", help="Keep the faces as pictures, too, so that a later model can be given them.")
]
ReportFile = Annotated[
    Path | None, typer.Option("--report", help="Write what became of every picture into this .html or .csv file.")
]


def enrol(
    sources: Sources,
    *,
    name: Name = None,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    policy: PolicyOption = "strict",
    several: SeveralOption = "main",
    keep_crops: KeepCrops = False,
    report: ReportFile = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    upright: Upright = False,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Make people known. Run it again after adding pictures: only what is new is enrolled.

    Exit code 2: a picture was refused or could not be used; the others are enrolled.
    """
    how = _how(policy, several, keep_crops)
    if report is not None:
        check_report_path(report)
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
        key=key,
    ) as known:
        where = shown_place(gallery, known)
        if policy != "off":
            _say_what_is_judged(known)
        with progress(total, "Enrolling") as advance:
            try:
                for one in known.enrol_people(people, **how):
                    advance(len(one.pictures))
                    reports.append(one)
                    if not quiet:
                        _show(one)
                    _explain(one)
            except KeyboardInterrupt:
                say("stopped; whoever was enrolled stays so, and the same command goes on with the rest")
                raise
            finally:
                if report is not None:
                    write_enrol_report(report, where, reports)
        subjects, faces = len(known), known.stats.faces

    skipped = [picture for one in reports for picture in one.skipped]
    if as_json:
        emit_json(
            {
                "gallery": where,
                "subjects": subjects,
                "faces": faces,
                "people": [_record(one) for one in reports],
                "errors": [{"source": picture.picture, "error": picture.reason} for picture in skipped],
            }
        )
    elif as_csv:
        emit_csv(PICTURE_COLUMNS, picture_rows(reports))
    else:
        added = sum(len(one.added) for one in reports)
        print_line(f"{where}: {counted(subjects, 'person', 'people')}, {counted(faces, 'face')} ({added} new)")
    finish(failed=bool(skipped))


def _say_what_is_judged(known: Gallery) -> None:
    """Without a calibration nobody can say from which score on two faces are one person's."""
    try:
        _ = known.calibration
    except InputError:
        say(
            "this model has no calibration: pictures are judged, whom they show is not; see `mien calibrate`",
            label="note:",
        )


def _how(policy: str, several: str, keep_crops: bool) -> HowToEnrol:
    """The options as the gallery takes them. Raises InputError before anything is opened or made."""
    from mien.gallery.gate_limits import check_policy
    from mien.gallery.looking import check_several

    check_policy(policy)
    check_several(several)
    return {"policy": policy, "several": several, "keep_crops": keep_crops}  # type: ignore[typeddict-item]  # checked


def _people(sources: list[Path], name: str | None) -> list[tuple[str, list[Path]]]:
    """Who is to be enrolled from which pictures."""
    from mien.images import person_name

    if name is not None:
        return [(person_name(name), photos_in(sources))]
    people: list[tuple[str, list[Path]]] = []
    for source in sources:
        if source.is_file():
            raise InputError(f'{source}: whom does it show? Give --name "...", or a folder of people')
        if pickle := next(source.glob("*.pkl"), None):
            say(
                printable(f"{pickle}: a cache of another tool; it is not opened, the pictures are used"),
                label="note:",
            )
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
            say(printable(f"{picture.picture}: {picture.reason}"), label="refused:" if picture.refused else "skipped:")
        elif picture.reasons:
            say(printable(f"{picture.picture}: {picture.reason}"), label="note:")


def _record(report: EnrolReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "faces": report.subject.faces if report.subject else 0,
        "added": list(report.added),
        "known": list(report.known),
        "skipped": [picture.picture for picture in report.skipped],
        "several_faces": [p.picture for p in report.pictures if p.outcome == "added" and p.faces > 1],
        "remarks": [
            {"source": p.picture, "outcome": p.outcome, "reasons": [_reason(reason) for reason in p.reasons]}
            for p in report.pictures
            if p.reasons
        ],
    }


def _reason(reason: Reason) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(float(value), 6)

    return {
        "code": reason.code,
        "message": reason.message,
        "value": rounded(reason.value),
        "limit": rounded(reason.limit),
        "other": reason.other,
    }
