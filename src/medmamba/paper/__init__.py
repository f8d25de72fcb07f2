"""The paper's tables and figures (Yue & Li 2024, arXiv 2403.03849), made again by command."""
