"""A sheet of who was seen in which photo, as CSV: thousands of photos, all cores, bad files reported and skipped.

python examples/attendance.py people.db photos/ > sheet.csv
"""

import csv
import sys
from pathlib import Path

import mien


def main(gallery: str, folder: str) -> None:
    sheet = csv.writer(sys.stdout)
    sheet.writerow(["photo", "name", "score", "threshold"])
    with mien.Gallery.open(gallery) as people:
        photos = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
        for photo in mien.default_recognizer(people.identity.preset).analyze(photos):
            if photo.error:
                print(photo.error, file=sys.stderr)
                continue
            for match in people.identify_embeddings(photo.embeddings):
                if match.known:
                    sheet.writerow([photo.source, match.name, f"{match.score:.4f}", f"{match.threshold:.4f}"])


if __name__ == "__main__":
    main(*sys.argv[1:3])
