"""What 02_fine_tuning needs and no other notebook."""
