"""What 03_distillation needs and no other notebook."""
