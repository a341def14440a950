"""The model card: everything about a model that a caller would otherwise guess, as a value that is checked once.

A card is a TOML file. Tables: ``[input]`` (size, colour, mean, std, batch), ``[output]`` (detectors: kinds, strides,
anchors; embedders: dimension, metric), ``[alignment]`` (template), ``[[files]]``, ``[accuracy.*]``, ``[presets.*]``.
Fields that mien does not know are refused: a misspelt field must not silently fall back to a default.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from mien.errors import CardError
from mien.models import _card_fields as check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mien.types import Evening

__all__ = ["FAMILIES", "TEMPLATES", "Colour", "ModelCard", "ModelFile", "Task", "load_card"]

Task: TypeAlias = Literal["detector", "embedder", "landmarks"]
Colour: TypeAlias = Literal["rgb", "bgr", "grey"]
Points: TypeAlias = tuple[tuple[float, float], ...]

FAMILIES: Mapping[str, Task] = MappingProxyType(
    {
        "mtcnn": "detector",
        "yunet": "detector",
        "scrfd": "detector",
        "dlib-resnet": "embedder",
        "aligned": "embedder",
        "dlib-trees": "landmarks",
    }
)
"""The code that can drive a model, and the task it does."""

TEMPLATES = ("arcface-112",)
"""Alignment templates that a card may call by name."""

MAX_CARD_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model, and where it comes from.

    At most one of `packaged`, `url` and `path` is set; with none of them the user has to supply the file.

    Attributes:
        name: the file's name in the store: no folders.
        sha256: checksum in lower-case hex; None when nobody has pinned one yet.
        size: length in bytes, when known.
        packaged: its key in `mien.models.packaged.PACKAGED`: it lies in an installed package.
        url: an https address to download it from.
        path: a file of this machine; in a card file, relative to that file's folder.
    """

    name: str
    sha256: str | None = None
    size: int | None = None
    packaged: str | None = None
    url: str | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        where = f"files ({self.name!r})"
        check.file_name(where, self.name)
        if self.sha256 is not None:
            check.sha256(where, self.sha256)
        if self.size is not None:
            check.whole(f"{where}.size", self.size, 1, check.MAX_FILE_BYTES)
        if self.url is not None:
            check.https(f"{where}.url", self.url)
        if sum(x is not None for x in (self.packaged, self.url, self.path)) > 1:
            raise CardError(f"{where}: expected at most one of packaged, url and path, got several")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a model is. Immutable, hence safe to share between threads.

    Attributes:
        name: its name in the catalogue: lower case, digits, dots, dashes.
        title: its name for people.
        task: what it does.
        family: the code that drives it, a key of `FAMILIES`.
        files: its files.
        licence: SPDX identifier, or the licence's name.
        commercial_use: whether the licence allows commercial use.
        licence_url, licence_notes: where the terms are, and what to know about them.
        source: where the model comes from.
        paper: the publication.
        input_size: (width, height) of the input; None when the model takes any size.
        colour: order of the input's channels; "grey" has one.
        mean, std: per channel, in the order of `colour`; the input is (pixel - mean) / std with pixels 0 to 255. One
            number each for "grey".
        batch: the most pictures one run takes.
        evening: how the light of an aligned face is evened out before anything else, one after the other: the network
            was trained so. Empty for not at all. For family "aligned".
        template: where the five landmarks of an aligned face lie: a name from `TEMPLATES`, or five (x, y) points.
        dimension: length of an embedding.
        metric: what compares embeddings; mien knows "cosine".
        outputs: kinds of a detector's outputs, in the order of the graph; each kind has one tensor a stride.
        strides: pixels between a detector's cells.
        anchors: boxes a cell of a detector.
        accuracy: measured accuracy: test name -> table with `value` and `source` (who measured it), and free fields.
        presets: preset name -> table with `description`, and the settings of the family's code.
        origin: where the card was read from, for messages.
    """

    name: str
    title: str
    task: Task
    family: str
    files: tuple[ModelFile, ...]
    licence: str
    commercial_use: bool
    licence_url: str = ""
    licence_notes: str = ""
    source: str = ""
    paper: str = ""
    input_size: tuple[int, int] | None = None
    colour: Colour | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    batch: int = 1
    evening: tuple[Evening, ...] = ()
    template: str | Points | None = None
    dimension: int | None = None
    metric: str | None = None
    outputs: tuple[str, ...] = ()
    strides: tuple[int, ...] = ()
    anchors: int = 1
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Any] = field(default_factory=dict)
    origin: str = field(default="<card>", compare=False)

    def __post_init__(self) -> None:
        if self.colour == "grey":  # the defaults, of one channel
            for name, default in (("mean", (0.0,) * 3), ("std", (1.0,) * 3)):
                if getattr(self, name) == default:
                    object.__setattr__(self, name, default[:1])
        try:
            self._check()
        except CardError as error:
            raise CardError(f"{self.origin}: {error}") from None
        object.__setattr__(self, "accuracy", check.frozen(self.accuracy))
        object.__setattr__(self, "presets", check.frozen(self.presets))

    def _check(self) -> None:
        check.card_name("name", self.name)
        for name in ("title", "licence"):
            check.text(name, getattr(self, name), required=True)
        for name in ("licence_url", "licence_notes", "source", "paper"):
            check.text(name, getattr(self, name))
        check.choice("task", self.task, get_args(Task))
        check.choice("family", self.family, FAMILIES)
        if FAMILIES[self.family] != self.task:
            raise CardError(f"task: expected {FAMILIES[self.family]!r} for family {self.family!r}, got {self.task!r}")
        if not isinstance(self.commercial_use, bool):
            raise CardError(f"commercial_use: expected true or false, got {self.commercial_use!r}")
        check.distinct_files(self.files)
        if self.input_size is not None:
            check.numbers("input.size", self.input_size, 2, low=1, high=8192, whole_numbers=True)
        if self.colour is not None:
            check.choice("input.colour", self.colour, get_args(Colour))
        channels = 1 if self.colour == "grey" else 3
        check.numbers("input.mean", self.mean, channels)
        check.numbers("input.std", self.std, channels)
        if not all(self.std):
            raise CardError(f"input.std: expected numbers other than 0, got {self.std}")
        check.whole("input.batch", self.batch, 1, 4096)
        check.evening(self.evening, self.family)
        check.template(self.template, TEMPLATES)
        if self.dimension is not None:
            check.whole("output.dimension", self.dimension, 2, 65536)
        if self.metric is not None:
            check.choice("output.metric", self.metric, ("cosine",))
        if self.strides:
            check.numbers("output.strides", self.strides, len(self.strides), low=1, high=1024, whole_numbers=True)
        check.whole("output.anchors", self.anchors, 1, 64)
        check.tables("accuracy", self.accuracy, required=("value", "source"))
        check.tables("presets", self.presets, required=("description",))
        self._check_complete()

    def _check_complete(self) -> None:
        """The fields that the driving code cannot do without."""
        needed: tuple[str, ...] = ()
        if self.task == "embedder":
            needed = ("dimension", "metric", "input_size", "colour")
        if self.family == "aligned":
            needed += ("template",)
        if self.family in ("yunet", "scrfd"):
            needed = ("colour", "outputs", "strides")
        for name in needed:
            if not getattr(self, name):
                raise CardError(f"{name}: expected a value for family {self.family!r}, got none")

    def __reduce__(self) -> tuple[Any, ...]:
        # Read-only mappings do not pickle or copy; plain tables do.
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        tables = {name: check.plain(values[name]) for name in ("accuracy", "presets")}
        return _rebuilt, ({**values, **tables},)

    @property
    def embedding_sha256(self) -> str | None:
        """What decides an embedder's embeddings, as one checksum for its identity; None where the file's is not known.

        The file's; with `evening`, of "SHA256 evening NAME NAME": the same weights in another light embed otherwise.
        """
        known = self.files[0].sha256
        if known is None or not self.evening:
            return known
        return hashlib.sha256(" ".join((known, "evening", *self.evening)).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The card as plain, JSON-ready values, in the layout of the TOML file."""
        files = [
            {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(f).items() if v is not None}
            for f in self.files
        ]
        tables = {
            table: {key: value for key, name in names.items() if (value := getattr(self, name)) not in (None, ())}
            for table, names in check.TABLES.items()
        }
        flat = {name: getattr(self, name) for name in check.FLAT}
        whole: dict[str, Any] = check.plain(
            {**flat, **tables, "accuracy": self.accuracy, "presets": self.presets, "files": files}
        )
        return whole

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, origin: str = "<card>", folder: Path | None = None) -> ModelCard:
        """Build a card from the values of its TOML file.

        Args:
            values: the parsed TOML.
            origin: names the card in messages.
            folder: what relative file paths are relative to; None refuses files with a path.

        Raises:
            CardError: a field is missing, unknown, or makes no sense; the message names the card and the field.
        """
        try:
            fields = check.flatten(values)
            files = tuple(ModelFile(**check.file_fields(f, folder)) for f in fields.pop("files"))
        except CardError as error:
            raise CardError(f"{origin}: {error}") from None
        return cls(**fields, files=files, origin=origin)


def _rebuilt(fields: dict[str, Any]) -> ModelCard:
    return ModelCard(**fields)


def load_card(source: Path | str | bytes) -> ModelCard:
    """Read a model card.

    Args:
        source: the path of a TOML file, or the TOML itself as bytes.

    Raises:
        CardError: the file cannot be read, is not TOML, or describes no valid card.
    """
    if isinstance(source, bytes):
        data, origin, folder = source, "<card>", None
    else:
        path = Path(source)
        origin, folder = str(path), path.absolute().parent
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_CARD_BYTES + 1)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise CardError(f"{origin}: cannot be read ({error})") from error
    if len(data) > MAX_CARD_BYTES:
        raise CardError(f"{origin}: expected at most {MAX_CARD_BYTES} bytes, got more; this is no model card")
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
        raise CardError(f"{origin}: expected a TOML file in UTF-8 ({error})") from error
    return ModelCard.from_dict(values, origin=origin, folder=folder)
