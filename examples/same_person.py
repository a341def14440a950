"""Are these two photos of one person? Decide at a false match rate that you state.

python examples/same_person.py a.jpg b.jpg 0.0001
"""

import sys

import mien


def main(a: str, b: str, fmr: float = 1e-3) -> bool:
    answer = mien.verify(a, b, fmr=fmr)
    verdict = "same person" if answer.matched else "not the same person"
    print(f"{verdict}: score {answer.score:.3f}, needed {answer.threshold:.3f} at FMR {answer.fmr:g}")
    return answer.matched


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:4])) else 1)
