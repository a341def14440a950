"""Every error mien raises on purpose, in one tree.

    MienError
    ├── InputError                 what was given cannot be used (CLI exit code 2)
    │   ├── ImageError             a picture cannot be read; names the picture
    │   │   └── ImageTooLargeError a picture exceeds the pixel limit
    │   ├── NoFaceError            a picture holds no face where one is needed
    │   ├── CardError              a model card is malformed
    │   └── NotFoundError          a subject, model or file that was named does not exist
    ├── ModelError                 a model cannot be used
    │   ├── ModelFileError         its file is missing, damaged or fails its checksum
    │   └── LicenceError           its licence forbids what was asked
    ├── TrainingError              a training run cannot go on; its last checkpoint stays
    ├── GalleryError               a gallery refuses
    │   ├── GalleryModelError      it was made with another model
    │   ├── UnsupportedError       its home does not promise what was asked; see `gallery.capabilities`
    │   └── GalleryFileError       its file is damaged, locked, not a gallery, or of another version
    └── MissingExtraError          an optional dependency is not installed; prints the pip line

Messages state what was expected, what was found, and what to do.
"""

from __future__ import annotations

__all__ = [
    "CardError",
    "GalleryError",
    "GalleryFileError",
    "GalleryModelError",
    "ImageError",
    "ImageTooLargeError",
    "InputError",
    "LicenceError",
    "MienError",
    "MissingExtraError",
    "ModelError",
    "ModelFileError",
    "NoFaceError",
    "NotFoundError",
    "TrainingError",
    "UnsupportedError",
]


class MienError(Exception):
    """Root of all errors raised by mien on purpose."""


class InputError(MienError):
    """What was given cannot be used."""


class ImageError(InputError):
    """A picture cannot be read.

    Attributes:
        source: the picture as the caller named it (a path, or a tag such as ``<bytes>``).
        reason: what is wrong with it, without the name.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        # Exceptions with several arguments do not survive pickling between processes otherwise.
        return type(self), (self.source, self.reason)


class ImageTooLargeError(ImageError):
    """A picture's header announces more pixels than the limit allows."""


class NoFaceError(InputError):
    """No face was found in a picture where one is needed."""


class CardError(InputError):
    """A model card lacks a field or holds a value that makes no sense."""


class NotFoundError(InputError):
    """A subject, model or file that was named does not exist."""


class ModelError(MienError):
    """A model cannot be used."""


class ModelFileError(ModelError):
    """A model's file is missing, damaged, or not the one its card names."""


class LicenceError(ModelError):
    """A model's licence forbids what was asked."""


class TrainingError(MienError):
    """A training run cannot go on; its last checkpoint stays."""


class GalleryError(MienError):
    """A gallery refuses an operation."""


class GalleryModelError(GalleryError):
    """A gallery holds embeddings of another model than the one in use."""


class GalleryFileError(GalleryError):
    """A gallery's file is damaged, locked, not a gallery, or of an unknown version."""


class UnsupportedError(GalleryError):
    """A gallery's home does not promise what was asked of it."""


class MissingExtraError(MienError):
    """An optional dependency is not installed.

    Args:
        feature: what was asked for, in the user's words.
        extra: the name of the extra that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs an optional dependency; install it with: pip install "mien[{extra}]"')
        self.feature = feature
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.feature, self.extra)
