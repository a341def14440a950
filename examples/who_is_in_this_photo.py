"""Show mien some known people, then ask who is in a photo.

    python examples/who_is_in_this_photo.py people/ photo.jpg

`people/` holds a folder per person, or one photo per person whose file name is the name.
"""

import sys

import mien


def main(people_folder: str, photo: str) -> None:
    with mien.Gallery.open(":memory:") as people:
        people.enrol_folder(people_folder)
        print(f"{len(people.subjects())} people known")
        for who in people.identify(photo):
            x, y = (round(v) for v in who.face.box[:2])
            print(f"face at ({x}, {y}): {who.name or 'unknown'}  [{who.match.score:.3f}: {who.match.reason}]")


if __name__ == "__main__":
    main(*sys.argv[1:3])
