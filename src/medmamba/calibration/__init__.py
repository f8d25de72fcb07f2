"""What is chosen on validation images after training: how sure to be, where to cut, and when to ask a person."""

from medmamba.calibration.run import OperatingPoint, calibrate

__all__ = ["OperatingPoint", "calibrate"]
