"""What 04_initialization needs and no other notebook."""
