"""Data: from files, tables, MedMNIST arrays and phantoms to the pixels that a model sees."""

from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.finding import find_images
from medmamba.data.opening import check_outside, open_data
from medmamba.data.preprocessing import Preprocessing
from medmamba.data.reading import read_image
from medmamba.data.settings import Reading

__all__ = ["Dataset", "ImageSet", "Preprocessing", "Reading", "check_outside", "find_images", "open_data", "read_image"]
