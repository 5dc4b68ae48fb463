"""Any box of any four numbers is cut out as Pillow cuts it, or refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embeddings.errors import BoundingBoxError
from embeddings.images.decode import check_box, crop_logo
from tests.embeddings.images.pictures import picture
from tests.properties import examples

MAX_PIXELS = 5000

edges = st.one_of(
    st.sampled_from([0, 1, 0.0, -0.0, 1.0, 0.5, 0.1, -1.0, 2.0, 5e-324, 1e-12, 1 - 2**-53, 10**400, -(10**400)]),
    st.floats(0, 1),
    st.floats(),
    st.integers(-3, 3),
)
boxes = st.tuples(edges, edges, edges, edges)
sides = st.integers(1, 80)


@examples(300)
@given(box=boxes, height=sides, width=sides)
def test_any_box_is_cut_as_pillow_cuts_it_or_refused(
    box: tuple[float, float, float, float], height: int, width: int
) -> None:
    image = picture(height, width)
    try:
        crop = crop_logo(image, box, logo_id=42, max_pixels=MAX_PIXELS)
    except BoundingBoxError as error:
        assert "logo 42" in str(error)
        return
    check_box(box, logo_id=42)
    y_min, x_min, y_max, x_max = box
    pixels = round(x_min * width), round(y_min * height), round(x_max * width), round(y_max * height)
    assert crop.mode == "RGB"
    assert 0 < crop.width * crop.height <= MAX_PIXELS
    assert crop.tobytes() == image.crop(pixels).tobytes()


@examples(100)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), sides, sides)
def test_a_box_within_the_image_is_refused_only_if_it_holds_no_pixel(
    fractions: list[float], height: int, width: int
) -> None:
    y_min, y_max = sorted(fractions[:2])
    x_min, x_max = sorted(fractions[2:])
    holds_pixels = round(x_min * width) < round(x_max * width) and round(y_min * height) < round(y_max * height)
    try:
        crop = crop_logo(Image.new("RGB", (width, height)), (y_min, x_min, y_max, x_max), logo_id=42, max_pixels=10**6)
    except BoundingBoxError:
        assert not holds_pixels
    else:
        assert holds_pixels
        assert crop.width <= width
        assert crop.height <= height
