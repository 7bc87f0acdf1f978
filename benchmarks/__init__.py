"""What the project costs and how good it is, measured by commands that anyone can run again."""
