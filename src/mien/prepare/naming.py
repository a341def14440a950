"""Names of people across spellings: two that are written differently, and may mean one person, have one key.

Case, accents, underscores, punctuation and the order of words do not count; Cyrillic, Greek and Japanese kana are
written in Latin letters, in one of several customary ways, and doubled letters count once. A key only proposes:
whether two people are one, their faces say.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["name_key"]


def _table(letters: str, written: str) -> dict[str, str]:
    return dict(zip(letters, written.split(), strict=True))


_CYRILLIC: Final = _table(
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґў",
    "a b v g d e e zh z i i k l m n o p r s t u f kh ts ch sh shch - y - e yu ya i i e g u",
)
_GREEK: Final = _table(
    "αβγδεζηθικλμνξοπρσςτυφχψω",
    "a v g d e z i th i k l m n x o p r s s t y f ch ps o",
)
_KANA: Final = _table(
    "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲンガギグゲゴザジズゼゾダヂヅデドバビブベボパピプペポヴ",
    "a i u e o ka ki ku ke ko sa shi su se so ta chi tsu te to na ni nu ne no ha hi fu he ho ma mi mu me mo "
    "ya yu yo ra ri ru re ro wa o n ga gi gu ge go za ji zu ze zo da ji zu de do ba bi bu be bo pa pi pu pe po "
    "vu",
)
_LATIN: Final = {
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ŋ": "n"
}  # fmt: skip
_SMALL: Final = {"ャ": "ya", "ュ": "yu", "ョ": "yo"}
_TO_KATAKANA: Final = {code: chr(code + 0x60) for code in range(0x3041, 0x3097)}
_LETTERS: Final = {key: value.replace("-", "") for key, value in (_CYRILLIC | _GREEK | _LATIN | _KANA).items()}
_DOUBLED: Final = re.compile(r"([a-z])\1+")


def name_key(name: str) -> str:
    """The key of a name: its words in Latin letters where that is simple, sorted.

    >>> name_key("Brie_Larson") == name_key("LARSON, Brié") == name_key("brie-larson")
    True
    >>> name_key("Иван Петров"), name_key("Ivan PETROV"), name_key("張 偉")
    ('ivan petrov', 'ivan petrov', '偉 張')
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold()).translate(_TO_KATAKANA)
    written = "".join(_latin(text))
    words = re.findall(r"[^\W_]+", written)
    return " ".join(sorted(_DOUBLED.sub(r"\1", word) for word in words))


def _latin(text: str) -> list[str]:
    out: list[str] = []
    double = False  # a small tsu doubles the next consonant
    for letter in text:
        if letter == "ッ":
            double = True
            continue
        if letter in _SMALL and out and out[-1].endswith("i"):  # kya: ki and a small ya
            out[-1] = out[-1][:-1] + _SMALL[letter].removeprefix("y" if out[-1][:-1] in ("sh", "ch", "j") else "")
        elif letter in _LETTERS:
            out.append(_LETTERS[letter])
        elif letter in ("'", "’", "ʼ", "`", "ー"):
            continue
        else:
            plain = "".join(c for c in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(c))
            out.append("".join(_LETTERS.get(c, c) for c in plain))
        if double and out and out[-1]:
            out[-1] = out[-1][0] + out[-1]
            double = False
    return out
