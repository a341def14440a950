"""Other versions of a picture: what training, hard test sets and the generators of `mien data` share; without torch.

Every function takes RGB uint8 (H, W, 3) and gives a new picture of the same size; what is random in it comes from the
generator that is handed in, so that (seed, epoch, index) decides the result, whatever the number of workers.
"""

from mien.images.augment.cover import mask_face, occlude
from mien.images.augment.degrade import add_noise, blur, compress, lower_resolution
from mien.images.augment.light import (
    EVENINGS,
    Evening,
    change_light,
    correct_gamma,
    equalise,
    evened,
    gamma,
    grey,
    self_quotient,
)
from mien.images.augment.mesh import MESH_FAMILIES, Mesh, draw_mesh, random_mesh
from mien.images.augment.pipeline import Augmentation, augmented, generator
from mien.images.augment.shape import flip, rotate, shift_and_scale, turn_away
from mien.images.augment.worn import wear_glasses, wear_hat

__all__ = [
    "EVENINGS",
    "MESH_FAMILIES",
    "Augmentation",
    "Evening",
    "Mesh",
    "add_noise",
    "augmented",
    "blur",
    "change_light",
    "compress",
    "correct_gamma",
    "draw_mesh",
    "equalise",
    "evened",
    "flip",
    "gamma",
    "generator",
    "grey",
    "lower_resolution",
    "mask_face",
    "occlude",
    "random_mesh",
    "rotate",
    "self_quotient",
    "shift_and_scale",
    "turn_away",
    "wear_glasses",
    "wear_hat",
]
