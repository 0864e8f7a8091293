"""What a model is: read from a hub, a folder or the catalogue, and told in one neutral shape (facts.py)."""
