"""The checks of the notebooks' exercises. Importing a notebook's module registers them for `lesson.check`."""
