"""Right and wrong answers to the exercises: a module for each notebook, with RIGHT and WRONG by exercise."""
