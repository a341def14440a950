"""`mien export`: one folder that holds a model, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import InputError, ModelError
from mien.train.backbones import save_network
from mien.train.code_record import code_in_words
from mien.train.export.accuracy import Form, face_time, measured_on
from mien.train.export.calibrations import write_calibrations
from mien.train.export.card_file import card_values, looks_as_default, write_card
from mien.train.export.faces import aligned_faces, example_faces
from mien.train.export.graph import MAX_DIFFERENCE, MIN_COSINE, Agreement, check_graph, graph_input, to_onnx
from mien.train.export.placing import MARK, need_ours, put_in_place
from mien.train.export.published import without_folders
from mien.train.export.readme import readme
from mien.train.export.run_folder import Run, model_name, read_run
from mien.train.export.variants import VARIANTS, to_fp16, to_int8
from mien.train.pair_lists import read_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.evaluate.protocols.sets import PairSet
    from mien.match import Calibration
    from mien.models.card import ModelCard
    from mien.types import Pixels

__all__ = ["ExportSettings", "Exported", "export_run"]

_NOISE: Final = 8
_TIMED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """What to export, and what to measure.

    Attributes:
        variants: forms besides fp32, which is always written: "fp16", "int8".
        name: the model's name; None for the run's folder's.
        licence: SPDX identifier or name of the weights' licence; the training data's terms may bind it.
        commercial: whether that licence allows commercial use.
        part: "best" or "last"; None for the first that is there.
        pairs: a list of pairs in LFW's format, to measure accuracy on.
        images: the folder of their pictures; also what int8 is calibrated on.
        skip_missing: leave out pairs of which a picture is not there, instead of refusing.
        calibrate: a folder of people to calibrate thresholds on.
    """

    variants: tuple[str, ...] = ("fp32",)
    name: str | None = None
    licence: str = ""
    commercial: bool = False
    part: str | None = None
    pairs: Path | None = None
    images: Path | None = None
    skip_missing: bool = False
    calibrate: Path | None = None

    def __post_init__(self) -> None:
        for variant in self.variants:
            if variant not in VARIANTS:
                raise InputError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
        if self.pairs is not None and self.images is None:
            raise InputError("pairs: need the folder of their pictures, too: --images DIR")
        if "int8" in self.variants and self.images is None:
            raise InputError("int8: is calibrated on real faces; give a folder of pictures: --images DIR")
        if self.commercial and not self.licence:
            raise InputError("commercial: say under which licence: --licence NAME")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        folder: where; its name can be given to --model.
        card: of the float32 form.
        agreement: how well it agrees with the trained network.
        forms: all forms, fp32 first.
        calibrations: names of the calibration files.
        notes: what the user has to know.
    """

    folder: Path
    card: ModelCard
    agreement: Agreement
    forms: tuple[Form, ...]
    calibrations: tuple[str, ...]
    notes: tuple[str, ...]


def export_run(
    run_folder: Path,
    out: Path | None = None,
    settings: ExportSettings | None = None,
    *,
    say: Callable[[str], None] = lambda _text: None,
) -> Exported:
    """Write the network of a training run as a model that mien, and any ONNX runtime, can use.

    The folder holds ``model.onnx`` with ``card.toml``, a graph and a card for each variant, the weights as safetensors,
    calibrations, and a model card for people. It is made beside its place and moved there whole; an earlier export
    is replaced, anything else is not.

    Args:
        run_folder: the run.
        out: where to write; ``export`` in the run's folder by default.
        settings: what to export and measure.
        say: is told what is being done.

    Raises:
        NotFoundError: no such run, or no network in it.
        ModelFileError: the network is damaged.
        ModelError: the graph does not compute what the network does.
        InputError: settings, pairs or pictures that make no sense, or a folder that is something else.
        MissingExtraError: onnxscript is not installed.
    """
    settings = settings or ExportSettings()
    run = read_run(Path(run_folder), part=settings.part)
    target = Path(out) if out is not None else run.folder / "export"
    need_ours(target)
    pairs = _pairs(settings, say)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    try:
        made = _Writer(run, draft, settings, say).write(pairs)
        draft.chmod(0o755)
        put_in_place(draft, target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    from mien.models.card import load_card

    return Exported(target, load_card(target / "card.toml"), *made)


class _Writer:
    """Fills a folder. Belongs to one thread."""

    def __init__(self, run: Run, folder: Path, settings: ExportSettings, say: Callable[[str], None]) -> None:
        self.run, self.folder, self.settings, self.say = run, folder, settings, say
        self.pixels = looks_as_default(run.network.spec)
        self.name = settings.name or model_name(run)

    def write(self, pairs: PairSet | None) -> tuple[Agreement, tuple[Form, ...], tuple[str, ...], tuple[str, ...]]:
        network, variants = self.run.network, _ordered(self.settings.variants)
        faces = self._faces(pairs)
        self.say("writing the graph")
        graph = to_onnx(network, pixels=self.pixels)
        agreement = self._checked(graph, faces)
        graphs = {"fp32": graph}
        for variant in variants[1:]:
            self.say(f"making {variant}")
            graphs[variant] = to_fp16(graph) if variant == "fp16" else to_int8(graph, [self._input(faces)])
        cards = {variant: self._write_form(variant, data, {}) for variant, data in graphs.items()}
        measured: dict[str, tuple[float, Any]] = {}
        if pairs is not None:
            self.say(f"measuring on {len(pairs.pairs):,} pairs")
            measured = dict(measured_on(pairs, cards))
        timed = self._input(np.resize(faces, (_TIMED, *faces.shape[1:])))
        forms = tuple(
            Form(
                variant,
                cards[variant].files[0].name,
                len(data),
                face_time(data, timed),
                check_graph(data, network, faces, pixels=self.pixels).cosine,
                *measured.get(variant, ()),
            )
            for variant, data in graphs.items()
        )
        label = "" if pairs is None else f"{pairs.name}, {len(pairs.pairs)} pairs"
        for form in forms:
            cards[form.variant] = self._write_form(form.variant, graphs[form.variant], _accuracy(form, label))
        calibrations: list[tuple[str, Calibration]] = []
        if self.settings.calibrate is not None:
            self.say(f"calibrating on {self.settings.calibrate}")
            calibrations = write_calibrations(self.settings.calibrate, cards, self.folder)
        save_network(network, self.folder, facts=without_folders(dict(self.run.facts)))
        self._write_texts(cards["fp32"], forms, agreement, label, calibrations)
        return agreement, forms, tuple(name for name, _ in calibrations), self._notes(forms, calibrations)

    def _faces(self, pairs: PairSet | None) -> Pixels:
        """Aligned faces: of the user's pictures where there are some, else the few that are always there."""
        spec, images = self.run.network.spec, self.settings.images
        if images is not None:
            from mien.images import list_images

            self.say("looking for faces to check the graph on")
            sources = list_images(images) if pairs is None else [p.source for p in pairs.pictures]
            return aligned_faces(sources, spec)
        faces = example_faces(spec)
        return faces if len(faces) else self._noise()

    def _noise(self) -> Pixels:
        spec = self.run.network.spec
        shape = (_NOISE, spec.size, spec.size, spec.channels)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def _input(self, pictures: Pixels) -> Any:  # noqa: ANN401 - uint8 or float32
        return graph_input(self.run.network, pictures, pixels=self.pixels)

    def _checked(self, graph: bytes, faces: Pixels) -> Agreement:
        found = check_graph(graph, self.run.network, np.concatenate([faces, self._noise()]), pixels=self.pixels)
        if not found.good:
            raise ModelError(
                f"{self.run.network.name}: the ONNX graph does not compute what the network does: numbers differ by "
                f"{found.difference:.2g} of the largest (at most {MAX_DIFFERENCE:g}), cosine {found.cosine:.6f} (at "
                f"least {MIN_COSINE:g}); nothing was written"
            )
        return found

    def _write_form(self, variant: str, data: bytes, accuracy: dict[str, Any]) -> ModelCard:
        mark = "" if variant == "fp32" else f"-{variant}"
        file, run = f"model{mark}.onnx", self.run
        (self.folder / file).write_bytes(data)
        values = card_values(
            run.network.spec,
            name=f"{self.name}{mark}",
            title=f"{self.name}: {run.network.name}, trained with mien" + (f", {variant}" if mark else ""),
            dimension=run.network.test_dim,
            file=file,
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            licence=self.settings.licence or "unstated",
            commercial=self.settings.commercial,
            source=_source(run),
            accuracy=accuracy,
        )
        return write_card(self.folder / f"card{mark}.toml", values)

    def _write_texts(
        self,
        card: ModelCard,
        forms: tuple[Form, ...],
        agreement: Agreement,
        pairs: str,
        calibrations: list[tuple[str, Calibration]],
    ) -> None:
        versions = {"mien": metadata.version("mien"), "torch": metadata.version("torch")}
        text = readme(
            self.run,
            card,
            forms=forms,
            agreement=agreement,
            pairs=pairs,
            calibrations=calibrations,
            versions=versions,
        )
        (self.folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
        record = {
            "format": 1,
            "name": self.name,
            "network": self.run.network.name,
            "from": self.run.part,
            "forms": [form.record() for form in forms],
            "agreement": {
                "pictures": agreement.pictures,
                "cosine": agreement.cosine,
                "difference": agreement.difference,
            },
            "calibrations": [name for name, _ in calibrations],
            "versions": versions,
            "trained_by": code_in_words(self.run.facts.get("code")),
        }
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        (self.folder / MARK).write_text(text + "\n", encoding="utf-8", newline="\n")

    def _notes(self, forms: tuple[Form, ...], calibrations: list[tuple[str, Calibration]]) -> tuple[str, ...]:
        notes = []
        if not self.settings.licence:
            notes.append("no licence was given: the card says so, and --licence commercial will refuse the model")
        if not calibrations:
            notes.append("no calibration: mien will ask for --threshold; make one with --calibrate FOLDER_OF_PEOPLE")
        if forms[0].accuracy is None:
            notes.append("accuracy was not measured; give --pairs FILE --images DIR")
        for form in forms[1:]:
            lost = [str(c) for c in form.changes if c.high < 0]
            if lost:
                notes.append(f"{form.variant} is worse than fp32: {'; '.join(lost)}")
        return tuple(notes)


def _source(run: Run) -> str:
    """Which code trained it, as the run noted; of several pieces the last, with where the others are told."""
    pieces = code_in_words(run.facts.get("code"))
    if not pieces:
        return "trained with mien"
    if not pieces[-1].startswith("from step"):
        return f"trained with {pieces[-1]}"
    return f"trained with mien in pieces (README.md), the last {pieces[-1]}"


def _accuracy(form: Form, pairs: str) -> dict[str, Any]:
    if form.accuracy is None:
        return {}
    source = f"mien export, {pairs}, preset accurate"
    rates = {f"TAR {c.rate.removeprefix('TAR ')}": c for c in form.changes if c.rate.startswith("TAR")}
    table: dict[str, Any] = {"accuracy": {"value": form.accuracy, "source": source}}
    for name, change in rates.items():
        table[name] = {
            "value": change.after,
            "source": source,
            "against_fp32": [change.low, change.high],
        }
    return table


def _ordered(variants: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(v for v in VARIANTS if v == "fp32" or v in variants)


def _pairs(settings: ExportSettings, say: Callable[[str], None]) -> PairSet | None:
    if settings.pairs is None or settings.images is None:
        return None
    return read_pairs(settings.pairs, settings.images, skip_missing=settings.skip_missing, say=say)
