"""What was found out about a model, for people to read."""
