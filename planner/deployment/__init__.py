"""The life of a deployment: what runs, what would change, how a new version is launched, proven and taken back."""
