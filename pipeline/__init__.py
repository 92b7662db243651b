"""What turns a portrait into an avatar. Nothing in this package imports Ray."""

__version__ = "0.1.0"
