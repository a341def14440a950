"""Keys of names: spellings that mean one name agree, others do not."""

import pytest

from mien.prepare.naming import name_key


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Brie_Larson", "LARSON, Brié"),
        ("Zoë Saldaña", "zoe-saldana"),
        ("Brian_J._Smith", "Smith, Brian J"),
        ("Сергей Иванов", "Ivanov, Sergei"),
        ("Ελένη", "Eleni"),
        ("しゅんいち", "シュンイチ"),
        ("きっこ", "kikko"),
        ("Straße", "STRASSE"),
        ("Łukasz O’Brien", "lukasz obrien"),
        ("ﬁne ４", "Fine 4"),
        ("Ame\u0301lie", "Am\u00e9lie"),
        ("張 偉", "偉_張"),
    ],
)
def test_spellings_of_one_name(a, b):
    assert name_key(a) == name_key(b)


@pytest.mark.parametrize(("a", "b"), [("Chris Evans", "Chris Pratt"), ("张伟", "张三"), ("Ada", "Ada B")])
def test_other_names(a, b):
    assert name_key(a) != name_key(b)
