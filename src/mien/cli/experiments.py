"""`mien experiments`: the figures and tables of the papers, made again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.inputs import DetectorName, LicenceUse, make_recognizer
from mien.cli.output import JsonFlag, emit_json, print_line, print_table, printable, progress, say
from mien.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mien.experiments import Outcome
    from mien.prepare.people import People

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help='The figures and tables of the papers: a picture, and its numbers. Needs pip install "mien\\[train]".',
)

Out = Annotated[Path, typer.Option("--out", show_default=False, help="Folder for the picture and the numbers.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="The same number gives the same result.")]


def _listed(text: str | None) -> list[str] | None:
    """The parts of ``a,b,c``."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _deliver(outcome: Outcome, *, as_json: bool) -> None:
    """Print the numbers, and where the files are."""
    if as_json:
        emit_json(outcome.record)
    else:
        print_table(outcome.header, outcome.rows, right=outcome.header[1:])
        print_line()
    for path in outcome.files:
        say(f"wrote {printable(str(path))}")


@app.command()
def mnist(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", show_default=False, help="MNIST's idx files; t10k alone will do.")
    ],
    *,
    out: Out,
    losses: Annotated[
        str | None, typer.Option("--losses", help="Which, as softmax,arcface; all when not given.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Batches of 64 for each loss.")] = 4000,
    threads: Threads = 1,
    seed: Seed = 0,
    as_json: JsonFlag = False,
) -> None:
    """Handwritten digits in the plane: what each loss does to features."""
    from mien import experiments
    from mien.experiments.digits import DIGIT_LOSSES

    chosen = _listed(losses) or DIGIT_LOSSES
    _deliver(
        experiments.mnist(folder, out, losses=chosen, steps=steps, seed=seed, threads=threads, watch=progress),
        as_json=as_json,
    )


@app.command()
def toy(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", show_default=False, help="A folder with a folder per person.")
    ],
    *,
    out: Out,
    people: Annotated[int, typer.Option("--people", min=2, max=10, help="So many of those with most pictures.")] = 8,
    margin: Annotated[float, typer.Option("--margin", min=0, max=1.5, help="Of ArcFace, in radians.")] = 0.5,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Batches of 64 for each loss.")] = 3000,
    model: Annotated[str | None, typer.Option("--model", help="Whose embeddings are brought to the circle.")] = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    threads: Threads = 1,
    seed: Seed = 0,
    as_json: JsonFlag = False,
) -> None:
    """Eight people on the unit circle: the gaps that ArcFace opens beside the normalised softmax."""
    from mien import experiments
    from mien.prepare.people import read_people, select

    chosen = select(read_people(folder), count=people, least=5)
    rows, labels = _embedded(folder, chosen, model, detector, licence)
    _deliver(
        experiments.toy(rows, labels, out, margin=margin, steps=steps, seed=seed, threads=threads, watch=progress),
        as_json=as_json,
    )


@app.command()
def logits(*, out: Out, as_json: JsonFlag = False) -> None:
    """Target logit curves: what each loss makes of the angle to the own centre."""
    from mien import experiments

    _deliver(experiments.logits(out), as_json=as_json)


@app.command()
def angles(
    before: Annotated[str, typer.Argument(show_default=False, help="A model, or an .npz of `mien data embed`.")],
    after: Annotated[str, typer.Argument(show_default=False, help="Another, of the same pictures.")],
    *,
    out: Out,
    data: Annotated[
        Path | None, typer.Option("--data", show_default=False, help="With models: a folder with a folder per person.")
    ] = None,
    most: Annotated[int | None, typer.Option("--most", min=2, help="At most so many pictures of a person.")] = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    seed: Seed = 0,
    as_json: JsonFlag = False,
) -> None:
    """Histograms of the angles of pairs, and of faces to their centres, before and after training."""
    from mien import experiments
    from mien.experiments.embeddings_file import read_embeddings
    from mien.prepare.people import read_people, select

    found = []
    for which in (before, after):
        if which.lower().endswith(".npz"):
            found.append(read_embeddings(which))
            continue
        if data is None:
            raise InputError(f"--data: {printable(which)} is a model; name a folder of people for it to embed")
        chosen = select(read_people(data), most=most, seed=seed)
        found.append(_embedded(data, chosen, which, detector, licence))
    names = (Path(before).name, Path(after).name)
    _deliver(experiments.angles(found[0], found[1], out, names=names), as_json=as_json)


Data = Annotated[
    list[Path], typer.Option("--data", show_default=False, help="Folder of people, or a packed set; can be repeated.")
]
Pairs = Annotated[Path, typer.Option("--pairs", show_default=False, help="Pairs to measure on, in LFW's format.")]
Images = Annotated[Path, typer.Option("--images", show_default=False, help="The folder that --pairs speaks of.")]
ThresholdPairs = Annotated[
    Path | None, typer.Option("--threshold-pairs", show_default=False, help="Pairs to choose the threshold on.")
]
Aligned = Annotated[bool, typer.Option("--aligned", help="The pictures are aligned crops already.")]
Minutes = Annotated[
    float | None, typer.Option("--minutes", min=0.01, show_default=False, help="Of training and measuring, each run.")
]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, show_default=False, help="The most, each run.")]
Recipe = Annotated[str, typer.Option("--recipe", help="What everything else is taken from; see mien train --list.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", show_default=False, help="For every run, such as data.batch=64."),
]


@app.command()
def losses(
    *,
    data: Data,
    pairs: Pairs,
    images: Images,
    out: Out,
    threshold_pairs: ThresholdPairs = None,
    aligned: Aligned = False,
    minutes: Minutes = None,
    epochs: Epochs = None,
    losses: Annotated[str | None, typer.Option("--losses", help="Which, as softmax,cosface; all if not given.")] = None,
    recipe: Recipe = "small-cpu",
    settings: Settings = None,
    seed: Seed = 0,
    as_json: JsonFlag = False,
) -> None:
    """One network under each loss with one budget: accuracy, convergence, speed, memory. Stopped, it goes on."""
    from mien import experiments
    from mien.experiments.tables import LOSSES

    budget = experiments.Budget(
        data=data,
        pairs=pairs,
        images=images,
        threshold_pairs=threshold_pairs,
        aligned=aligned,
        minutes=minutes,
        epochs=epochs,
        recipe=recipe,
        settings=tuple(settings or ()),
        seed=seed,
    )
    _deliver(experiments.losses(budget, out, names=_listed(losses) or tuple(LOSSES), say=_told), as_json=as_json)


@app.command()
def backbones(
    *,
    data: Data,
    pairs: Pairs,
    images: Images,
    out: Out,
    threshold_pairs: ThresholdPairs = None,
    aligned: Aligned = False,
    minutes: Minutes = None,
    epochs: Epochs = None,
    backbones: Annotated[
        str | None, typer.Option("--backbones", help="Which, as iresnet18,mobilefacenet,timm:resnet18.")
    ] = None,
    recipe: Recipe = "small-cpu",
    settings: Settings = None,
    seed: Seed = 0,
    as_json: JsonFlag = False,
) -> None:
    """Each network with one budget: accuracy, convergence, speed, memory. Stopped, it goes on."""
    from mien import experiments
    from mien.experiments.tables import BACKBONES

    budget = experiments.Budget(
        data=data,
        pairs=pairs,
        images=images,
        threshold_pairs=threshold_pairs,
        aligned=aligned,
        minutes=minutes,
        epochs=epochs,
        recipe=recipe,
        settings=tuple(settings or ()),
        seed=seed,
    )
    _deliver(experiments.backbones(budget, out, names=_listed(backbones) or BACKBONES, say=_told), as_json=as_json)


def _told(text: str) -> None:
    say(printable(text))


def _embedded(
    folder: Path, people: People, model: str | None, detector: str | None, licence: str | None
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Embeddings of the people's main faces, and whose they are; pictures that have none are told and left out."""
    import numpy as np

    from mien.cli.data_folders import faces_found_by
    from mien.prepare.embedding import embed_people

    recognizer = make_recognizer("fast" if model is None else None, model=model, detector=detector, licence=licence)
    with progress(sum(len(pictures) for _, pictures in people), "Looking at pictures") as advance:
        done = embed_people(folder, recognizer, people=people, found_by=faces_found_by(detector, None), advance=advance)
    for error in done.errors():
        say(f"{error['source']}: {error['error']}", label="skipped:")
    if (without := int((~done.found).sum())) > 0:
        say(f"{without} of {len(done)} pictures gave no embedding", label="note:")
    return done.vectors[done.found], np.array(done.people)[done.person[done.found]]
