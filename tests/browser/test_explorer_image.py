"""The explorer and an image of one's own: bringing it in, drawing the box, and what is found."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from demo.photos import Photo
from tests.browser.explored import Explorer, answered, draw_box, send_image, shown_on, tiles
from tests.end_to_end.service import Service


def _boxed_query(page: Page) -> str:
    """The address that the page says it asked."""
    expect(page.locator(".call .code")).to_contain_text("bounding_box")
    return page.locator(".call .code").inner_text().removeprefix("POST /api/v1/ann")


def test_an_image_with_a_drawn_box_finds_its_logo(explorer: Explorer, small: Service, drawn: list[Photo]) -> None:
    page = explorer.open()
    photo = drawn[2]
    page.set_input_files("#file", {"name": "it's.jpg", "mimeType": "image/jpeg", "buffer": photo.jpeg})
    expect(tiles(page).first).to_be_visible()
    whole = shown_on(page)
    draw_box(page, photo.logos[0].box)
    asked = _boxed_query(page)
    expect(tiles(page).first).to_have_attribute("data-logo", str(photo.logos[0].logo_id))
    answer = send_image(small, asked, photo.jpeg, "image/jpeg")
    assert shown_on(page) == answered(answer.text) != whole
    box = [float(x) for x in re.findall(r"[\d.]+", asked.split("count")[0])]
    assert box == pytest.approx(list(photo.logos[0].box), abs=0.01)


def test_the_box_can_be_moved_and_resized_with_the_keyboard(explorer: Explorer, drawn: list[Photo]) -> None:
    page = explorer.open()
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": drawn[2].jpeg})
    mark = page.locator(".mark")
    mark.press("ArrowRight")
    expect(mark).to_have_attribute("aria-label", "Box from 25 to 75 percent across, 25 to 75 percent down")
    mark.press("ArrowRight")
    mark.press("Shift+ArrowUp")
    expect(mark).to_have_attribute("aria-label", "Box from 27 to 77 percent across, 25 to 73 percent down")
    assert "bounding_box=0.25,0.27,0.73,0.77" in _boxed_query(page)
    page.get_by_role("button", name="Whole image").click()
    expect(mark).to_have_attribute("aria-label", "Box: the whole image")


def test_the_box_can_be_dragged_by_its_corner(explorer: Explorer, drawn: list[Photo]) -> None:
    page = explorer.open()
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": drawn[2].jpeg})
    draw_box(page, (0.2, 0.2, 0.5, 0.5))
    corner, stage = page.locator(".edge.se").bounding_box(), page.locator(".stage").bounding_box()
    assert corner is not None
    assert stage is not None
    page.mouse.move(corner["x"] + corner["width"] / 2, corner["y"] + corner["height"] / 2)
    page.mouse.down()
    page.mouse.move(stage["x"] + 0.8 * stage["width"], stage["y"] + 0.7 * stage["height"], steps=4)
    page.mouse.up()
    dragged = re.compile("Box from 20 to (79|80|81) percent across, 20 to (69|70|71) percent down")
    expect(page.locator(".mark")).to_have_attribute("aria-label", dragged)


DROP = 'new DragEvent("drop", { dataTransfer: held, cancelable: true })'
PASTE = 'new ClipboardEvent("paste", { clipboardData: held })'


@pytest.mark.parametrize("event", [DROP, PASTE], ids=["dropped", "pasted"])
def test_an_image_that_is_brought_in_is_still_there_after_going_back(
    explorer: Explorer, drawn: list[Photo], event: str
) -> None:
    page = explorer.open("/?logo=1001")
    page.evaluate(
        f"""(bytes) => {{
          const held = new DataTransfer();
          held.items.add(new File([new Uint8Array(bytes)], "brought.jpg", {{ type: "image/jpeg" }}));
          dispatchEvent({event});
        }}""",
        list(drawn[0].jpeg),
    )
    expect(page.get_by_role("heading", level=1)).to_have_text("Your image")
    draw_box(page, drawn[0].logos[0].box)
    asked = _boxed_query(page)
    expect(tiles(page).first).to_have_attribute("data-logo", re.compile(r"\d+"))
    tiles(page).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Logo \d+"))
    sent = sum(request.method == "POST" for request in explorer.requests)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your image")
    assert _boxed_query(page) == asked
    expect(tiles(page).first).to_be_visible()
    assert sum(request.method == "POST" for request in explorer.requests) == sent  # it is not sent again


def test_a_photo_that_a_camera_marked_as_turned_is_searched_upright(explorer: Explorer, drawn: list[Photo]) -> None:
    with Image.open(io.BytesIO(drawn[2].jpeg)) as upright:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
        lying = io.BytesIO()
        upright.transpose(Image.Transpose.ROTATE_90).save(lying, "JPEG", quality=95, exif=exif)
        size = upright.size
    page = explorer.open()
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": lying.getvalue()})
    expect(page.get_by_text("turned it upright")).to_be_visible()
    assert page.evaluate("(({naturalWidth: w, naturalHeight: h}) => [w, h])(document.querySelector('.stage img'))") == [
        *size
    ]
    draw_box(page, drawn[2].logos[0].box)
    expect(tiles(page).first).to_have_attribute("data-logo", str(drawn[2].logos[0].logo_id))


def test_an_image_that_the_service_refuses_shows_why(explorer: Explorer, small: Service) -> None:
    page = explorer.open()
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no image at all"})
    expect(page.get_by_role("alert")).to_contain_text("The image was refused")
    why = send_image(small, "/from_image?count=24", b"no image at all", "image/png").json()["description"]
    assert why
    expect(page.get_by_role("alert")).to_contain_text(why)
