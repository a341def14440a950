"""Approximate search of one open gallery: asked for by its user, built anew when the faces have other places."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from mien.gallery.search import ApproximateIndex

if TYPE_CHECKING:
    from mien.gallery.index import Snapshot
    from mien.gallery.search import RecallReport

__all__ = ["Likely"]

_log = logging.getLogger(__name__)


class Likely:
    """The approximate index beside a gallery's exact one, or none. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recall: float | None = None
        self._built: tuple[object, ApproximateIndex] | None = None
        self._building = False

    @property
    def report(self) -> RecallReport | None:
        """What was measured when it was built; None while searches are exact."""
        built = self._built
        return None if self._recall is None or built is None else built[1].report

    def build(self, snapshot: Snapshot, recall: float) -> RecallReport:
        """Build it, and use it from now on; see `ApproximateIndex.built`."""
        index = ApproximateIndex.built(snapshot.index, recall=recall)
        with self._lock:
            self._recall, self._built = recall, (snapshot.lineage, index)
        return index.report

    def drop(self) -> None:
        """Search exactly again."""
        with self._lock:
            self._recall = self._built = None

    def of(self, snapshot: Snapshot) -> ApproximateIndex | None:
        """The index for a snapshot; None, and building in the background, where the one there is is another's."""
        with self._lock:
            if self._recall is None or self._built is None:
                return None
            if self._built[0] is snapshot.lineage:
                return self._built[1]
            if not self._building:
                self._building = True
                threading.Thread(
                    target=self._rebuild, args=(snapshot, self._recall), name="mien-approximate", daemon=True
                ).start()
        return None

    def _rebuild(self, snapshot: Snapshot, recall: float) -> None:
        try:
            index = ApproximateIndex.built(snapshot.index, recall=recall)
            with self._lock:
                if self._recall is not None:
                    self._built = snapshot.lineage, index
        except Exception:  # noqa: BLE001 - whatever faiss does, exact search goes on
            _log.exception("approximate search cannot go on; searches are exact")
            self.drop()
        finally:
            self._building = False
