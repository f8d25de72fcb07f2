"""The items of CLAIM, its 2024 update (Tejani et al., doi 10.1148/ryai.240300); topics in our own words."""

from __future__ import annotations

from medmamba.report.checklists import about_data as data
from medmamba.report.checklists import about_model as model
from medmamba.report.checklists import about_results as results
from medmamba.report.checklists.items import Checklist, Item, together

CLAIM = Checklist(
    "CLAIM 2024",
    "Tejani AS et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, "
    "Radiology: Artificial Intelligence 2024;6(4):e240300",
    (
        Item("1", "say that this is a study of AI, and of which kind", model.technology, "say so in the title"),
        Item("2", "summary: design, methods, results, conclusions"),
        Item("3", "background, what the model is for, and its role"),
        Item("4", "aims and hypotheses"),
        Item("5", "prospective or retrospective"),
        Item("6", "goal of the study"),
        Item("7", "where the data come from", data.sources, "who collected them, when and where"),
        Item("8", "who was included and who was not"),
        Item("9", "preprocessing", model.preprocessing, "what was done before the files reached this package"),
        Item(
            "10",
            "how parts of the data were chosen",
            model.frames,
            "how images, slices or regions were selected before",
        ),
        Item("11", "how patients were made anonymous"),
        Item("12", "missing data", data.missing, "what was missing before, and what it may bias"),
        Item("13", "how images were acquired"),
        Item("14", "how the reference standard was obtained"),
        Item("15", "why this reference standard"),
        Item("16", "who annotated"),
        Item("17", "how the test set was annotated"),
        Item("18", "how far annotators agree, with each other and with themselves"),
        Item("19", "how images were assigned to splits", together(data.assigned, data.rare_classes), "why so"),
        Item(
            "20",
            "at which level splits are disjoint: patients, images",
            data.disjoint,
            "whether this holds for the test set",
        ),
        Item("21", "size of the test set, and how it was determined", data.test_size, "how the size was decided"),
        Item("22", "the model in detail", together(model.model, model.output)),
        Item("23", "software", model.software),
        Item("24", "initial weights", model.start),
        Item("25", "training", model.training, "how options were tuned, if they were"),
        Item("26", "how the final model was selected", model.selection),
        Item("27", "ensembles", model.ensemble),
        Item("28", "measures of performance", results.measures, "why these; published models to compare with"),
        Item("29", "significance and uncertainty", results.uncertainty),
        Item("30", "robustness or sensitivity", results.robustness, "other analyses of sensitivity"),
        Item("31", "methods to explain answers", results.explained, "what they showed, and whether they were checked"),
        Item("32", "evaluation on internal data", results.internal),
        Item("33", "test on external data", results.external, "how those data differ; or why there was no such test"),
        Item("34", "registration of a clinical trial"),
        Item(
            "35",
            "how many patients or examinations were included and excluded",
            data.counts,
            "those excluded, and a flow chart",
        ),
        Item(
            "36",
            "demographic and clinical characteristics in each split",
            results.subgroup_sizes,
            "characteristics of each split",
        ),
        Item(
            "37", "performance with its uncertainty", together(results.overall, results.calibration, results.subgroups)
        ),
        Item("38", "diagnostic performance with its precision", results.per_class),
        Item("39", "analysis of mistakes", results.failures, "examples, and what they have in common"),
        Item("40", "limitations", results.cautions, "those of the design, of bias, and of how far results carry"),
        Item("41", "what follows for practice"),
        Item("42", "where the full protocol or more technical detail stands"),
        Item(
            "43",
            "availability of software, model and data",
            together(model.code, data.licence),
            "where yours can be had",
        ),
        Item("44", "funding, and the role of funders"),
    ),
)
