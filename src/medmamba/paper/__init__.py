"""The paper's tables and figures, made again from runs of our own beside what was printed."""
