"""What one notebook needs and no other, a folder for each; and the two recipes that they share."""
