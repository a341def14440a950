"""Configs of distillations: a network of one's choice, or mien's own embedder made firmer."""

from __future__ import annotations

from mien.train.config import (
    DataConfig,
    NetworkConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)

__all__ = ["hardened_default", "student"]


def student(name: str) -> TrainConfig:
    """A network by name, from new weights: twenty epochs of pictures that are mirrored at most."""
    return TrainConfig(
        recipe="distil",
        network=NetworkConfig(name=name),
        data=DataConfig(batch=128),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.01),
        schedule=ScheduleConfig(epochs=20, warm_up=1.0),
    )


def hardened_default() -> TrainConfig:
    """The default embedder, taught to say of bad pictures what it says of good ones.

    The teacher sees each picture as it is and with all looks of the preset "accurate"; the student, which starts from
    the same weights, sees it once, and two times in three made worse: grey, small, blurred, under a mesh, turned away.
    Low rates, a teacher that is the old model, and a quarter of the old weights kept are against forgetting.
    """
    worse = dict.fromkeys(("greys", "small", "blurs", "mesh", "away"), 0.15)
    return TrainConfig(
        recipe="distil-default",
        network=NetworkConfig(name="dlib-resnet29", weights="default"),
        data=DataConfig(
            batch=64,
            augment={
                **worse,
                "flip": 0.5,
                "move": 0.5,
                "turn": 0.5,
                "light": 0.2,
                "jpeg": 0.05,
                "most_shift": 0.02,
                "most_scale": 1.05,
                "most_turn": 0.07,
                "least_side": 18,
            },
        ),
        optimizer=OptimizerConfig(name="adamw", lr=3e-5, weight_decay=0.0, clip=1.0, ema=0.995, start_share=0.25),
        schedule=ScheduleConfig(epochs=3, warm_up=0.2),
    )
