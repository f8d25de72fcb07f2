"""The rows of the catalogue: what adds up, what the documents say, and which names are recognised."""

from pathlib import Path

import pytest

from medmamba.cli import main
from medmamba.data import open_data
from medmamba.data.catalogue import CATALOGUE, COLLECTIONS, MEDMNIST, Row, recognise
from medmamba.data.catalogue.page import TOTAL_CLAIMED, page
from medmamba.errors import InputError
from medmamba.tasks import Task

ROWS = list(CATALOGUE.values())
ROOT = Path(__file__).parents[2]

# the column "Dataset Size" of the paper's table 2
TABLE_2 = {
    "pad-ufes-20": 2298,
    "cervical-us": 3392,
    "cpn-x-ray": 5228,
    "fetal-planes-db": 12400,
    "kvasir": 4000,
    "otoscopy2024": 24233,
    "pathmnist": 107180,
    "octmnist": 109309,
    "dermamnist": 10015,
    "pneumoniamnist": 5856,
    "breastmnist": 780,
    "retinamnist": 1600,
    "bloodmnist": 17092,
    "organamnist": 58850,
    "organcmnist": 23660,
    "organsmnist": 25221,
}


def test_the_paper_s_sixteen_sets_add_up_as_in_its_table() -> None:
    assert {row.name: sum(row.paper) for row in ROWS if row.paper} == TABLE_2
    assert sum(TABLE_2.values()) == 411_114 != TOTAL_CLAIMED
    assert set(CATALOGUE) - set(TABLE_2) == {"chestmnist", "tissuemnist"}
    assert [row.name for row in ROWS if row.licence == "private"] == ["cervical-us", "otoscopy2024"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_whole_and_says_where_it_differs_from_the_paper(row: Row) -> None:
    assert all((row.title, row.modality, row.licence, row.citation, row.get))
    assert row.source.startswith("https://")
    assert set(row.sources) <= set(COLLECTIONS)
    assert len(set(row.classes)) == len(row.classes)
    if row.class_counts:
        assert list(row.class_counts) == list(row.classes)
        assert sum(row.class_counts.values()) == row.total
    if row.counts:
        assert sum(row.counts) == row.total
    if row.paper and (sum(row.paper) != row.total or (row.counts and row.counts != row.paper)):
        assert any("table 2 has" in sentence for sentence in row.contradictions)
    if row.task is Task.ORDINAL:
        assert any("multi-class" in sentence for sentence in row.contradictions)


def test_the_contradictions_that_were_found_are_beside_their_sets() -> None:
    words = {
        "pad-ufes-20": "seven diseases for six classes",
        "cervical-us": "3,398",
        "otoscopy2024": "24,233",
        "kvasir": "version 1",
        "organamnist": "34,561",
        "organcmnist": "8,216",
        "organsmnist": "8,827",
        "fetal-planes-db": "by patient",
    }
    for name, word in words.items():
        assert any(word in sentence for sentence in CATALOGUE[name].contradictions), name


def test_medmnist_says_itself_what_its_sets_are_made_from() -> None:
    info = pytest.importorskip("medmnist.info", exc_type=ImportError).INFO
    words = {
        "pathmnist": "NCT-CRC-HE-100K",
        "dermamnist": "HAM10000",
        "retinamnist": "DeepDRiD",
        "tissuemnist": "BBBC051",
    }
    words |= {"chestmnist": "NIH-ChestXray14"} | {f"organ{letter}mnist": "(LiTS)" for letter in "acs"}
    for name, word in words.items():
        assert word in info[name]["description"]
        assert MEDMNIST[name].derived_from[0].lower() in (word.lower().strip("()"), "nih chestx-ray14")


@pytest.mark.parametrize(
    ("name", "collections"),
    [
        ("busi", ["BUSI"]),
        ("busi256", ["BUSI"]),
        ("Dataset_BUSI_with_GT", ["BUSI"]),
        ("breastmnist_64", ["BUSI"]),
        ("BreastMNIST-mine", ["BUSI"]),
        ("pneumoniamnist_reassembled", ["Kermany 2018, chest x-rays of children"]),
        ("chest_xray", ["Kermany 2018, chest x-rays of children"]),
        ("kermany2018", ["Kermany 2018, retinal OCT", "Kermany 2018, chest x-rays of children"]),
        ("Covid19-Pneumonia-Normal Chest X-Ray Images Dataset", ["CPN X-ray"]),
        ("cpn-x-ray", ["NIH ChestX-ray14", "Kermany 2018, chest x-rays of children", "CPN X-ray"]),
        ("FETAL_PLANES_ZENODO", ["Fetal-Planes-DB"]),
        ("kvasir-dataset-v2", ["Kvasir"]),
        ("ISIC2018_Task3", ["HAM10000"]),
        ("organcmnist@224", ["LiTS"]),
        ("business_cards", []),
        ("our chest_xray", []),
        ("images", []),
    ],
)
def test_names_are_recognised_by_their_words(name: str, collections: list[str]) -> None:
    assert list(recognise(name)) == collections


def test_f037_the_page_of_the_documents_is_made_from_the_rows() -> None:
    assert (ROOT / "docs/reference/data-sets.md").read_text(encoding="utf-8") == page(), (
        "docs/reference/data-sets.md is not what medmamba.data.catalogue.page.page() gives; write it again"
    )


def test_info_lists_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(CATALOGUE)
    pad = next(line for line in lines if line.startswith("pad-ufes-20"))
    assert "1,384 / 227 / 687" in pad
    assert "medmamba prepare pad-ufes-20" in pad
    assert max(map(len, lines)) < 190


def test_a_set_that_is_known_and_cannot_be_opened_by_name_says_how_to_get_it() -> None:
    with pytest.raises(InputError, match=r"PAD-UFES-20 cannot be opened by its name: download it .* medmamba prepare"):
        open_data("pad-ufes-20")
    with pytest.raises(InputError, match="Cervical-US cannot be opened by its name: not to be had"):
        open_data("Cervical-US")
    with pytest.raises(InputError, match="did you mean 'kvasir'"):
        open_data("kvasirr")
