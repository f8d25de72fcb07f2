"""Data: from files, tables, MedMNIST arrays and phantoms to the pixels that a model sees."""

from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.opening import open_data
from medmamba.data.preprocessing import Preprocessing
from medmamba.data.reading import find_images, read_image

__all__ = ["Dataset", "ImageSet", "Preprocessing", "find_images", "open_data", "read_image"]
