"""Pictures for training: sources of many formats, aligned once, sampled, changed and put into batches."""

from mien.train.data.batches import Batch, Batches
from mien.train.data.opening import open_training_set
from mien.train.data.samplers import PK, Balanced, Mixed, Sampler, Shuffle
from mien.train.data.sources import KINDS, Kind, PictureSpec, Source
from mien.train.data.training_set import LeftOut, TrainingSet
from mien.train.data.virtual_people import VirtualPeople, virtual_each

__all__ = [
    "KINDS",
    "PK",
    "Balanced",
    "Batch",
    "Batches",
    "Kind",
    "LeftOut",
    "Mixed",
    "PictureSpec",
    "Sampler",
    "Shuffle",
    "Source",
    "TrainingSet",
    "VirtualPeople",
    "open_training_set",
    "virtual_each",
]
