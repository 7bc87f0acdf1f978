"""What a bundle costs on the machine that it is for: one folder for each session, with every raw sample."""
