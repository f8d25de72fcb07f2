"""What is chosen on validation images after training: how sure to be, where to cut, and when to ask a person."""

from medmamba.calibration.choosing import OperatingPoint
from medmamba.calibration.run import calibrate

__all__ = ["OperatingPoint", "calibrate"]
