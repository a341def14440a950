"""`mien identify`: who is in these photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.criterion import CalibrationFile, described, one_in
from mien.cli.galleries import (
    DEFAULT_GALLERY,
    FpirOption,
    GalleryPath,
    GroupOption,
    KeyOption,
    RuleOption,
    check_fpir,
    open_gallery,
    shown_place,
)
from mien.cli.identify_more import explain_faces, log_sightings, show_witness
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, Photos, PresetName, Upright, photos_in
from mien.cli.output import (
    CsvFlag,
    JsonFlag,
    emit_csv,
    emit_json,
    errors_of,
    face_record,
    finish,
    print_line,
    printable,
    say,
    watch_each,
)
from mien.errors import InputError, MienError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mien.cli.placing import Places
    from mien.types import Analysis, Identification

__all__ = ["KNOWN", "UNKNOWN", "identify"]

Threshold = Annotated[
    float | None, typer.Option("--threshold", help="Name faces from this score on, instead of at a rate.")
]
DrawFolder = Annotated[Path | None, typer.Option("--draw", help="Write the photos with names into this folder.")]
LogFlag = Annotated[bool, typer.Option("--log", help="Note in the gallery who was seen; see `mien gallery sightings`.")]
LogTime = Annotated[str, typer.Option("--log-time", help="When they were seen: now, or the time of the photo's file.")]
ExplainFlag = Annotated[bool, typer.Option("--explain", help="Tell of the nearest people and their nearest faces.")]
Font = Annotated[Path | None, typer.Option("--font", help="Font for --draw; needed for scripts no font here has.")]
_MATCH = ("name", "score", "threshold", "margin", "nearest", "nearest_picture", "runner_up", "runner_up_score")
_CSV = ("source", "face", *_MATCH, "x0", "y0", "x1", "y1", "confidence", "reason")
KNOWN, UNKNOWN = (46, 204, 64), (255, 133, 27)  # green and orange: told apart by most colour-blind people, too


def identify(
    photos: Photos,
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    group: GroupOption = None,
    rule: RuleOption = "blend",
    explain: ExplainFlag = False,
    log: LogFlag = False,
    log_time: LogTime = "now",
    fpir: FpirOption = None,
    threshold: Threshold = None,
    calibration: CalibrationFile = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    upright: Upright = False,
    draw: DrawFolder = None,
    font: Font = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Name the people in photos, or say that they are unknown, and why.

    Exit code 0: somebody was named, 1: nobody was, 2: a photo could not be used.
    """
    rate = check_fpir(fpir, threshold)
    if log_time not in ("now", "file"):
        raise InputError(f"--log-time: expected now or file, got {log_time!r}")
    paths = photos_in(photos)
    places = None
    if draw is not None:
        from mien.cli.placing import Places

        places = Places(draw, paths, [photo for photo in photos if photo.is_dir()])
    failures: list[Analysis] = []
    undrawn: list[dict[str, str]] = []
    records: list[dict[str, Any]] = []
    quiet = as_json or as_csv
    with open_gallery(
        gallery,
        preset=preset,
        min_face=min_face,
        upright=upright,
        model=model,
        detector=detector,
        licence=licence,
        readonly=not log,
        calibration=calibration,
        key=key,
    ) as known:
        people, where = len(known), shown_place(gallery, known)
        how: Any = {"fpir": rate, "threshold": threshold, "group": group, "rule": rule}
        answers = known.identify_all(paths, **how)
        pairs = (((path, who), found) for path, (found, who) in zip(paths, answers, strict=True))
        for (path, who), found in watch_each(pairs, len(paths), "Identifying", failures):
            record: dict[str, Any] = {"source": found.source, "size": list(found.size), "turns": found.turns}
            record["faces"] = [_record(one) for one in who]
            if explain:
                explain_faces(known, found, who, record["faces"], group=group, rule=how["rule"])
            if log:
                log_sightings(known, path, who, log_time)
            if not quiet:
                _show(record)
            if places is not None:
                try:
                    record["drawing"] = _draw(path, found, who, places, font)
                except MienError as error:
                    undrawn.append({"source": found.source, "error": str(error)})
                    say(printable(str(error)), label="not drawn:")
            records.append(record)
        used = known.calibration if threshold is None and people > 0 else None

    named = [face["name"] for record in records for face in record["faces"] if face["name"] is not None]
    if as_json:
        errors = errors_of(failures) + undrawn
        emit_json(
            {
                "gallery": where,
                "subjects": people,
                "provisional": used is not None and used.provisional,
                "calibration": None if used is None else used.record(),
                "photos": records,
                "errors": errors,
            }
        )
    elif as_csv:
        emit_csv(_CSV, _rows(records))
    else:
        _sum_up(records, named)
        if used is not None:
            note = " (provisional calibration)" if used.provisional else ""
            print_line(f"{one_in(rate)} strangers may be named{note}; calibration: {described(used)}")
    finish(failed=bool(failures or undrawn), matched=bool(named))


def _sum_up(records: list[dict[str, Any]], named: list[str]) -> None:
    """Count over photos; a single one has said it all."""
    if len(records) > 1:
        people_named = len(set(named))
        who_word = "person" if people_named == 1 else "people"
        faces = sum(len(record["faces"]) for record in records)
        print_line(
            f"{len(records)} photos, {faces} faces: {len(named)} named ({people_named} {who_word}), "
            f"{faces - len(named)} unknown",
            style="bold",
        )


def _record(one: Identification) -> dict[str, Any]:
    match = one.match
    compared = match.nearest_name is not None  # an empty gallery has no score to give
    return {
        **face_record(one.face),
        "name": match.name,
        "score": round(match.score, 6) if compared else None,
        "threshold": round(match.threshold, 6),
        "fpir": match.fpir,
        "nearest": match.nearest_name,
        "nearest_picture": match.nearest,
        "runner_up": match.runner_up,
        "runner_up_score": None if match.runner_up_score is None else round(match.runner_up_score, 6),
        "margin": None if match.margin is None else round(match.margin, 6),
        "reason": match.reason,
    }


def _rows(records: list[dict[str, Any]]) -> Iterator[list[object]]:
    for record in records:
        for i, face in enumerate(record["faces"], 1):
            x0, y0, x1, y1 = face["box"]
            values = {**face, "source": record["source"], "face": i, "x0": x0, "y0": y0, "x1": x1, "y1": y1}
            yield ["" if values[column] is None else values[column] for column in _CSV]


def _show(record: dict[str, Any]) -> None:
    faces = record["faces"]
    turned = f" (after {record['turns']} quarter turns)" if record["turns"] else ""
    count = "no face" if not faces else "1 face" if len(faces) == 1 else f"{len(faces)} faces"
    print_line(f"{record['source']}: {count}{turned}")
    for face in faces:
        x0, y0, x1, y1 = face["box"]
        where = f"{x1 - x0:.0f} x {y1 - y0:.0f} at ({x0:.0f}, {y0:.0f})"
        if face["name"] is None:
            closest = f"; closest is {face['nearest']}" if face["nearest"] is not None else ""
            print_line(f"  unknown  {face['reason']}{closest}  [{where}]", style="yellow")
        else:
            second = ""
            if face["runner_up"] is not None and face["runner_up_score"] < face["threshold"]:  # else the reason tells
                second = f"; next {face['runner_up']}, {face['margin']:.3f} behind"
            like = f"; like {face['nearest_picture']}"
            print_line(f"  {face['name']}  {face['reason']}{second}{like}  [{where}]", style="green")
        for witness in face.get("explanation", ()):
            show_witness(witness)


def _draw(
    path: Path, found: Analysis, who: Sequence[Identification], places: Places, font: Path | None
) -> dict[str, Any]:
    """Write the photo with names; where to, and the legend of the names that no font here can draw."""
    from mien.images import decode, draw, save

    target = places.place(path)
    places.open(target)
    labels = [one.name or "unknown" for one in who]
    colours = [KNOWN if one.match.known else UNKNOWN for one in who]
    # Decoded once more rather than kept since the detection: memory stays that of one photo.
    drawing = draw(decode(path), found.faces, labels, font=font, colours=colours)
    save(drawing.image, target)
    for line in drawing.legend:
        say(printable(f"{target}: {line}"), label="legend:")
    return {"path": str(target), "legend": drawing.legend}
