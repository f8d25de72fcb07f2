"""Tables 1 and 2: exact, quick, with the paper's contradictions."""

import json

import pytest

from medmamba.cli import main
from medmamba.paper.architecture import table1
from medmamba.paper.data_sets import number, table2


@pytest.fixture(scope="module")
def first():
    return table1()


def differing(sheet, model):
    return [record["layer"] for record in sheet.records if record["model"] == model and not record["equal"]]


def test_table_1_is_exact_for_tiny_and_for_one_of_the_two_readings_of_small_and_base(first):
    sizes = ["Parameter Size(M)", "FLOPs(G)"]
    assert differing(first, "medmamba_tiny") == []
    assert differing(first, "medmamba_small") == sizes
    assert differing(first, "medmamba_base") == sizes
    assert differing(first, "medmamba_small12") == ["Stage 3"]
    assert differing(first, "medmamba_base16") == ["Stage 3"]
    assert len(first.records) == 11 * 5


def test_table_1_shows_what_the_networks_are(first):
    ours = {(record["model"], record["layer"]): record["ours"] for record in first.records}
    assert ours["medmamba_tiny", "Parameter Size(M)"] == "15.22"
    assert ours["medmamba_tiny", "FLOPs(G)"] == "2.01"
    assert ours["medmamba_base16", "Stage 3"] == "16"
    assert ours["medmamba_base16", "Path-M 3"] == "1024"
    assert "`medmamba_tiny`" in first.lead[0]


def test_table_2_is_the_catalogue_and_says_where_the_paper_errs():
    sheet = table2()
    records = {record["data"]: record for record in sheet.records}
    assert len(records) == 16
    for record in records.values():
        assert record["task"] == record["paper_task"]
        assert "sum of the splits" not in record["differs"]
    assert {name for name, record in records.items() if "images" in record["differs"]} == {
        "otoscopy2024",
        "organamnist",
        "organcmnist",
        "organsmnist",
    }
    assert records["fetal-planes-db"]["paper_images"] == 12400
    assert records["otoscopy2024"]["paper_splits"] == (14548, 2419, 7266)
    notes = " ".join(sheet.notes)
    for word in ("seven diseases", "3,398", "24,233", "version 1", "1,4548"):
        assert word in notes
    assert "411,114" in sheet.lead[0]
    assert "411,007" in sheet.lead[0]


def test_misprinted_counts_are_read():
    assert (number("1,2400"), number(" 1,4548 "), number("780")) == (12400, 14548, 780)


@pytest.mark.parametrize("what", ["table1", "table2"])
def test_both_are_made_by_command(what, tmp_path, capsys):
    assert main(["reproduce", what, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / f"{what}.md").read_text() in printed
    page = (tmp_path / f"{what}.html").read_text()
    assert "<script" not in page
    assert "Research software" in page
    report = json.loads((tmp_path / f"{what}.json").read_text())
    assert report["schema"] == 1
    assert report["records"]
