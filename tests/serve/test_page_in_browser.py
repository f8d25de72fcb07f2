"""The page in Chromium, with the real service behind it: what a person does, and what the browser then sends."""

import base64
import csv
import io
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image

import medmamba
from medmamba.bundle import Bundle
from medmamba.calibration import calibrate
from medmamba.cli.console import as_csv
from medmamba.data import open_data
from medmamba.data.preprocessing import Preprocessing
from medmamba.data.related import lineage
from medmamba.predictor import Classifier

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]

SMALL = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}
TOKEN = "a long word, but not of this dictionary"
STATUS_ALONE = (
    "Failed to load resource: the server responded with a status of"  # the browser's own line, not the page's
)
WHERE = """(({ tagName, className, id }) => tagName === "BODY" ? "nowhere" : className || id || tagName)
  (document.activeElement)"""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A small network that has learnt nothing, calibrated for sets and scope on phantoms."""
    folder, data = tmp_path_factory.mktemp("model") / "run", open_data("phantoms:200")
    provenance = {"seed": 0, "data": {"name": data.name, "fingerprint": data.fingerprint(), **lineage(data, ())}}
    shape = Preprocessing(32, 32, channels=1)
    bundle = Bundle("medmamba_nano", data.task, data.classes, shape, model_args=SMALL, provenance=provenance)
    torch.manual_seed(0)
    network = bundle.build_model()
    torch.nn.init.normal_(network.get_classifier().weight, std=2.0)  # type: ignore[operator]
    bundle.save(folder, network.state_dict())
    calibrate(folder, data, device="cpu", error=0.2)
    return medmamba.load(folder, device="cpu")


@pytest.fixture(scope="module")
def pictures(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files by what they are."""
    folder, images = tmp_path_factory.mktemp("pictures"), open_data("phantoms:200").split("test")
    reading = classifier.bundle.preprocessing.reading
    phantoms = [images.read(row, reading) for row in range(3)]
    for k, pixels in enumerate(phantoms):
        Image.fromarray(pixels).save(folder / f"phantom {k}.png")
    Image.fromarray(phantoms[0]).resize((200, 100)).save(folder / "wide.jpg", quality=95)
    Image.fromarray(phantoms[1].astype(np.uint16) * 257).save(folder / "sixteen.tif")
    Image.fromarray(phantoms[2].astype(np.uint16) * 16).save(folder / "sixteen.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)).save(folder / "noise.png")
    (folder / "letter.jpg").write_text("Dear colleague")
    Image.fromarray(phantoms[0]).save(folder / "=1+<img src=x onerror=alert(1)>.png")
    return {path.name: path for path in folder.iterdir()}


@contextmanager
def _service(classifier: Classifier, token: str | None = None) -> Iterator[str]:
    from medmamba.serve.app import make_app
    from medmamba.serve.service import Service

    service = Service(classifier)
    service.warm_up()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(make_app(service, token=token), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join()
    service.close()


@pytest.fixture(scope="module")
def address(classifier: Classifier) -> Iterator[str]:
    with _service(classifier) as at:
        yield at


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """A page that is open, and what was noticed."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def give(self, *files: Path) -> None:
        self.page.set_input_files("#files", files)
        self.wait()

    def wait(self) -> None:
        """Until every image has its answer."""
        self.page.wait_for_selector("#progress.over", state="attached")

    def card(self, name: str) -> Any:
        return self.page.get_by_role("listitem", name=name, exact=True)

    def posts(self, path: str) -> list[str]:
        return [url for url in self.requests if urlsplit(url).path == path]


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Visit]]:
    """Open the page; in the end no request went elsewhere and nothing was complained of."""
    visits: list[tuple[str, Visit]] = []

    def open_page(at: str = address, **options: Any) -> Visit:
        page = browser.new_context(accept_downloads=True, **options).new_page()
        page.set_default_timeout(60_000)  # the first heat map compiles
        made = Visit(page)
        page.on("request", lambda request: made.requests.append(request.url))
        page.on("console", lambda message: made.complaints.append(message.text))
        page.on("pageerror", lambda error: made.complaints.append(str(error)))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
        )
        page.goto(at)
        visits.append((at, made))
        return made

    yield open_page
    for at, made in visits:
        made.page.context.close()
        foreign = [url for url in made.requests if not url.startswith((at, f"blob:{at}", "data:"))]
        assert foreign == []
        assert [words for words in made.complaints if not words.startswith(STATUS_ALONE)] == []


def test_three_chosen_files_give_three_results(
    visit: Callable[..., Visit], classifier: Classifier, pictures: dict[str, Path]
) -> None:
    seen = visit()
    files = [pictures[f"phantom {k}.png"] for k in range(3)]
    seen.give(*files)
    assert len(seen.posts("/v1/predict")) == 1
    assert seen.page.locator("#cards > li").count() == 3
    assert seen.page.locator("#table tbody tr").count() == 3
    assert seen.page.locator("#state").inner_text().startswith("3 images: ")
    for answer, file in zip(classifier.predict(files), files, strict=True):
        card = seen.card(file.name)
        assert card.locator(".answer strong").inner_text() == answer.label
        shown = dict(
            zip(card.locator(".class").all_inner_texts(), card.locator(".share").all_inner_texts(), strict=True)
        )
        assert list(shown) == list(classifier.classes)
        for name, share in answer.probabilities.items():
            if 0.001 < share < 0.999:
                assert shown[name] == f"{100 * share:.1f}\u00a0%"
        assert card.locator(".held .chip").all_inner_texts() == list(answer.possible or ())
        assert card.locator(".refer").is_visible() == bool(answer.refer)
        assert " s, 3 images together" in card.locator(".facts").inner_text()
        card.locator(".shown").wait_for()
    assert seen.posts("/v1/picture") == []  # the browser shows them itself


def _transfer(page: Any, *files: Path) -> Any:
    """A DataTransfer with these files, in the page."""
    held = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]
    script = """held => {
      const transfer = new DataTransfer();
      const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
      for (const [name, text] of held) transfer.items.add(new File([bytes(text)], name));
      return transfer;
    }"""
    return page.evaluate_handle(script, held)


def test_three_dropped_files_give_three_results(visit: Callable[..., Visit], pictures: dict[str, Path]) -> None:
    seen = visit()
    transfer = _transfer(seen.page, *(pictures[f"phantom {k}.png"] for k in range(3)))
    seen.page.dispatch_event("#drop", "dragover", {"dataTransfer": transfer})
    assert "dragging" in seen.page.locator("body").get_attribute("class")
    seen.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    seen.page.wait_for_selector("#cards > li:nth-child(3)")
    seen.wait()
    assert "dragging" not in seen.page.locator("body").get_attribute("class")
    assert seen.page.locator(".card[data-state=answered]").count() == 3


def test_a_dropped_folder_gives_the_files_in_it(
    visit: Callable[..., Visit], pictures: dict[str, Path], tmp_path: Path
) -> None:
    for place in ("2.png", "10.png", "deeper/1.png", ".hidden.png"):
        (tmp_path / "study" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures["phantom 0.png"], tmp_path / "study" / place)
    seen = visit()
    devtools = seen.page.context.new_cdp_session(seen.page)  # drops as the desktop does, not as a script
    files = [str(tmp_path / "study"), str(pictures["phantom 1.png"])]
    data = {"items": [], "files": files, "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 250, "data": data})
    seen.page.wait_for_selector("#cards > li:nth-child(4)")
    seen.wait()
    names = seen.page.locator(".card[data-state=answered] .name").all_inner_texts()
    assert names == ["2.png", "10.png", "1.png", "phantom 1.png"]


def test_a_pasted_picture_is_answered(visit: Callable[..., Visit], pictures: dict[str, Path]) -> None:
    seen = visit()
    named = pictures["phantom 1.png"].parent / "pasted" / "image.png"  # as browsers name what is pasted
    named.parent.mkdir()
    shutil.copy(pictures["phantom 1.png"], named)
    script = "transfer => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer }))"
    for _ in range(2):
        _transfer(seen.page, named).evaluate(script)
    seen.wait()
    assert seen.page.locator(".card[data-state=answered] .name").all_inner_texts() == ["pasted-1.png", "pasted-2.png"]


def test_the_heat_map_is_asked_for_when_wanted(
    visit: Callable[..., Visit], classifier: Classifier, pictures: dict[str, Path]
) -> None:
    seen = visit()
    seen.give(pictures["wide.jpg"])
    card, heat = seen.card("wide.jpg"), seen.page.locator(".heat")
    assert seen.posts("/v1/explain") == []
    card.get_by_text("Heat map").click()
    heat.wait_for()
    assert len(seen.posts("/v1/explain")) == 1
    assert heat.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [200, 100]
    assert heat.bounding_box() == card.locator(".shown").bounding_box()
    assert heat.evaluate("image => image.style.opacity") == "0.6"
    card.get_by_label("Opacity").fill("25")
    assert heat.evaluate("image => image.style.opacity") == "0.25"
    assert card.locator("output").inner_text() == "25\u00a0%"
    first = heat.get_attribute("src")
    chosen = card.get_by_label("Class")
    other = next(name for name in classifier.classes if name != chosen.input_value())
    chosen.select_option(other)
    seen.page.get_by_alt_text(f"Heat map of the class {other}").wait_for()
    assert heat.get_attribute("src") != first
    assert len(seen.posts("/v1/explain")) == 2
    card.get_by_text("Heat map").first.click()
    heat.wait_for(state="hidden")
    card.get_by_text("Heat map").first.click()
    heat.wait_for()
    assert len(seen.posts("/v1/explain")) == 2  # kept


def test_the_csv_is_that_of_predict(
    visit: Callable[..., Visit], classifier: Classifier, pictures: dict[str, Path]
) -> None:
    seen = visit()
    names = ["phantom 0.png", "=1+<img src=x onerror=alert(1)>.png", "noise.png", "letter.jpg", "sixteen.tif"]
    seen.give(*(pictures[name] for name in names))
    assert seen.page.locator("#cards img[src=x]").count() == 0
    with seen.page.expect_download() as download:
        seen.page.get_by_role("button", name="Download CSV").click()
    text = Path(download.value.path()).read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")
    written = list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline="")))
    expected = list(
        csv.DictReader(io.StringIO(as_csv(classifier.predict([pictures[n] for n in names]), classifier.classes)))
    )
    assert list(written[0]) == list(expected[0])
    for row, other, name in zip(written, expected, names, strict=True):
        assert row["file"] == ("'" + name if name.startswith("=") else name)
        assert bool(row["error"]) == bool(other["error"])
        for column in ("label", "possible", "refer"):
            assert row[column] == other[column], (name, column)
        for column in classifier.classes:
            assert row[column] == other[column] or abs(float(row[column]) - float(other[column])) < 2e-6


def test_the_keyboard_alone(visit: Callable[..., Visit], pictures: dict[str, Path]) -> None:
    seen = visit()
    page, press = seen.page, seen.page.keyboard.press
    opened: list[Any] = []
    page.on(
        "filechooser", lambda chooser: opened.append(chooser)
    )  # from the start: it takes a while to come into force
    page.wait_for_selector("#model:not([hidden])")
    press("Tab")
    press("Enter")
    assert page.locator("#model-card table").first.is_visible()
    press("Space")
    press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    assert page.evaluate("getComputedStyle(document.querySelector('#drop')).outlineStyle") == "solid"
    press("Enter")
    for _ in range(100):
        if not opened:
            page.wait_for_timeout(50)
    opened[0].set_files([pictures["phantom 0.png"], pictures["phantom 1.png"]])
    seen.wait()
    for _ in range(3):
        press("Tab")
    assert page.evaluate(WHERE) == "scroll"  # the table, which may need scrolling
    press("Tab")
    press("Enter")  # the first image in the table
    assert page.evaluate("document.activeElement.id") == "image-1"
    press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Heat map"
    press("Enter")
    page.locator(".heat").first.wait_for()
    press("Tab")
    press("Tab")
    before = page.locator("output").first.inner_text()
    press("ArrowRight")
    assert page.locator("output").first.inner_text() != before
    press("Shift+Tab")
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    heat = page.locator(".heat").first
    shown = heat.get_attribute("alt")
    press("Home")
    if page.locator("select").first.input_value() in shown:
        press("End")
    page.locator(f".heat:not([alt='{shown}'])").first.wait_for()
    press("Tab")
    press("Tab")
    assert page.evaluate(WHERE) == "remove"
    press("Space")
    page.wait_for_selector("#cards > li:nth-child(2)", state="detached")
    assert page.evaluate("document.activeElement.ariaLabel") == "Remove phantom 1.png"
    press("Space")
    assert page.evaluate("document.activeElement.id") == "files"
    assert page.locator("#results").is_hidden()


def test_tab_goes_through_the_page_and_out_of_it(visit: Callable[..., Visit], pictures: dict[str, Path]) -> None:
    seen = visit()
    seen.give(pictures["phantom 0.png"], pictures["letter.jpg"])
    stops: list[str] = []
    while "nowhere" not in stops and len(stops) < 20:
        seen.page.keyboard.press("Tab")
        stops.append(seen.page.evaluate(WHERE))
    expected = ["SUMMARY", "files", "download", "clear", "scroll", "A", "A", "SUMMARY", "remove", "remove", "nowhere"]
    assert stops == expected


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways(
    visit: Callable[..., Visit], pictures: dict[str, Path], scheme: str
) -> None:
    seen = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True)
    seen.page.wait_for_selector("#model:not([hidden])")
    seen.page.locator("#model summary").tap()
    seen.give(*pictures.values())
    seen.page.get_by_text("Heat map").first.tap()
    seen.page.locator(".heat").first.wait_for()
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
    inside = "all => all.every(e => { const b = e.getBoundingClientRect(); return b.left >= 0 && b.right <= 390; })"
    assert seen.page.locator(".card, .card *:not(.unseen), #drop, button, #state").evaluate_all(inside)
    paper = seen.page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 20, 22)"}[scheme]


def test_a_wrong_file_beside_good_ones(visit: Callable[..., Visit], pictures: dict[str, Path]) -> None:
    seen = visit()
    seen.give(pictures["phantom 0.png"], pictures["letter.jpg"], pictures["phantom 1.png"])
    assert seen.page.locator(".card[data-state=answered]").count() == 2
    told = seen.card("letter.jpg").locator(".problem")
    assert told.inner_text().startswith("Not read. It is not an image")
    assert told.get_by_role("button").is_hidden()  # the same file would be refused again
    assert "1 without an answer" in seen.page.locator("#state").inner_text()
    assert "It is not an image" in seen.page.locator("#table").inner_text()


def test_a_strange_picture_is_referred_to_a_person(visit: Callable[..., Visit], pictures: dict[str, Path]) -> None:
    seen = visit()
    seen.give(pictures["noise.png"])
    told = seen.card("noise.png").locator(".refer")
    assert told.inner_text() == "Refer to a person. Unlike the images it was trained on."
    assert seen.card("noise.png").locator(".answer").inner_text().startswith("Would have answered")
    assert seen.page.locator("#state").inner_text() == "1 image: 1 to refer to a person"


def test_what_a_browser_cannot_show_comes_from_the_service(
    visit: Callable[..., Visit], pictures: dict[str, Path]
) -> None:
    seen = visit()
    seen.give(pictures["sixteen.tif"], pictures["sixteen.png"], pictures["phantom 0.png"])
    for name in ("sixteen.tif", "sixteen.png"):
        shown = seen.card(name).locator(".shown")
        shown.wait_for()
        assert shown.evaluate("image => image.naturalWidth") > 0
    assert len(seen.posts("/v1/picture")) == 2


def test_the_card_of_the_model(visit: Callable[..., Visit], classifier: Classifier) -> None:
    seen = visit()
    seen.page.get_by_text("About this model").click()
    card = seen.page.locator("#model-card")
    card.get_by_role("row", name="model medmamba_nano").wait_for()
    for name in classifier.classes:
        assert card.get_by_role("cell", name=name, exact=True).count() == 1
    assert "|" not in card.inner_text()
    assert "**" not in card.inner_text()
    assert seen.page.get_by_text("Research software, not a medical device.").count() == 1


def test_the_token_is_asked_for_and_forgotten(
    visit: Callable[..., Visit], browser: Any, classifier: Classifier, pictures: dict[str, Path]
) -> None:
    with _service(classifier, token=TOKEN) as at:
        seen = visit(at)
        dialog = seen.page.get_by_role("dialog", name="Access token")
        dialog.get_by_role("button", name="Cancel").click()
        seen.page.locator("#summary", has_text="asks for a token").wait_for()
        seen.page.get_by_role("button", name="Try again").click()
        dialog.get_by_label("Token", exact=True).fill("a guess")
        seen.page.keyboard.press("Enter")
        dialog.get_by_text("not the token").wait_for()
        dialog.get_by_label("Token", exact=True).fill(TOKEN)
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector("#model:not([hidden])")
        assert dialog.is_hidden()
        seen.give(pictures["phantom 0.png"])
        assert seen.page.locator(".card[data-state=answered]").count() == 1
        assert seen.page.context.storage_state()["origins"] == []
        assert seen.page.context.cookies() == []
        assert seen.page.evaluate("sessionStorage.length") == 0
        seen.page.reload()
        dialog.wait_for()
        seen.page.context.close()


def test_a_busy_service_is_asked_again(visit: Callable[..., Visit], pictures: dict[str, Path]) -> None:
    seen = visit()
    busy = {"status": 429, "headers": {"Retry-After": "0.1"}, "json": {"error": {"status": 429, "message": "busy"}}}
    seen.page.route("**/v1/predict", lambda route: route.fulfill(**busy), times=2)
    seen.give(pictures["phantom 0.png"])
    assert seen.page.locator(".card[data-state=answered]").count() == 1
    assert len(seen.posts("/v1/predict")) == 3


def test_files_that_are_too_large_together_go_one_by_one(
    visit: Callable[..., Visit], pictures: dict[str, Path]
) -> None:
    seen = visit()
    large = {"status": 413, "json": {"error": {"status": 413, "message": "the body is too large"}}}
    seen.page.route("**/v1/predict", lambda route: route.fulfill(**large), times=1)
    seen.give(*(pictures[f"phantom {k}.png"] for k in range(3)))
    assert seen.page.locator(".card[data-state=answered]").count() == 3
    assert len(seen.posts("/v1/predict")) == 4


def test_a_service_that_is_away_can_be_asked_again(visit: Callable[..., Visit], pictures: dict[str, Path]) -> None:
    seen = visit()
    seen.page.wait_for_selector("#model:not([hidden])")
    seen.page.route("**/v1/predict", lambda route: route.abort("connectionrefused"), times=1)
    seen.give(pictures["phantom 0.png"])
    assert "does not answer" in seen.card("phantom 0.png").inner_text()
    seen.card("phantom 0.png").get_by_role("button", name="Try again").click()
    seen.page.locator(".card[data-state=answered]").wait_for()
    seen.complaints[:] = [words for words in seen.complaints if "ERR_CONNECTION_REFUSED" not in words]


def test_many_files_go_a_few_at_a_time_and_can_be_removed(
    visit: Callable[..., Visit], pictures: dict[str, Path]
) -> None:
    seen = visit()
    seen.give(*[pictures["phantom 0.png"]] * 10)
    assert len(seen.posts("/v1/predict")) == 3
    assert seen.page.locator("#state").inner_text().startswith("10 images")
    seen.page.get_by_role("button", name="Remove all").click()
    assert seen.page.locator("#results").is_hidden()
    assert seen.page.locator("#cards > li").count() == 0
