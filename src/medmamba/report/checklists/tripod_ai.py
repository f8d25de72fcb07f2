"""The items of TRIPOD+AI (Collins et al., doi 10.1136/bmj-2023-078378); topics in our own words."""

from __future__ import annotations

from medmamba.report.checklists import about_data as data
from medmamba.report.checklists import about_model as model
from medmamba.report.checklists import about_results as results
from medmamba.report.checklists.items import Checklist, Item, together

_INTRODUCTION = (
    Item(
        "1",
        "title: development or evaluation, population, outcome",
        model.technology,
        "the population; say so in the title",
    ),
    Item("2", "abstract, by the checklist for abstracts"),
    Item("3a", "medical context, and why this model"),
    Item("3b", "population, purpose in the course of care, and users"),
    Item("3c", "known inequalities between groups of people"),
    Item("4", "objectives, and whether a model is developed, evaluated, or both"),
)
_METHODS = (
    Item("5a", "sources of the data", data.sources, "what kind of study, why these data, and whom they represent"),
    Item("5b", "dates of the data"),
    Item("6a", "setting, number and place of centres"),
    Item("6b", "who was eligible"),
    Item("6c", "treatments"),
    Item(
        "7",
        "preparation and checks of the data",
        model.preprocessing,
        "checks of quality; whether groups were treated alike",
    ),
    Item("8a", "the outcome", model.outcome, "how, when and why it was assessed, and whether alike in all groups"),
    Item("8b", "who assessed the outcome"),
    Item("8c", "blinding of the assessment of the outcome"),
    Item("9a", "choice of predictors", model.predictors, "why"),
    Item("9b", "definition of predictors", model.predictors, "how and when images were acquired; blinding"),
    Item("9c", "who assessed predictors"),
    Item("10", "size of the study", data.counts, "how it was decided, and why it is enough"),
    Item("11", "missing data", data.missing, "what was left out before, and why"),
    Item("12a", "how the data were used and divided", data.assigned),
    Item("12b", "how predictors were transformed", model.preprocessing),
    Item(
        "12c",
        "type of model, how it was built, tuned and validated internally",
        together(model.model, model.start, model.training, model.selection),
        "why this model; how options were tuned, if they were",
    ),
    Item("12d", "differences between centres or countries: how they were handled"),
    Item("12e", "measures and plots of performance", together(results.measures, results.uncertainty), "why these"),
    Item("12f", "updating of the model", model.chosen),
    Item("12g", "how predictions were computed for the evaluation", together(model.output, model.software)),
    Item("13", "class imbalance", data.rare_classes, "why"),
    Item("14", "fairness"),
    Item("15", "output of the model, and how thresholds were chosen", model.output, "why this threshold"),
    Item(
        "16", "differences between training and evaluation data", data.between, "differences of setting and eligibility"
    ),
    Item("17", "ethical approval and consent"),
)
_OPENNESS = (
    Item("18a", "funding, and the role of funders"),
    Item("18b", "conflicts of interest"),
    Item("18c", "protocol"),
    Item("18d", "registration"),
    Item("18e", "availability of the data", data.licence, "where the data of this study can be had"),
    Item("18f", "availability of the code", model.code, "where your own code can be had"),
    Item("19", "involvement of patients and the public"),
)
_RESULTS = (
    Item("20a", "flow of participants, with and without the outcome", data.counts, "those excluded, and a diagram"),
    Item("20b", "characteristics of participants", results.subgroup_sizes, "characteristics of each data set"),
    Item("20c", "evaluation data beside development data", data.mix, "characteristics of people in both"),
    Item("21", "participants and outcomes in each analysis", data.counts),
    Item("22", "the full model, for others to use", together(model.model, model.code), "restrictions of access or use"),
    Item(
        "23a",
        "performance with intervals, also of subgroups",
        together(results.overall, results.per_class, results.subgroups),
    ),
    Item(
        "23b",
        "differences of performance between centres or countries",
        results.subgroups,
        "which of these are centres",
    ),
    Item("24", "results of updating the model", results.updated),
)
_DISCUSSION = (
    Item("25", "interpretation, fairness included"),
    Item(
        "26", "limitations", results.cautions, "those of sample, size, overfitting and missing data, and what they do"
    ),
    Item("27a", "poor or missing input in use", model.poor_input, "what users should do then"),
    Item("27b", "what users must do and know"),
    Item("27c", "next steps"),
)
TRIPOD_AI = Checklist(
    "TRIPOD+AI",
    "Collins GS et al., TRIPOD+AI statement, BMJ 2024;385:e078378",
    (*_INTRODUCTION, *_METHODS, *_OPENNESS, *_RESULTS, *_DISCUSSION),
)
