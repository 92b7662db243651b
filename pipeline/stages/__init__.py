"""The stages, one module each; `pipeline.graph` puts them in order."""
