"""The panels of the notebooks, ready to show: what is too long for a cell, or used more than once."""
