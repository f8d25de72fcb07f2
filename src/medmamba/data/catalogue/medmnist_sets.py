"""The twelve two-dimensional MedMNIST sets, the ten that the paper uses first.

Tasks, classes, counts, licences and checksums are those of the MedMNIST project, version 3; a test compares them with
its package. The paper's counts are those of its table 2.
"""

from __future__ import annotations

from medmamba.data.catalogue.row import Row
from medmamba.tasks import Task

RECORD = "https://zenodo.org/records/10519652"
SIZES = (28, 64, 128, 224)

_CITATION = (
    "Yang et al., MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image classification, "
    "Scientific Data 10, 41 (2023); and its source: "
)
_GET = "by name: looked up, then downloaded and its checksum verified; sizes 28, 64, 128 and 224"
_NO_PATIENTS = "no patients are given, so nobody can check that none is in two splits"
_LITS = (
    "Bilic et al., Medical Image Analysis 84, 102680 (2023); "
    "Xu et al., IEEE Transactions on Medical Imaging 38, 1885 (2019)"
)
_SAME_VOLUMES = (
    "OrganA, C and S are cut from the same CT volumes, 131 for train and val, 70 for test: images of a volume are not "
    "independent"
)
_FROM_MEMORY = ("the citation of its source is from general knowledge",)
_ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)

MEDMNIST_ROWS = (
    Row(
        "pathmnist",
        "PathMNIST",
        "Colon Pathology",
        Task.MULTICLASS,
        (
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
        total=107180,
        paper=(89996, 10004, 7180),
        licence="CC BY 4.0",
        source=RECORD,
        citation=_CITATION + "Kather et al., PLoS Medicine 16, e1002730 (2019)",
        get=_GET,
        derived_from=("NCT-CRC-HE-100K", "CRC-VAL-HE-7K"),
        counts=(89996, 10004, 7180),
        contradictions=(
            (
                "the text credits MedMamba-S with 7.2 points of accuracy over ResNet50 (224); by table 6 that"
                " is MedMamba-B (96.4 to 89.2), and S has 6.3"
            ),
        ),
        cautions=(
            "train and val are cut 9 to 1 from one collection, test comes from another hospital",
            _NO_PATIENTS,
        ),
        unverified=_FROM_MEMORY,
        channels=3,
        md5={
            28: "a8b06965200029087d5bd730944a56c1",
            64: "55aa9c1e0525abe5a6b9d8343a507616",
            128: "ac42d08fb904d92c244187169d1fd1d9",
            224: "2c51a510bcdc9cf8ddb2af93af1eadec",
        },
    ),
    Row(
        "octmnist",
        "OCTMNIST",
        "Retinal OCT",
        Task.MULTICLASS,
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        total=109309,
        paper=(97477, 10832, 1000),
        licence="CC BY 4.0",
        source=RECORD,
        citation=_CITATION + "Kermany et al., Cell 172, 1122 (2018)",
        get=_GET,
        derived_from=("Kermany 2018, retinal OCT",),
        counts=(97477, 10832, 1000),
        contradictions=(
            (
                "the text says that the AUC of MedMamba-S is 3.6 points above MedViT-S; by table 6 it is 3.1 "
                "(0.991 to 0.960), and 3.6 is MedMamba-B's"
            ),
        ),
        cautions=(
            "the test split is balanced and the train split is not: look at the figures of each class",
            _NO_PATIENTS,
        ),
        unverified=_FROM_MEMORY,
        channels=1,
        md5={
            28: "c68d92d5b585d8d81f7112f81e2d0842",
            64: "e229e9440236b774d9f0dfef9d07bdaf",
            128: "0a97e76651ace45c5d943ee3f65b63ae",
            224: "abc493b6d529d5de7569faaef2773ba3",
        },
    ),
    Row(
        "dermamnist",
        "DermaMNIST",
        "Dermatoscope",
        Task.MULTICLASS,
        (
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
        total=10015,
        paper=(7007, 1003, 2005),
        licence="CC BY-NC 4.0",
        source=RECORD,
        citation=_CITATION + "Tschandl, Rosendahl, Kittler, Scientific Data 5, 180161 (2018)",
        get=_GET,
        derived_from=("HAM10000",),
        counts=(7007, 1003, 2005),
        contradictions=(
            (
                "the text says that AutoAugment improves results; by table 6 it lowers accuracy here, from "
                "77.9 (T) to 75.1 (X)"
            ),
        ),
        cautions=(
            "images of one lesion are in more than one split (arXiv 2401.14497)",
            _NO_PATIENTS,
        ),
        unverified=_FROM_MEMORY,
        channels=3,
        md5={
            28: "0744692d530f8e62ec473284d019b0c7",
            64: "b70a2f5635c6199aeaa28c31d7202e1f",
            128: "2defd784463fa5243564e855ed717de1",
            224: "8974907d8e169bef5f5b96bc506ae45d",
        },
    ),
    Row(
        "pneumoniamnist",
        "PneumoniaMNIST",
        "Chest X-Ray",
        Task.BINARY,
        ("normal", "pneumonia"),
        total=5856,
        paper=(4708, 524, 624),
        licence="CC BY 4.0",
        source=RECORD,
        citation=_CITATION + "Kermany et al., Cell 172, 1122 (2018)",
        get=_GET,
        derived_from=("Kermany 2018, chest x-rays of children",),
        counts=(4708, 524, 624),
        cautions=(
            (
                "8 validation images of the 28-pixel file are equal to training images, as a copy of it that "
                "was put together again tells"
            ),
            _NO_PATIENTS,
        ),
        unverified=_FROM_MEMORY,
        channels=1,
        md5={
            28: "28209eda62fecd6e6a2d98b1501bb15f",
            64: "8f4eceb4ccffa70c672198ea285246c6",
            128: "05b46931834c231683c68f40c47b2971",
            224: "d6a3c71de1b945ea11211b03746c1fe1",
        },
        positive=1,
    ),
    Row(
        "breastmnist",
        "BreastMNIST",
        "Breast Ultrasound",
        Task.BINARY,
        ("malignant", "normal, benign"),
        total=780,
        paper=(546, 78, 156),
        licence="CC BY 4.0",
        source=RECORD,
        citation=_CITATION + "Al-Dhabyani, Gomaa, Khaled, Fahmy, Data in Brief 28, 104863 (2020)",
        get=_GET,
        derived_from=("BUSI",),
        counts=(546, 78, 156),
        cautions=(
            "one test image of the 28-pixel file is equal to a train image",
            ("a BUSI of your own, in whatever size and split, shares images with both its train and its test split"),
            _NO_PATIENTS,
        ),
        unverified=_FROM_MEMORY,
        channels=1,
        md5={
            28: "750601b1f35ba3300ea97c75c52ff8f6",
            64: "742edef2a1fd1524b2efff4bd7ba9364",
            128: "363e4b3f8d712e9b5de15470a2aaadf1",
            224: "b56378a6eefa9fed602bb16d192d4c8b",
        },
        positive=0,
    ),
    Row(
        "retinamnist",
        "RetinaMNIST",
        "Fundus Camera",
        Task.ORDINAL,
        ("0", "1", "2", "3", "4"),
        total=1600,
        paper=(1080, 120, 400),
        licence="CC BY 4.0",
        source=RECORD,
        citation=_CITATION + "Liu et al., Patterns 3, 100512 (2022)",
        get=_GET,
        derived_from=("DeepDRiD",),
        counts=(1080, 120, 400),
        contradictions=("table 2 calls the task multi-class; the publisher calls it ordinal regression",),
        cautions=(_NO_PATIENTS,),
        unverified=_FROM_MEMORY,
        channels=3,
        md5={
            28: "bd4c0672f1bba3e3a89f0e4e876791e4",
            64: "afda852cc34dcda56f86ad2b2457dbcc",
            128: "e48e916a24454daf90583d4e6efb1a18",
            224: "eae7e3b6f3fcbda4ae613ebdcbe35348",
        },
    ),
    Row(
        "bloodmnist",
        "BloodMNIST",
        "Blood Cell Microscope",
        Task.MULTICLASS,
        (
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        total=17092,
        paper=(11959, 1712, 3421),
        licence="CC BY 4.0",
        source=RECORD,
        citation=_CITATION + "Acevedo et al., Data in Brief 30, 105474 (2020)",
        get=_GET,
        derived_from=("Acevedo 2020, blood cells",),
        counts=(11959, 1712, 3421),
        cautions=(_NO_PATIENTS,),
        unverified=_FROM_MEMORY,
        channels=3,
        md5={
            28: "7053d0359d879ad8a5505303e11de1dc",
            64: "2b94928a2ae4916078ca51e05b6b800b",
            128: "adace1e0ed228fccda1f39692059dd4c",
            224: "b718ff6835fcbdb22ba9eacccd7b2601",
        },
    ),
    Row(
        "organamnist",
        "OrganAMNIST",
        "Abdominal CT",
        Task.MULTICLASS,
        _ORGANS,
        total=58830,
        paper=(34581, 6491, 17778),
        licence="CC BY 4.0",
        source=RECORD,
        citation=_CITATION + _LITS,
        get=_GET,
        derived_from=("LiTS",),
        counts=(34561, 6491, 17778),
        contradictions=(
            (
                "table 2 has 34,581 training images, those of MedMNIST version 2; the file of version 3, the "
                "first with 224 pixels, has 34,561"
            ),
        ),
        cautions=(
            _SAME_VOLUMES,
            _NO_PATIENTS,
        ),
        unverified=_FROM_MEMORY,
        channels=1,
        md5={
            28: "68e3f8846a6bd62f0c9bf841c0d9eacc",
            64: "2dcccc29b88e6da5a01161ef20cda288",
            128: "eeae80d0a227a8d099027e1b3cfd3b60",
            224: "50747347e05c87dd3aaf92c49f9f3170",
        },
    ),
    Row(
        "organcmnist",
        "OrganCMNIST",
        "Abdominal CT",
        Task.MULTICLASS,
        _ORGANS,
        total=23583,
        paper=(13000, 2392, 8268),
        licence="CC BY 4.0",
        source=RECORD,
        citation=_CITATION + _LITS,
        get=_GET,
        derived_from=("LiTS",),
        counts=(12975, 2392, 8216),
        contradictions=(
            (
                "table 2 has 13,000 training and 8,268 test images, those of MedMNIST version 2; the file of "
                "version 3, the first with 224 pixels, has 12,975 and 8,216"
            ),
        ),
        cautions=(
            _SAME_VOLUMES,
            _NO_PATIENTS,
        ),
        unverified=_FROM_MEMORY,
        channels=1,
        md5={
            28: "b9ceb9546e10131b32923c5bbeaea2b1",
            64: "3ce34a8724ea6f548e6db4744d03b6a9",
            128: "773c1f009daa3fe5d9a2a201b2a7ed94",
            224: "050f5e875dc056f6768abf94ec9995d1",
        },
    ),
    Row(
        "organsmnist",
        "OrganSMNIST",
        "Abdominal CT",
        Task.MULTICLASS,
        _ORGANS,
        total=25211,
        paper=(13940, 2452, 8829),
        licence="CC BY 4.0",
        source=RECORD,
        citation=_CITATION + _LITS,
        get=_GET,
        derived_from=("LiTS",),
        counts=(13932, 2452, 8827),
        contradictions=(
            (
                "table 2 has 13,940 training and 8,829 test images, those of MedMNIST version 2; the file of "
                "version 3, the first with 224 pixels, has 13,932 and 8,827"
            ),
        ),
        cautions=(
            _SAME_VOLUMES,
            _NO_PATIENTS,
        ),
        unverified=_FROM_MEMORY,
        channels=1,
        md5={
            28: "9ab87b696fb54e2a387ebe992d6ed5f1",
            64: "53a6d115339d874c25e309a994ff46d3",
            128: "ded0c5fa01a95dc4978b956f613e9b8e",
            224: "b354719e553fbbb2513d5533f52a4cb1",
        },
    ),
    Row(
        "chestmnist",
        "ChestMNIST",
        "Chest X-Ray",
        Task.MULTILABEL,
        (
            "atelectasis",
            "cardiomegaly",
            "effusion",
            "infiltration",
            "mass",
            "nodule",
            "pneumonia",
            "pneumothorax",
            "consolidation",
            "edema",
            "emphysema",
            "fibrosis",
            "pleural",
            "hernia",
        ),
        total=112120,
        paper=None,
        licence="CC BY 4.0",
        source=RECORD,
        citation=_CITATION + "Wang et al., CVPR 2017, 3462",
        get=_GET,
        derived_from=("NIH ChestX-ray14",),
        counts=(78468, 11219, 22433),
        cautions=(
            "most images have no finding at all, so that accuracy says little: look at the AUC",
            _NO_PATIENTS,
        ),
        unverified=_FROM_MEMORY,
        channels=1,
        md5={
            28: "02c8a6516a18b556561a56cbdd36c4a8",
            64: "9de6cd0b934ebb5b7426cfba5efbae16",
            128: "db107e5590b27930b62dbaf558aebee3",
            224: "45bd33e6f06c3e8cdb481c74a89152aa",
        },
    ),
    Row(
        "tissuemnist",
        "TissueMNIST",
        "Kidney Cortex Microscope",
        Task.MULTICLASS,
        (
            "Collecting Duct, Connecting Tubule",
            "Distal Convoluted Tubule",
            "Glomerular endothelial cells",
            "Interstitial endothelial cells",
            "Leukocytes",
            "Podocytes",
            "Proximal Tubule Segments",
            "Thick Ascending Limb",
        ),
        total=236386,
        paper=None,
        licence="CC BY 4.0",
        source=RECORD,
        citation=_CITATION + "Ljosa, Sokolnicki, Carpenter, Nature Methods 9, 637 (2012)",
        get=_GET,
        derived_from=("BBBC051",),
        counts=(165466, 23640, 47280),
        cautions=(_NO_PATIENTS,),
        unverified=_FROM_MEMORY,
        channels=1,
        md5={
            28: "ebe78ee8b05294063de985d821c1c34b",
            64: "123ece2eba09d0aa5d698fda57103344",
            128: "61b955355d7425a89687b06cca3ce0c2",
            224: "b077128c4a949f0a4eb01517f9037b9c",
        },
    ),
)
