"""Recipes: a config each, as a function that says when to take it. Every choice can be set otherwise afterwards.

All end with a run of one of the networks on your data; `mien train RECIPE --data DIR --out runs/x`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from mien.errors import NotFoundError
from mien.train.config import (
    DataConfig,
    LoopConfig,
    LossConfig,
    MeasureConfig,
    NetworkConfig,
    OptimizerConfig,
    SamplerConfig,
    ScheduleConfig,
    TrainConfig,
)
from mien.train.settings import nearest

__all__ = ["RECIPES", "recipe"]

_AUGMENT: Final = {"flip": 0.5, "move": 0.3, "light": 0.3, "greys": 0.05, "blurs": 0.05, "small": 0.1, "jpeg": 0.05}
_AUGMENT_SMALL: Final = {
    "flip": 0.5,
    "move": 0.8,
    "turn": 0.5,
    "light": 0.3,
    "greys": 0.07,
    "blurs": 0.07,
    "small": 0.1,
    "jpeg": 0.07,
    "cover": 0.1,
    "most_shift": 0.03,
    "most_scale": 1.05,
    "most_turn": 0.08,
    "away": 0.25,
    "most_away": 0.6,
}
"""For a small network on few people; in short runs much more of it, from the start, learned more slowly."""
_PK: Final = SamplerConfig(name="pk", each=4)


def _scratch(loss: str, warm_up: float = 0.0, **options: Any) -> TrainConfig:  # noqa: ANN401
    """From new weights, by classification: iResNet-50 at rate 0.1, as the papers have it."""
    return TrainConfig(
        recipe=loss,
        network=NetworkConfig(name="iresnet50"),
        data=DataConfig(batch=256, augment=_AUGMENT),
        loss=LossConfig(name=loss, options=options, margin_warm_up=warm_up),
        optimizer=OptimizerConfig(lr=0.1, momentum=0.9, weight_decay=5e-4),
        schedule=ScheduleConfig(epochs=20, warm_up=1.0, name="poly", power=2.0),
    )


def _metric(loss: str, **options: Any) -> TrainConfig:  # noqa: ANN401
    """By distances within batches of people x pictures, at a low rate: best from weights that know faces already."""
    return TrainConfig(
        recipe=loss,
        network=NetworkConfig(name="iresnet50"),
        data=DataConfig(batch=128, sampler=_PK, augment=_AUGMENT),
        loss=LossConfig(name=loss, options=options),
        optimizer=OptimizerConfig(name="adamw", lr=3e-4, weight_decay=0.01),
        schedule=ScheduleConfig(epochs=20, warm_up=1.0),
    )


def softmax() -> TrainConfig:
    """The base line: plain softmax over inner products. Whatever else you try should beat it."""
    return _scratch("softmax")


def normface() -> TrainConfig:
    """NormFace: softmax over cosines, no margin; for the papers' comparison."""
    return _scratch("normface")


def center() -> TrainConfig:
    """Softmax and center loss: gathers each person; for the papers' comparison."""
    return _scratch("center", weight=0.003)


def triplet() -> TrainConfig:
    """Triplets within the batch, semi-hard: many people with two to five pictures each. Start from trained weights."""
    return _metric("triplet", margin=0.2)


def contrastive() -> TrainConfig:
    """Pairs within the batch: two pictures a person are enough. Start from trained weights."""
    return _metric("contrastive", margin=1.0)


def l_softmax() -> TrainConfig:
    """L-Softmax, the first large margin; for the papers' comparison."""
    return _scratch("l-softmax", m=2)


def sphereface() -> TrainConfig:
    """SphereFace, the angle times 4, with lambda annealed; for the papers' comparison."""
    return _scratch("sphereface", m=4)


def cosface() -> TrainConfig:
    """CosFace: some hundred people, noisy labels, or where ArcFace does not start."""
    return _scratch("cosface", margin=0.35)


def arcface() -> TrainConfig:
    """ArcFace: clean labels, thousands of people; the default of the field."""
    return _scratch("arcface", warm_up=0.05, margin=0.5)


def combined() -> TrainConfig:
    """m1, m2 and m3 together: between ArcFace and CosFace, to be tuned."""
    return _scratch("combined", warm_up=0.05, m1=1.0, m2=0.3, m3=0.2)


def sub_center() -> TrainConfig:
    """Sub-center ArcFace: web data with wrong labels; its sub-centres tell which pictures to drop."""
    return _scratch("sub-center", warm_up=0.05, margin=0.5, sub_centres=3)


def curricularface() -> TrainConfig:
    """CurricularFace: large clean sets, hard negatives weighed up as training goes on."""
    return _scratch("curricularface", warm_up=0.05, margin=0.5)


def magface() -> TrainConfig:
    """MagFace: the embedding's length becomes the face's quality."""
    return _scratch("magface", warm_up=0.05)


def adaface() -> TrainConfig:
    """AdaFace: good and bad pictures mixed, surveillance, small faces."""
    config = _scratch("adaface", warm_up=0.05)
    return replace(config, data=replace(config.data, augment={**_AUGMENT, "small": 0.2, "cover": 0.1}))


def arcface_triplet() -> TrainConfig:
    """ArcFace and triplets jointly, over batches of people x pictures: fine-tuning."""
    config = _scratch("arcface-triplet", warm_up=0.05, margin=0.5, weight=1.0)
    return replace(config, data=replace(config.data, sampler=_PK))


def softmax_then_triplet() -> TrainConfig:
    """First softmax, then triplets from its best weights at a low rate: two runs, the first in ``before/``."""
    return _after_softmax("softmax-then-triplet", "triplet")


def harmonic_triplet() -> TrainConfig:
    """As softmax-then-triplet, across the new network and the first (or ``loss.old``): their embeddings compare."""
    return _after_softmax("harmonic-triplet", "harmonic-triplet")


def _after_softmax(name: str, loss: str) -> TrainConfig:
    config = _metric(loss, margin=0.2)
    schedule = replace(config.schedule, epochs=5)
    optimizer = replace(config.optimizer, lr=1e-4)
    return replace(config, recipe=name, schedule=schedule, optimizer=optimizer, before=_scratch("softmax"))


def small_cpu() -> TrainConfig:
    """A small iResNet beside fixed filters, CosFace, 24 virtual people to a real one: some hundred people."""
    return TrainConfig(
        recipe="small-cpu",
        network=NetworkConfig(name="filters:iresnet-quick-silu"),
        data=DataConfig(
            batch=128,
            workers=1,
            augment=_AUGMENT_SMALL,
            virtual_people=24,
            virtual_share=0.6,
            border="reflect",
        ),
        loss=LossConfig(
            name="cosface",
            options={"scale": 32.0, "margin": 0.25},
            scale_warm_up=0.3,
            margin_start=0.3,
            margin_warm_up=0.3,
        ),
        optimizer=OptimizerConfig(
            name="muon", lr=0.02, nesterov=True, weight_decay=2.5e-3, head_lr=2.5, clip=20.0, ema=0.996
        ),
        schedule=ScheduleConfig(epochs=20, warm_up=0.5, name="cosine", least=0.04),
        measure=MeasureConfig(epochs=11),
    )


def fine_tune_dlib() -> TrainConfig:
    """The default embedder's own network, on your people: low rates, early stages frozen, kept near what it was."""
    return TrainConfig(
        recipe="fine-tune-dlib",
        network=NetworkConfig(name="dlib-resnet29", weights="default", layer_decay=0.7),
        data=DataConfig(batch=64, sampler=_PK, augment={**_AUGMENT, "small": 0.3, "greys": 0.2, "blurs": 0.2}),
        loss=LossConfig(name="cosface", options={"scale": 32.0, "margin": 0.1}, centres="class-means", keep=10.0),
        optimizer=OptimizerConfig(
            name="adamw", lr=1e-5, weight_decay=0.0, head_lr=10.0, clip=1.0, ema=0.999, start_share=0.25
        ),
        schedule=ScheduleConfig(epochs=2, warm_up=0.2),
        measure=MeasureConfig(first=True),
        loop=LoopConfig(precision="auto"),
    )


RECIPES: Final[Mapping[str, Callable[[], TrainConfig]]] = MappingProxyType(
    {
        made.__name__.replace("_", "-"): made
        for made in (
            small_cpu,
            arcface,
            cosface,
            combined,
            adaface,
            magface,
            curricularface,
            sub_center,
            arcface_triplet,
            triplet,
            contrastive,
            softmax_then_triplet,
            harmonic_triplet,
            softmax,
            normface,
            center,
            l_softmax,
            sphereface,
            fine_tune_dlib,
        )
    }
)
"""Name -> function; its docstring says when to take it."""


def recipe(name: str) -> TrainConfig:
    """The config of a recipe by name.

    Raises:
        NotFoundError: there is no such recipe; names the nearest.
    """
    make = RECIPES.get(name)
    if make is None:
        raise NotFoundError(f"recipe: there is no {name!r}{nearest(name, RECIPES)}")
    return make()
