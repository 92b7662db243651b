"""Compiled loops: mesh helpers, rasterisation, light baking and shading (numba, CPU, no GIL)."""
