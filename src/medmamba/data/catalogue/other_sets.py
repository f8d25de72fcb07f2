"""The six sets of the paper that are not MedMNIST's: four that can be had, two that cannot.

Folder and column names, counts by class and terms of use were read on the publishers' pages, or in public repositories
that quote or load the downloads, in 2026; the paper's figures in its text and tables 2 to 7. What was seen in neither
is in `unverified`. Classes stand in the order in which a table or folder of them is opened: sorted as text.
"""

from __future__ import annotations

from medmamba.data.catalogue.row import Row
from medmamba.tasks import Task

_BY_IMAGE = "the paper's split is not published; as far as can be told it was made by image"
_PRIVATE = "not to be had; the paper offers it on reasonable request. A folder of class folders is used as it is"

OTHER_ROWS = (
    Row(
        "pad-ufes-20",
        "PAD-UFES-20",
        "Human Skin Smartphone Image",
        Task.MULTICLASS,
        ("ACK", "BCC", "MEL", "NEV", "SCC", "SEK"),
        total=2298,
        paper=(1384, 227, 687),
        licence="CC BY 4.0",
        source="https://data.mendeley.com/datasets/zr7vgbcyr2/1",
        citation="Pacheco et al., PAD-UFES-20: A skin lesion dataset composed of patient data and clinical images "
        "collected from smartphones, Data in Brief 32, 106221 (2020)",
        get="download it from its page, unpack it and the three archives in it, then medmamba prepare pad-ufes-20",
        derived_from=("PAD-UFES-20",),
        class_counts={"ACK": 730, "BCC": 845, "MEL": 52, "NEV": 244, "SCC": 192, "SEK": 235},
        patients=1373,
        contradictions=(
            "the text names seven diseases for six classes: the publisher counts Bowen's disease as squamous cell "
            "carcinoma (SCC)",
        ),
        cautions=(
            _BY_IMAGE + ", while the 2,298 images are of 1,641 lesions of 1,373 patients; ours is by patient",
            "only 52 images are of melanoma",
        ),
        unverified=("the counts by class are those of a public inventory of the download, not of its page",),
    ),
    Row(
        "cervical-us",
        "Cervical-US",
        "Cervical lymph Ultrasound",
        Task.MULTICLASS,
        ("benign", "metastatic", "normal", "primary"),
        total=3392,
        paper=(2039, 337, 1016),
        licence="private",
        source="https://github.com/YubiaoYue/MedMamba",
        citation="Yue, Li, MedMamba: Vision Mamba for medical image classification, arXiv 2403.03849 (2024)",
        get=_PRIVATE,
        derived_from=("Cervical-US",),
        class_counts={"benign": 601, "metastatic": 1338, "normal": 1217, "primary": 236},
        patients=480,
        contradictions=(
            "the text's classes add up to 3,398 images, not to the 3,392 of the text and of table 2: it has 607 benign "
            "images, the authors' repository 601, which fits",
            "MedMamba-T has 86.2 % and an AUC of 0.952 in table 3, 85.6 % and 0.953 in table 7",
        ),
        cautions=(_BY_IMAGE + ", while the images are of 480 patients",),
    ),
    Row(
        "cpn-x-ray",
        "CPN X-ray",
        "Chest X-ray",
        Task.MULTICLASS,
        ("COVID", "NORMAL", "PNEUMONIA"),
        total=5228,
        paper=(3140, 521, 1567),
        licence="unknown: see its page",
        source="https://data.mendeley.com/datasets/dvntn9yhd2/1",
        citation="Shastri et al., CheXImageNet, Health and Technology 12, 193 (2022); Kumar et al., LiteCovidNet, "
        "International Journal of Imaging Systems and Technology 32, 1464 (2022)",
        get="download it from its page, unpack it and the archive in it, then medmamba prepare cpn-x-ray",
        derived_from=("CPN X-ray",),
        perhaps_from=("Kermany 2018, chest x-rays of children", "NIH ChestX-ray14"),
        class_counts={"COVID": 1626, "NORMAL": 1802, "PNEUMONIA": 1800},
        contradictions=(
            "the text calls the classes COVID-19, NORMAL and pneumonia, the download COVID, NORMAL and PNEUMONIA",
        ),
        cautions=(
            "its images were collected from public sets that its description does not name, so it may share images "
            "with PneumoniaMNIST and ChestMNIST, and a class may be known by the set that its images came from",
            "no patients are given",
        ),
        unverified=(
            "the counts by class are those of a public inventory of the download, not of its page",
            "that it holds images of Kermany's or NIH's collection is a guess from what sets of this kind hold",
        ),
    ),
    Row(
        "fetal-planes-db",
        "Fetal-Planes-DB",
        "Maternal-fetal Ultrasound",
        Task.MULTICLASS,
        ("Fetal abdomen", "Fetal brain", "Fetal femur", "Fetal thorax", "Maternal cervix", "Other"),
        total=12400,
        paper=(7446, 1237, 3717),
        licence="CC BY 4.0",
        source="https://zenodo.org/records/3904280",
        citation="Burgos-Artizzu et al., Evaluation of deep convolutional neural networks for automatic classification "
        "of common maternal fetal ultrasound planes, Scientific Reports 10, 10200 (2020)",
        get="download FETAL_PLANES_ZENODO.zip from its page, unpack it, then medmamba prepare fetal-planes-db",
        derived_from=("Fetal-Planes-DB",),
        class_counts={
            "Fetal abdomen": 711,
            "Fetal brain": 3092,
            "Fetal femur": 1040,
            "Fetal thorax": 1718,
            "Maternal cervix": 1626,
            "Other": 4213,
        },
        patients=1792,
        contradictions=(
            "the publisher gives a train and a test split by patient; the paper cuts three parts of its own, "
            "7,446 / 1,237 / 3,717",
            "table 2 writes its size as 1,2400",
        ),
        cautions=(_BY_IMAGE + ", while the images are of 1,792 patients; ours keeps the publisher's, by patient",),
        unverified=(
            "the publisher's train and test splits have 7,129 and 5,271 images (from general knowledge)",
            "that the publisher's split is by patient was read in repositories that use it; prepare checks it",
        ),
    ),
    Row(
        "kvasir",
        "Kvasir",
        "Gastrointestinal Endoscope",
        Task.MULTICLASS,
        (
            "dyed-lifted-polyps",
            "dyed-resection-margins",
            "esophagitis",
            "normal-cecum",
            "normal-pylorus",
            "normal-z-line",
            "polyps",
            "ulcerative-colitis",
        ),
        total=4000,
        paper=(2408, 392, 1200),
        licence="research and education only, by its terms of use",
        source="https://datasets.simula.no/kvasir",
        citation="Pogorelov et al., KVASIR: A multi-class image dataset for computer aided gastrointestinal disease "
        "detection, ACM Multimedia Systems Conference 2017, 164",
        get="download version 1 (kvasir-dataset.zip) from its page, unpack it, then medmamba prepare kvasir",
        derived_from=("Kvasir",),
        class_counts=dict.fromkeys(
            (
                "dyed-lifted-polyps",
                "dyed-resection-margins",
                "esophagitis",
                "normal-cecum",
                "normal-pylorus",
                "normal-z-line",
                "polyps",
                "ulcerative-colitis",
            ),
            500,
        ),
        contradictions=(
            "the paper does not say which version it used: its 4,000 images are those of version 1; version 2 has "
            "8,000",
            "table 4 calls the best row MedMamba-T, with the parameters and operations of MedMamba-S",
        ),
        cautions=("no patients are given, and frames of one examination look alike",),
        unverified=(
            "version 2 holds version 1, and Kvasir-SEG and HyperKvasir share images with both (general knowledge)",
        ),
    ),
    Row(
        "otoscopy2024",
        "Otoscopy2024",
        "Ear Endoscope",
        Task.MULTICLASS,
        (
            "Acute otitis media",
            "Cholesteatoma of middle ear",
            "Chronic suppurative otitis media",
            "External auditory canal bleeding",
            "Impacted cerumen",
            "Normal eardrum",
            "Otomycosis externa",
            "Secretory otitis media",
            "Tympanic membrane calcification",
        ),
        total=22581,
        paper=(14548, 2419, 7266),
        licence="private",
        source="https://github.com/YubiaoYue/MedMamba",
        citation="Zeng et al., Efficient and accurate identification of ear diseases using an ensemble deep learning "
        "model, Scientific Reports 11, 10839 (2021), of which it is a supplement",
        get=_PRIVATE,
        derived_from=("Otoscopy2024",),
        class_counts={
            "Acute otitis media": 439,
            "Cholesteatoma of middle ear": 548,
            "Chronic suppurative otitis media": 4021,
            "External auditory canal bleeding": 451,
            "Impacted cerumen": 6058,
            "Normal eardrum": 4685,
            "Otomycosis externa": 2507,
            "Secretory otitis media": 2720,
            "Tympanic membrane calcification": 1152,
        },
        contradictions=(
            "table 2 has 24,233 images, and its splits add up to that; the text has 20,542 and 2,039, together 22,581, "
            "and so have its classes",
            "table 2 writes the training images as 1,4548",
        ),
        cautions=(_BY_IMAGE + "; how many patients there are is not said",),
    ),
)
