"""`mien crop SRC DST`: faces cut out of photos, in folders like those of the photos."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName, Upright, make_recognizer
from mien.cli.output import (
    CsvFlag,
    JsonFlag,
    counted,
    emit_csv,
    emit_json,
    errors_of,
    face_record,
    finish,
    print_line,
    printable,
    progress,
    say,
)
from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mien.prepare.cropping import Crop, CropOptions, Cropped

__all__ = ["crop"]

Src = Annotated[
    Path, typer.Argument(readable=False, show_default=False, help="A folder of people, a folder of photos, or a photo.")
]
Dst = Annotated[Path, typer.Argument(show_default=False, help="Folder for the crops; made when it is not there.")]
Align = Annotated[bool, typer.Option("--align/--loose", help="Turned upright by the landmarks, or the box as it is.")]
Size = Annotated[
    str | None, typer.Option("--size", help="N or WxH pixels. Not given: the template's; for --loose, uncut pixels.")
]
Template = Annotated[
    str | None, typer.Option("--template", help="Where --align puts the landmarks: arcface112 (default) or dlib150.")
]
Margin = Annotated[
    float | None,
    typer.Option("--margin", help="More around the face, as a share of it on each side (0; for --loose 0.2)."),
]
AllFaces = Annotated[
    bool | None, typer.Option("--all-faces/--main", help="Every face (name~1, name~2, ...) or the main one (default).")
]
Choose = Annotated[
    str | None,
    typer.Option("--choose", help="main (large and near the middle), largest, central, or all, as --all-faces."),
]
Person = Annotated[
    list[Path] | None,
    typer.Option("--person", readable=False, help="Cut the face most like the one in this photo; may be repeated."),
]
MatchFolder = Annotated[
    bool, typer.Option("--match-folder", help="Cut the face most like those in the folder's other photos.")
]
Threshold = Annotated[
    float | None, typer.Option("--threshold", help="Least similarity for --person and --match-folder, -1 to 1.")
]
Review = Annotated[Path | None, typer.Option("--review", help="Write a page to look the result over: an .html file.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Cut again what is there already.")]
Moved = Annotated[
    bool, typer.Option("--moved", help="SRC is the folder of earlier runs, moved: photos that differ have changed.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
RayAddress = Annotated[
    str | None, typer.Option("--ray", help="Work on a Ray cluster: its address, auto, or local (see docs/crop.md).")
]
RayWorkers = Annotated[int | None, typer.Option("--ray-workers", min=1, help="Worker processes on it; all its cores.")]


def crop(
    src: Src,
    dst: Dst,
    *,
    align: Align = True,
    size: Size = None,
    template: Template = None,
    margin: Margin = None,
    choose: Choose = None,
    all_faces: AllFaces = None,
    person: Person = None,
    match_folder: MatchFolder = False,
    threshold: Threshold = None,
    review: Review = None,
    overwrite: Overwrite = False,
    moved: Moved = False,
    dry_run: DryRun = False,
    min_face: MinFace = None,
    upright: Upright = False,
    detector: DetectorName = None,
    model: ModelName = None,
    preset: PresetName = None,
    licence: LicenceUse = None,
    ray: RayAddress = None,
    ray_workers: RayWorkers = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Cut faces out of photos, one folder a person where SRC has one. Run again, it cuts only what is missing."""
    from mien.prepare.cropping import crop as cut
    from mien.prepare.cropping import photos_to_crop
    from mien.prepare.cropping_review import Review as Sheet
    from mien.prepare.ray_pipeline import cluster_of

    if template is not None and not align:
        raise InputError("--template: means nothing with --loose, which does not align")
    which = _which(choose, all_faces, person=bool(person), match_folder=match_folder)
    _check_threshold(threshold, needed=bool(person) or match_folder)
    if moved and overwrite:
        raise InputError("--moved: means nothing with --overwrite, which forgets the earlier runs")
    options = _options(align, _size(size), template, margin, which)
    photos = photos_to_crop(src, dst)
    if review is not None:
        from mien.cli.placing import output_file

        output_file("--review", review, photos, {".html"})
    made = {"upright": upright, "model": model, "detector": detector, "licence": licence}
    recognizer = make_recognizer(preset, min_face, **made)  # type: ignore[arg-type]  # the values are as declared
    cluster = cluster_of(ray, ray_workers, make_recognizer, preset, min_face, **made)
    answers = cut(
        src,
        dst,
        recognizer,
        options,
        person=person or (),
        match_folder=match_folder,
        threshold=threshold,
        fresh=overwrite,
        moved=moved,
        dry_run=dry_run,
        pinned={"detector": detector, "min_face": min_face, "upright": upright},
        photos=photos,
        cluster=cluster,
    )
    tally = _Tally(keep=as_json)
    sheet = Sheet(src, dst) if review is not None and not dry_run else None
    with contextlib.closing(
        answers
    ):  # an interrupted run saves what is finished when it is closed, not some time later
        watched = tally.watch(answers, len(photos), sheet)
        if as_csv:
            rows = ([c["source"], c["crop"], *c["size"], *c["face"]["box"], c["face"]["confidence"]] for c in watched)
            emit_csv(["source", "crop", "width", "height", "x0", "y0", "x1", "y1", "confidence"], rows)
        else:
            tally.crops += [record for record in watched if as_json]
    if as_json:
        emit_json(tally.document(dry_run=dry_run))
    elif not as_csv:
        tally.show(dst, len(photos), dry_run=dry_run)
    if review is not None and sheet is not None:
        sheet.write(review)
        say(f"{review}: look the result over there", label="written:")
    elif review is not None:
        say(f"{review}: not written in a dry run", label="note:")
    finish(failed=bool(tally.count["failed"]))


class _Tally:
    """What a run came to."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self.count: Counter[str] = Counter()
        self.crops: list[dict[str, Any]] = []
        self._failures: list[Any] = []
        self._to_do: list[str] = []
        self._without: list[str] = []
        self._skipped: list[dict[str, str]] = []

    def watch(self, answers: Iterable[Cropped], total: int, sheet: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
        """The records of the crops, as they are made."""
        with progress(total, "Cutting faces") as advance:
            for answer in answers:
                advance(1)
                if sheet is not None:
                    sheet.add(answer)
                if not answer.crops:
                    self._skip(answer)
                for piece in answer.crops:
                    self.count["cut"] += 1
                    yield _record(answer.source, piece)

    def _skip(self, answer: Cropped) -> None:
        from mien.types import Analysis

        shown, decision = str(answer.source), answer.decision
        if decision in ("cut", "there"):
            self.count["kept"] += 1
            return
        self.count[decision] += 1
        if decision == "to do":
            if self._keep:
                self._to_do.append(shown)
        elif answer.error is not None:
            self._failures += [Analysis.failed(shown, answer.error)] if self._keep else []
            say(printable(str(answer.error)), label="skipped:")
        else:
            if self._keep:
                self._without += [shown] if decision == "no face" else []
                self._skipped.append({"source": shown, "reason": decision})
            if not answer.before:
                say(f"{shown}: {decision}{' found' if decision == 'no face' else ''}", label="skipped:")

    def document(self, *, dry_run: bool) -> dict[str, Any]:
        """The run in JSON."""
        plan = {"to_do": self._to_do} if dry_run else {}
        return {
            "crops": self.crops,
            "kept": self.count["kept"],
            "without_face": self._without,
            "skipped": self._skipped,
            **plan,
            "errors": errors_of(self._failures),
        }

    def show(self, dst: Path, photos: int, *, dry_run: bool) -> None:
        """The run in a line."""
        named = {"kept": "done before", **{k: k for k in self.count if k not in ("cut", "kept", "failed", "to do")}}
        counts = [(self.count[key], what) for key, what in [*named.items(), ("failed", "failed")] if self.count[key]]
        notes = ", ".join(f"{count} {what}" for count, what in counts)
        if dry_run:
            done = f"{counted(self.count['to do'], 'photo')} of {photos:,} to look at for {dst}"
        else:
            done = f"{counted(self.count['cut'], 'face')} cut from {counted(photos, 'photo')} into {dst}"
        print_line(done + (f" ({notes})" if notes else ""), style="bold")


def _record(source: Path, piece: Crop) -> dict[str, Any]:
    record = {
        "source": str(source), "crop": str(piece.file), "size": list(piece.size), "face": face_record(piece.face)
    }  # fmt: skip
    return record if piece.similarity is None else {**record, "similarity": round(piece.similarity, 4)}


def _which(choose: str | None, all_faces: bool | None, *, person: bool, match_folder: bool) -> str:
    """Which face, by the options of which only one can be meant."""
    rule = None if all_faces is None else "--all-faces" if all_faces else "--main"
    if choose is not None and rule is not None and choose != rule.removeprefix("--").removesuffix("-faces"):
        raise InputError(f"{rule}: says another thing than --choose {choose}; give one of the two")
    if person and match_folder:
        raise InputError("--match-folder: finds out itself whom a folder is of; give either it or --person")
    own = "--match-folder" if match_folder else "--person" if person else None
    given = "--choose" if choose is not None else rule
    if own is not None and given is not None:
        raise InputError(f"{own}: chooses the face itself; leave {given} out")
    return choose or ("all" if all_faces else "main")


def _check_threshold(threshold: float | None, *, needed: bool) -> None:
    if threshold is None:
        return
    if not needed:
        raise InputError("--threshold: means nothing without --person or --match-folder")
    if not -1 <= threshold <= 1:
        raise InputError(f"--threshold: expected a similarity from -1 to 1, got {threshold}")


def _options(
    align: bool, size: tuple[int, int] | None, template: str | None, margin: float | None, choose: str
) -> CropOptions:
    from mien.prepare.cropping import CropOptions

    given = {} if template is None else {"template": template}
    try:
        return CropOptions(choose=cast("Any", choose), align=align, size=size, margin=margin, **given)
    except InputError as error:
        raise InputError(f"--{error}") from error


def _size(text: str | None) -> tuple[int, int] | None:
    """Read N or WxH.

    >>> _size("112"), _size("96x112")
    ((112, 112), (96, 112))
    """
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and len(side) <= 4 for side in sides):
        raise InputError(f"--size: expected N or WxH in pixels, such as 112 or 96x112, got {text!r}")
    return int(sides[0]), int(sides[-1])
