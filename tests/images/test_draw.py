"""Tests that look at the picture: what was drawn, where, and that no box stands for a missing letter."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from mien.errors import InputError
from mien.images import _fonts, contact_sheet, draw
from mien.images._fonts import FontChoice
from mien.types import Faces, Image

GREEN = (46, 204, 64)
CHINESE = "王小明"
PHOTO = 230


@pytest.fixture(autouse=True)
def _no_system_fonts(monkeypatch):
    """The outcome must not depend on the fonts of this machine."""
    monkeypatch.setattr(_fonts, "_SYSTEM_FONTS", ())


def grey(width: int = 400, height: int = 300) -> Image:
    return Image(np.full((height, width, 3), PHOTO, np.uint8), "grey")


def faces(*boxes: tuple[float, float, float, float]) -> Faces:
    b = np.array(boxes, np.float32).reshape(-1, 4)
    points = np.stack([b[:, :2] + (b[:, 2:] - b[:, :2]) * f for f in (0.3, 0.4, 0.5, 0.6, 0.7)], 1)
    return Faces(b, np.ones(len(b), np.float32), points)


def contains(ink: np.ndarray, stamp: np.ndarray) -> bool:
    """Whether letters occur in a picture; both say how much of each pixel is covered, 0 to 1."""
    windows = np.lib.stride_tricks.sliding_window_view(ink, stamp.shape)
    return bool((np.abs(windows - stamp) < 0.02).all((2, 3)).any())


def stamp(text: str, size: int) -> np.ndarray:
    """How Pillow's own font draws `text`; a letter that it lacks shows as its tofu."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = (round(v) for v in font.getbbox(text))
    image = Pillow.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font)
    return np.asarray(image) / 255


def ink(drawn: Image, paper: int = GREEN[1]) -> np.ndarray:
    """Coverage by black letters on a plate (or paper) of which the green channel is known."""
    return 1 - drawn.pixels[..., 1] / paper


def test_box_and_label_are_where_they_should_be():
    source = grey()
    drawing = draw(source, faces((100, 100, 200, 220)), ["Ada"])
    pixels = drawing.image.pixels
    assert drawing.legend == []
    assert drawing.image.source == "grey"
    assert source.pixels.min() == source.pixels.max() == PHOTO  # the photo itself is untouched
    for x, y in [(100, 150), (200, 150), (150, 100), (150, 220)]:
        assert tuple(pixels[y, x]) == GREEN
    assert (pixels[110:210, 110:190] == PHOTO).all()
    changed = (pixels != PHOTO).any(2)
    changed[100:221, 100:201] = False
    rows, columns = np.nonzero(changed)
    assert rows.max() < 100  # the plate stands above the box
    assert columns.min() >= 100
    assert contains(ink(drawing.image), stamp("Ada", 11))


def test_no_labels_no_faces():
    assert (draw(grey(), Faces.none(), []).image.pixels == PHOTO).all()
    drawn = draw(grey(), faces((100, 100, 200, 220)), ["  "])
    assert (drawn.image.pixels[:100] == PHOTO).all()
    assert drawn.legend == []


def test_line_grows_with_the_picture():
    def thickness(width: int, height: int) -> int:
        drawn = draw(grey(width, height), faces((width / 4, height / 4, width / 2, height / 2)), [""])
        return int((drawn.image.pixels[height // 3, : width // 3] != PHOTO).any(1).sum())

    assert thickness(200, 150) == 1
    assert thickness(4000, 3000) >= 8


def test_chinese_without_a_font_becomes_a_number_and_a_legend():
    drawing = draw(grey(), faces((100, 100, 200, 220), (250, 100, 350, 220)), [CHINESE, "Ada"])
    assert drawing.legend == [f"1: {CHINESE}"]
    letters = ink(drawing.image)
    assert contains(letters[:, :240], stamp("1", 11))
    assert contains(letters[:, 240:], stamp("Ada", 11))
    assert not contains(letters, stamp("王", 11))  # the tofu of the default font


def test_tofu_is_found_where_it_is_drawn():
    """The negative test above means something: had the label been drawn blindly, the tofu would be seen."""
    image = Pillow.fromarray(grey(200, 60).pixels)
    ImageDraw.Draw(image).rectangle((10, 10, 190, 50), fill=GREEN)
    ImageDraw.Draw(image).text((20, 20), CHINESE, fill=(0, 0, 0), font=ImageFont.load_default(11))
    assert contains(ink(Image(np.asarray(image))), stamp("王", 11))


def test_equal_labels_share_a_number():
    boxes = faces((10, 50, 60, 100), (110, 50, 160, 100), (210, 50, 260, 100))
    assert draw(grey(), boxes, [CHINESE, "🙂", CHINESE]).legend == [f"1: {CHINESE}", "2: 🙂"]


@pytest.mark.parametrize(
    "name", ["Ada", "Amélie Ångström", "Łukasz", "Ольга", "Ελένη", "Nguyễn Văn An", "O'Neil-Smith (?)"]
)
def test_european_names_are_drawn(name):
    drawing = draw(grey(), faces((100, 100, 200, 220)), [name])
    assert drawing.legend == []
    assert (ink(drawing.image) > 0.9).sum() > 15


def test_a_font_of_the_user_is_used(hopper):
    """STIX has letters that the default font lacks: with it they are drawn, and look as it draws them."""
    stix = hopper.parents[1] / "fonts" / "ttf" / "STIXGeneral.ttf"
    drawing = draw(grey(), faces((100, 100, 300, 220)), ["ℵ Ada"], font=stix)
    assert drawing.legend == []
    plain = draw(grey(), faces((100, 100, 300, 220)), ["Ada"])
    theirs = draw(grey(), faces((100, 100, 300, 220)), ["Ada"], font=stix)
    assert (plain.image.pixels != theirs.image.pixels).any()
    assert draw(grey(), faces((100, 100, 200, 220)), [CHINESE], font=stix).legend == [f"1: {CHINESE}"]


def test_a_system_font_is_tried_last(monkeypatch, hopper, tmp_path):
    """A stand-in for a Chinese font: a font file with a sign that the fonts of packages lack."""
    stix = hopper.parents[1] / "fonts" / "ttf" / "STIXNonUni.ttf"
    sign = "\ue000"
    assert FontChoice(None, 20).for_text(sign) is None
    monkeypatch.setattr(_fonts, "_SYSTEM_FONTS", (str(tmp_path / "none.ttf"), str(stix)))
    found = FontChoice(None, 20).for_text(sign)
    assert found is not None
    assert str(found.path) == str(stix)


def test_missing_letters_agree_with_the_font_table(hopper):
    """The test by drawing against the font's own table of characters, read by matplotlib."""
    from matplotlib.ft2font import FT2Font

    path = hopper.parents[1] / "fonts" / "ttf" / "DejaVuSans.ttf"
    table = set(FT2Font(str(path)).get_charmap())
    known = _fonts._Font(ImageFont.truetype(path, 24))
    sample = [chr(c) for c in [*range(0x21, 0x7F), *range(0xA1, 0x250), *range(0x370, 0x600), *range(0x4E00, 0x4E80)]]
    sample = [c for c in sample if c.isprintable() and c != "\u00ad"]
    wrong = [c for c in sample if known.can_draw(c) != (ord(c) in table)]
    assert wrong == []


def test_bad_fonts_are_refused(tmp_path):
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    for font in (tmp_path / "bad.ttf", tmp_path / "missing.ttf", tmp_path):
        with pytest.raises(InputError, match="expected a TrueType or OpenType font"):
            draw(grey(), Faces.none(), [], font=font)


@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, 30, 30),
        (380, 280, 500, 400),
        (-1e6, -1e6, 1e6, 1e6),
        (390, 100, 399, 110),
        (0, 295, 9, 299),
        (5, 5, 6, 6),
    ],
)
def test_labels_stay_within_the_picture(box):
    drawing = draw(grey(), faces(box), ["Ada"], landmarks=True)
    assert drawing.image.pixels.shape == (300, 400, 3)
    assert contains(ink(drawing.image), stamp("Ada", 11))


def test_a_tiny_picture_and_a_face_outside_are_drawn():
    draw(Image(np.zeros((1, 1, 3), np.uint8)), faces((0, 0, 1, 1)), ["Ada"])
    drawing = draw(grey(), faces((900, 900, 950, 950), (20, 20, 10, 10)), [CHINESE, "x"])
    assert drawing.legend == [f"1: {CHINESE}"]


def test_colours_and_contrast():
    dark_blue = (0, 0, 120)
    drawing = draw(grey(), faces((100, 100, 200, 220)), ["Ada"], colours=[dark_blue])
    assert tuple(drawing.image.pixels[150, 100]) == dark_blue
    plate = drawing.image.pixels[80:100, 100:130]
    letters = plate[(plate[..., 0] > 150) & (plate[..., 0] < PHOTO - 5) | (plate[..., 0] > PHOTO + 5)]
    assert len(letters) > 5  # white letters on a dark plate
    assert (plate == dark_blue).all(2).sum() > 50


def test_control_characters_cannot_break_a_label():
    one = draw(grey(), faces((100, 100, 200, 220)), ["A\nB\x1b\u2028"])
    assert one.legend == []
    assert (one.image.pixels == draw(grey(), faces((100, 100, 200, 220)), ["A B"]).image.pixels).all()


def test_counts_must_agree():
    with pytest.raises(ValueError, match="expected 1 labels"):
        draw(grey(), faces((1, 1, 9, 9)), [])
    with pytest.raises(ValueError, match="expected 1 labels"):
        draw(grey(), faces((1, 1, 9, 9)), ["a"], colours=[])


def test_contact_sheet_lays_out_in_rows():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9), (200, 200, 0)]
    shapes = [(100, 100), (50, 200), (300, 10), (1, 1), (777, 777)]
    pictures = [np.full((*shape, 3), colour, np.uint8) for shape, colour in zip(shapes, colours, strict=True)]
    sheet = contact_sheet([*pictures[:4], Image(pictures[4])], ["a", "b", CHINESE, "d", ""], 3, tile=100)
    assert sheet.legend == [f"1: {CHINESE}"]
    pixels = sheet.image.pixels
    centres = [(x, y) for y in (55, 55 + 100 + 16 + 5) for x in (55, 160, 265)]
    for (x, y), colour in zip(centres, colours, strict=False):
        assert np.abs(pixels[y, x].astype(int) - colour).max() < 3
    assert (pixels[5:25, 110:210] == 255).all()  # above the wide picture
    assert contains(ink(sheet.image, 255), stamp("b", 11))


def test_contact_sheet_keeps_the_end_of_long_captions():
    picture = np.full((10, 10, 3), 255, np.uint8)
    sheet = contact_sheet([picture], ["very/long/" * 20 + "IMG_1.jpg"], 1)
    assert contains(ink(sheet.image, 255), stamp("IMG_1.jpg", 13))
    assert (sheet.image.pixels[:, -6:] == 255).all()


def test_contact_sheet_refuses_nonsense():
    picture = np.zeros((4, 4, 3), np.uint8)
    for pictures, captions, columns in [([], [], 1), ([picture], [], 1), ([picture], ["a"], 0)]:
        with pytest.raises(ValueError, match="contact_sheet: expected"):
            contact_sheet(pictures, captions, columns)
    with pytest.raises(ValueError, match="lay out fewer"):
        contact_sheet([picture] * 9000, [""] * 9000, 10)
