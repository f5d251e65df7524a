"""The web page in a real browser, on the real service: what a person with a photograph sees and can do."""

from __future__ import annotations

import base64
import io
import re
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, JSHandle, Page, Route, expect
from skimage import data

TAKE = """
(files) => {
    const carrier = new DataTransfer();
    for (const [name, type, base64] of files) {
        const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        carrier.items.add(new File([bytes], name, { type }));
    }
    return carrier;
}
"""


def gray(width: int = 480, height: int = 320) -> Image.Image:
    """A black-and-white photograph of a cup of coffee."""
    coffee = data.coffee()  # type: ignore[no-untyped-call]
    return Image.fromarray(coffee).convert("L").resize((width, height))


def file(
    image: Image.Image, name: str = "street.jpg", format: str = "JPEG", orientation: int = 1
) -> dict[str, str | bytes]:
    """The photograph as the browser's file chooser hands it over."""
    exif = Image.Exif()
    exif[274] = orientation
    out = io.BytesIO()
    image.save(out, format, exif=exif)
    return {"name": name, "mimeType": f"image/{format.lower()}", "buffer": out.getvalue()}


def carry(page: Page, *photos: dict[str, str | bytes]) -> JSHandle:
    """The photographs as the browser hands over what is dropped or pasted."""
    packed = [
        [photo["name"], photo["mimeType"], base64.b64encode(bytes(photo["buffer"])).decode()]  # type: ignore[arg-type]
        for photo in photos
    ]
    return page.evaluate_handle(TAKE, packed)


def choose(page: Page, photo: dict[str, str | bytes] | Path) -> None:
    page.set_input_files("#photo", photo)  # type: ignore[arg-type]


def posted_with(page: Page, photo: dict[str, str | bytes] | Path) -> list[str]:
    """Where the page posts to before it gives up on a photo."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    choose(page, photo)
    expect(page.locator("#trouble")).to_be_visible()
    return sent


def wait_for_result(page: Page) -> None:
    expect(page.get_by_role("heading", name="These colors are a guess")).to_be_visible(timeout=60_000)


def chroma(pixels: NDArray[np.uint8]) -> float:
    """How far from gray, in 8-bit steps: the mean over pixels of the largest less the smallest channel."""
    channels = pixels[..., :3].astype(int)
    return float((channels.max(-1) - channels.min(-1)).mean())


def seen(page: Page) -> NDArray[np.uint8]:
    """The comparison as it stands on the screen."""
    return np.asarray(Image.open(io.BytesIO(page.locator("#compare").screenshot())).convert("RGB"))


def natural_size(page: Page, name: str) -> list[int]:
    size: list[int] = page.eval_on_selector(f"#{name}", "image => [image.naturalWidth, image.naturalHeight]")
    return size


def fits(page: Page) -> bool:
    """Whether nothing makes the page scroll sideways."""
    answer: bool = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return answer


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def test_a_chosen_photo_comes_back_in_color_beside_the_grey_one(page: Page) -> None:
    choose(page, file(gray()))
    wait_for_result(page)
    assert natural_size(page, "before") == natural_size(page, "after") == [480, 320]
    picture = seen(page)
    middle = picture.shape[1] // 2
    assert chroma(picture[:, : middle - 40]) < 1
    assert chroma(picture[:, middle + 40 :]) > 4
    assert "480 × 320 pixels, JPEG, colored in" in page.inner_text("#details")
    expect(page.get_by_role("status")).to_have_text("Done. Move the slider to compare before and after.")


def test_what_a_person_should_know_stands_beside_the_result_and_is_said_once(page: Page) -> None:
    choose(page, file(gray()))
    wait_for_result(page)
    expect(page.locator("#notices")).to_be_hidden()
    page.get_by_role("button", name="Color another").click()
    in_color = Image.fromarray(data.coffee()).resize((480, 320))  # type: ignore[no-untyped-call]
    choose(page, file(in_color))
    wait_for_result(page)
    notice = page.locator("#notices li")
    expect(notice).to_have_count(1)
    assert notice.get_attribute("data-code") == "photo_in_color"
    expect(page.get_by_role("status")).to_contain_text(notice.inner_text())


def test_the_picker_offers_what_can_be_opened(page: Page) -> None:
    accept = (page.get_attribute("#photo", "accept") or "").split(",")
    assert {"image/*", ".heic", ".tiff", ".jp2"} <= set(accept)


def test_each_stage_is_told_with_the_time_it_took(page: Page) -> None:
    choose(page, file(gray()))
    wait_for_result(page)
    stages = page.locator("#stages li").evaluate_all(
        "items => items.map((item) => [item.dataset.stage, item.dataset.is, item.querySelector('output').value])"
    )
    assert [stage for stage, _, _ in stages] == ["send", "open", "preprocess", "infer", "postprocess", "save"]
    assert {state for _, state, _ in stages} == {"done"}
    assert all(re.fullmatch(r"\d+\.\d\d s", seconds) for _, _, seconds in stages[1:])


def test_the_slider_moves_by_keyboard(page: Page) -> None:
    choose(page, file(gray()))
    wait_for_result(page)
    slider = page.get_by_role("slider", name="Compare before and after")
    slider.focus()
    page.keyboard.press("Home")
    assert chroma(seen(page)[:, 60:]) > 4, "at the left end all is colored"
    page.keyboard.press("End")
    assert chroma(seen(page)[:, :-60]) < 1, "at the right end all is gray"
    page.keyboard.press("PageDown")
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_value("89")
    expect(slider).to_have_attribute("aria-valuetext", "89 % before, 11 % after")


def test_the_slider_follows_the_pointer_anywhere_on_the_picture(page: Page) -> None:
    choose(page, file(gray()))
    wait_for_result(page)
    box = page.locator("#compare").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 60, steps=4)
    page.mouse.up()
    assert abs(int(page.input_value("#split")) - 80) <= 1
    divide = page.locator(".divide").bounding_box()
    assert divide is not None
    assert abs(divide["x"] - (box["x"] + box["width"] * 0.8)) < 12, "the divide stands under the pointer"


def test_the_download_is_the_colored_picture(page: Page, tmp_path: Path) -> None:
    choose(page, file(gray(), name="Grandma at sea.jpg"))
    wait_for_result(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "Grandma at sea-color.jpg"
    download.value.save_as(tmp_path / "got.jpg")
    with Image.open(tmp_path / "got.jpg") as got:
        assert (got.format, got.mode, got.size) == ("JPEG", "RGB", (480, 320))
        assert chroma(np.asarray(got)) > 4


def test_a_photo_taken_upright_stands_upright_in_both_pictures(page: Page) -> None:
    turned = 6  # Exif 2.32, 4.6.4: the 0th row is the visual right side
    choose(page, file(gray(), orientation=turned))
    wait_for_result(page)
    assert natural_size(page, "before") == natural_size(page, "after") == [320, 480]
    page.get_by_role("slider", name="Compare before and after").focus()
    page.keyboard.press("End")
    before = seen(page)[:, :-60].mean(-1)
    page.keyboard.press("Home")
    after = seen(page)[:, :-60].mean(-1)
    # The handle at the edge and the labels differ; the photograph must not.
    assert np.corrcoef(before[60:-60, 60:].ravel(), after[60:-60, 60:].ravel())[0, 1] > 0.97


def test_a_photo_may_be_dropped_or_pasted(page: Page) -> None:
    carrier = carry(page, file(gray(200, 160)))
    page.dispatch_event("body", "dragenter", {"dataTransfer": carrier})
    expect(page.locator("#plate")).to_have_class("plate over")
    page.dispatch_event("body", "drop", {"dataTransfer": carrier})
    wait_for_result(page)
    page.get_by_role("button", name="Color another").click()
    expect(page.get_by_text("Drop a photograph here")).to_be_visible()
    page.evaluate(
        "carrier => document.body.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData: carrier, bubbles: true, cancelable: true }))",
        carrier,
    )
    wait_for_result(page)
    assert natural_size(page, "after") == [200, 160]


def test_of_several_photos_one_is_taken_and_it_is_said_which(page: Page) -> None:
    several = carry(page, file(gray(200, 160), "first.jpg"), file(gray(160, 200), "second.jpg"))
    page.dispatch_event("body", "drop", {"dataTransfer": several})
    wait_for_result(page)
    assert natural_size(page, "after") == [200, 160]
    expect(page.get_by_text("One at a time: first.jpg was taken.")).to_be_visible()
    choose(page, file(gray()))
    wait_for_result(page)
    expect(page.get_by_text("One at a time")).to_be_hidden()


def test_a_finger_is_asked_to_choose_and_a_mouse_may_drop(browser: Browser, page: Page, service: str) -> None:
    expect(page.get_by_text("Drop a photograph here")).to_be_visible()
    expect(page.get_by_text("Choose a photograph", exact=True)).to_be_hidden()
    with browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800}) as phone:
        small = phone.new_page()
        small.goto(service)
        expect(small.get_by_text("Choose a photograph", exact=True)).to_be_visible()
        expect(small.get_by_text("Drop a photograph here")).to_be_hidden()


def test_what_the_browser_cannot_show_comes_back_as_a_picture_that_it_can(page: Page) -> None:
    choose(page, file(gray(), name="scan.tif", format="TIFF"))
    wait_for_result(page)
    assert natural_size(page, "after") == [480, 320]
    assert chroma(seen(page)) > 4, "the whole frame is the result"
    expect(page.get_by_role("slider", name="Compare before and after")).to_be_hidden()
    assert page.get_attribute("#download", "download") == "scan-color.png"


def test_a_text_that_calls_itself_a_photo_is_refused_in_plain_words(
    page: Page, complaints: list[str]
) -> None:
    choose(page, {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"Dear diary, no picture today."})
    expect(page.get_by_role("heading", name="This is not a photo that can be read")).to_be_visible()
    assert "JPEG" in page.inner_text("#trouble-detail")
    expect(page.locator("#trouble-code")).to_have_text("photo_unsupported")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    expect(page.get_by_role("status")).to_contain_text("This is not a photo that can be read")
    (complaint,) = complaints
    assert "415" in complaint, "the browser notes the refusal itself"
    complaints.clear()

    choose(page, file(gray()))
    wait_for_result(page)


@pytest.mark.parametrize(
    ("photo", "title"),
    [
        ({"name": "empty.jpg", "mimeType": "image/jpeg", "buffer": b""}, "This file is empty"),
        ({"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"}, "This is not a photograph"),
        (file(Image.new("1", (8000, 7000)), "huge.png", "PNG"), "This photograph has too many pixels"),
    ],
)
def test_what_needs_no_server_to_be_refused_is_not_sent(
    page: Page, photo: dict[str, str | bytes], title: str
) -> None:
    assert posted_with(page, photo) == []
    expect(page.get_by_role("heading", name=title)).to_be_visible()


def test_a_file_over_the_limit_is_refused_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    big = tmp_path / "big.jpg"
    with big.open("wb") as out:
        out.truncate(26 * 2**20)
    assert posted_with(page, big) == []
    expect(page.get_by_role("heading", name="This file is too large")).to_be_visible()
    assert "It has 26.0 MB; up to 25 MB can be sent." in page.inner_text("#trouble-detail")


def test_a_lost_connection_is_told_and_mended_by_trying_again(page: Page, complaints: list[str]) -> None:
    page.context.set_offline(True)
    choose(page, file(gray()))
    expect(page.get_by_role("heading", name="The connection to the server was lost")).to_be_visible()
    page.context.set_offline(False)
    assert all("ERR_INTERNET_DISCONNECTED" in complaint for complaint in complaints)
    complaints.clear()
    page.get_by_role("button", name="Try again").click()
    wait_for_result(page)


def test_a_connection_lost_while_waiting_is_waited_out(page: Page, complaints: list[str]) -> None:
    left = [3]

    def cut(route: Route) -> None:
        left[0] -= 1
        if left[0] >= 0:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/v1/colorizations/*/events", cut)
    choose(page, file(gray()))
    wait_for_result(page)
    assert left[0] < 0
    assert complaints
    assert all("ERR_CONNECTION_RESET" in complaint for complaint in complaints)
    complaints.clear()


def test_a_proxy_may_call_the_server_by_another_name_than_the_page_does(page: Page) -> None:
    def pass_on(route: Route) -> None:  # as over plain HTTP, where browsers send Origin and no Sec-Fetch-Site
        headers = {
            name: value for name, value in route.request.headers.items() if not name.startswith("sec-")
        }
        route.fulfill(response=route.fetch(headers=headers | {"origin": "http://photos.example"}))

    page.route("**/v1/colorizations", pass_on)
    choose(page, file(gray()))
    wait_for_result(page)


def test_erased_from_the_server_means_erased(page: Page, service: str) -> None:
    jobs: list[str] = []
    page.on(
        "response",
        lambda answer: jobs.append(answer.json()["id"]) if answer.request.method == "POST" else None,
    )
    choose(page, file(gray()))
    wait_for_result(page)
    (job,) = jobs
    assert status(f"{service}/v1/colorizations/{job}/result") == 200
    page.get_by_role("button", name="Erase from the server now").click()
    expect(page.locator("#kept")).to_contain_text("Erased from the server")
    assert status(f"{service}/v1/colorizations/{job}/result") == 410
    assert natural_size(page, "after") == [480, 320], "what was seen is still seen"


def test_options_are_sent_once_they_are_touched(page: Page) -> None:
    choose(page, file(gray()))
    wait_for_result(page)
    page.get_by_text("Options", exact=True).click()
    vividness = page.get_by_label("Vividness")
    expect(page.locator("output[for=vividness]")).to_have_text("as guessed")
    vividness.focus()
    page.keyboard.press("Home")
    expect(page.locator("output[for=vividness]")).to_have_text("0.00")
    with page.expect_response(lambda answer: answer.request.method == "POST") as sent:
        page.get_by_role("button", name="Color this photograph again").click()
    assert sent.value.json()["options"]["vividness"] == 0
    assert sent.value.json()["options"]["temperature"] is None
    wait_for_result(page)
    assert chroma(seen(page)[:, -200:-60]) < 1, "without vividness there is no color"


def test_the_page_fits_a_narrow_screen_in_every_state(page: Page, complaints: list[str]) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.get_by_text("Options", exact=True).click()
    assert fits(page)
    choose(page, file(gray(640, 200), name="a-name-without-any-place-to-break-" * 4 + ".jpg"))
    wait_for_result(page)
    assert fits(page)
    choose(page, {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"text"})
    expect(page.get_by_role("heading", name="This is not a photo that can be read")).to_be_visible()
    assert fits(page)
    complaints.clear()


def test_inline_scripts_and_styles_are_refused(page: Page, complaints: list[str]) -> None:
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.injected = true";
            const style = document.createElement("style");
            style.textContent = "h1 { color: red }";
            document.head.append(script, style);
        }"""
    )
    assert page.evaluate("window.injected") is None
    assert len(complaints) == 2
    assert all("Content Security Policy" in complaint for complaint in complaints)
    complaints.clear()
