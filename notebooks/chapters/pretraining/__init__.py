"""What 01_pretraining needs and no other notebook."""
