"""Random histories of a gallery, what each step must leave, and how a gallery is made to take them."""

from __future__ import annotations

import random


def history(seed, length=30):
    """A list of operations that are all possible, and the states before, between and after them.

    A state is {name: [(number, picture, negative), ...]}; numbers grow in the order of enrolment.
    """
    rng = random.Random(seed)
    state, states, operations, number = {}, [{}], [], 0
    for step in range(length):
        names = [name for name in state if state[name]]
        kind = rng.choice(["enrol", "enrol", "enrol", "remove", "merge", "move", "reject", "rename", "lose", "backup"])
        if len(names) < 3:
            kind = "enrol"
        state = {name: list(faces) for name, faces in state.items()}
        if kind == "enrol":
            name = rng.choice([*state, f"new {step}", f"new {step}"])
            pictures = [f"{step}-{i}" for i in range(rng.randint(1, 6))]
            state.setdefault(name, [])
            for picture in pictures:
                number += 1
                state[name].append((number, picture, False))
            operations.append(("enrol", name, pictures))
        elif kind == "reject":
            name = rng.choice(names)
            number += 1
            state[name].append((number, f"not {step}", True))
            operations.append(("reject", name, f"not {step}"))
        elif kind == "remove":
            name = rng.choice(names)
            del state[name]
            operations.append(("remove", name))
        elif kind == "merge":
            name, into = rng.sample(names, 2)
            state[into] = sorted(state[into] + state.pop(name))
            operations.append(("merge", name, into))
        elif kind == "move":
            name, to = rng.sample(names, 2)
            moving = rng.sample(state[name], rng.randint(1, len(state[name])))
            state[name] = [face for face in state[name] if face not in moving]
            state[to] = sorted(state[to] + moving)
            operations.append(("move", name, [picture for _, picture, _ in moving], to))
        elif kind == "lose":
            name = rng.choice(names)
            lost = rng.choice(state[name])
            state[name].remove(lost)
            operations.append(("lose", name, lost[1]))
        elif kind == "rename":
            name = rng.choice(names)
            state = {f"renamed {step}" if n == name else n: faces for n, faces in state.items()}
            operations.append(("rename", name, f"renamed {step}"))
        else:
            operations.append(("backup", f"copy {step}.db"))
        states.append(state)
    return operations, states


def apply(gallery, operation, folder, embedding):
    """Do one operation."""
    kind, *rest = operation
    if kind == "enrol":
        name, pictures = rest
        gallery.add(name, [embedding("face", picture) for picture in pictures], pictures=pictures)
    elif kind == "reject":
        gallery.reject(rest[0], embedding("face", rest[1]), picture=rest[1])
    elif kind == "remove":
        gallery.remove(rest[0])
    elif kind == "merge":
        gallery.merge(*rest)
    elif kind == "move":
        name, pictures, to = rest
        gallery.move_faces([face.id for face in gallery.faces(name) if face.picture in pictures], to)
    elif kind == "lose":
        gallery.remove_faces([face.id for face in gallery.faces(rest[0]) if face.picture == rest[1]])
    elif kind == "rename":
        gallery.rename(*rest)
    else:
        gallery.backup(folder / rest[0])


def found(gallery):
    """The state of a gallery, without the numbers."""
    return {s.name: [(f.picture, f.negative) for f in gallery.faces(s.name)] for s in gallery.subjects()}


def without_numbers(state):
    return {name: [face[1:] for face in faces] for name, faces in state.items()}
