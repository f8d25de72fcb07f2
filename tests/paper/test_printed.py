"""The paper's tables as data: every row is there, what adds up adds up, and names are known."""

import pytest
import timm

import medmamba.models  # noqa: F401  registers the names with timm
from medmamba.data.catalogue import CATALOGUE
from medmamba.paper.networks import network
from medmamba.paper.printed import FIGURES, data_sets, fits, models, read_table, values

RESULTS = ("table3", "table4", "table5", "table6", "table7")
ELSEWHERE = ("medvit_", "resnet18_small", "resnet50_small")  # registered by modules that may be absent


def cell(table, data, printed_model, metric):
    found = [v for v in values(table) if (v.data, v.printed_model, v.metric) == (data, printed_model, metric)]
    assert len(found) == 1
    return found[0].printed


@pytest.mark.parametrize(
    ("table", "rows", "sets", "columns"),
    [
        ("table1", 11, 0, 5),
        ("table2", 16, 16, 7),
        ("table3", 22, 2, 11),
        ("table4", 24, 2, 11),
        ("table5", 26, 2, 11),
        ("table6", 140, 10, 5),
        ("table7", 20, 5, 7),
    ],
)
def test_every_row_is_there(table, rows, sets, columns):
    found = read_table(table)
    assert len(found) == rows
    assert {len(row) for row in found} == {columns}
    assert all(None not in row and None not in row.values() for row in found)
    if sets:
        assert len(data_sets(table)) == sets
        assert set(data_sets(table)) <= set(CATALOGUE)


@pytest.mark.parametrize("table", RESULTS)
def test_every_set_has_every_model_once_and_every_cell_is_a_number_in_its_range(table):
    rows = read_table(table)
    assert len({(row["data"], row["model"]) for row in rows}) == len(rows)
    assert len(rows) == len(data_sets(table)) * len(models(table))
    for value in values(table):
        if value.metric in FIGURES:
            assert 0.2 < value.value <= 1, value
        else:
            assert 1.5 < value.value < 100, value


@pytest.mark.parametrize("table", RESULTS)
def test_every_model_is_in_the_registry(table):
    for key in models(table):
        name = network(key).model
        assert name is None or timm.is_model(name) or name.startswith(ELSEWHERE), key
    named = {key: network(key).model for key in models("table6")}
    assert [key for key, name in named.items() if name is None] == ["auto-sklearn", "autokeras", "google-automl"]
    assert named["medmamba_tiny+autoaugment"] == "medmamba_tiny"


@pytest.mark.parametrize(
    ("table", "data", "model", "metric", "printed"),
    [
        ("table3", "pad-ufes-20", "MedMamba-T", "accuracy", "58.8"),
        ("table3", "pad-ufes-20", "Nest-tiny", "precision", "49.9"),
        ("table3", "pad-ufes-20", "DenseNet169", "auc", "0.801"),
        ("table3", "cervical-us", "DenseNet169", "sensitivity", "78.8"),
        ("table3", "cervical-us", "Cait-xxs36", "f1", "58.0"),
        ("table4", "cpn-x-ray", "MedMamba-S", "specificity", "98.6"),
        ("table4", "kvasir", "MedMamba-T", "accuracy", "79.3"),
        ("table4", "kvasir", "Coat-small", "auc", "0.969"),
        ("table5", "fetal-planes-db", "Poolformer-m36", "accuracy", "87.67"),
        ("table5", "otoscopy2024", "VMamba-B", "sensitivity", "92.9"),
        ("table5", "otoscopy2024", "GcVit-s", "auc", "0.983"),
        ("table6", "breastmnist", "MedMamba-T", "auc", "0.825"),
        ("table6", "retinamnist", "MedMamba-X", "accuracy", "0.570"),
        ("table6", "organcmnist", "ResNet18 (224)", "auc", "0.94"),
        ("table6", "pathmnist", "ResNet50 (224)", "accuracy", "0.892"),
        ("table7", "cervical-us", "SSM, Conv, SP, SF", "accuracy", "85.6"),
        ("table7", "octmnist", "SSM, Conv", "parameters", "51.6"),
    ],
)
def test_known_cells(table, data, model, metric, printed):
    assert cell(table, data, model, metric) == printed


def test_means_over_the_ten_medmnist_sets_are_those_of_the_text():
    """Section 5.1 gives the average accuracy of T, S and B, and what they have more than MedViT."""
    means = {}
    for key in models("table6"):
        several = [value.value for value in values("table6") if value.model == key and value.metric == "accuracy"]
        assert len(several) == 10
        means[key] = sum(several)  # of ten, so tenths of a point
    for key, printed in (("medmamba_tiny", 86.2), ("medmamba_small12", 87.0), ("medmamba_base16", 87.4)):
        assert abs(10 * means[key] - printed) < 0.06, key
    assert 10 * (means["medmamba_tiny"] - means["medvit_tiny"]) == pytest.approx(2.0, abs=0.1)
    assert 10 * (means["medmamba_small12"] - means["medvit_small"]) == pytest.approx(1.7, abs=0.1)
    assert 10 * (means["medmamba_base16"] - means["medvit_large"]) == pytest.approx(2.9, abs=0.1)


def test_sums_of_the_transcription():
    """Checksums, worked out once from the text of the paper: a digit that is changed by accident shows."""
    sums = {table: sum(float(value.printed) for value in values(table)) for table in RESULTS}
    assert {table: round(total, 3) for table, total in sums.items()} == SUMS


SUMS = {"table3": 7686.727, "table4": 11456.321, "table5": 13287.73, "table6": 248.006, "table7": 2402.544}


def test_the_two_rows_that_tables_6_and_7_share_agree():
    for data in ("pathmnist", "octmnist"):
        whole = [v.value for v in values("table7") if v.data == data and v.model == "medmamba_tiny"][-2:]
        tiny = [v.value for v in values("table6") if v.data == data and v.model == "medmamba_tiny"]
        assert whole == pytest.approx(tiny[::-1])


def test_numbers_are_rounded_or_cut():
    assert fits("23.5", 23.557)
    assert fits("22.8", 22.793)
    assert not fits("23.5", 23.6)
    assert not fits("23.5", 23.449)
    assert fits("2.0", 2.01)
