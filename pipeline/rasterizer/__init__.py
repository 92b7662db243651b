"""Render 3D Gaussians: gsplat on CUDA, our own kernels on the CPU, one signature."""

from pipeline.rasterizer.interface import rasterize
from pipeline.rasterizer.request import RasterizeMode, RenderMode
from pipeline.rasterizer.threads import default_threads

__all__ = ["RasterizeMode", "RenderMode", "default_threads", "rasterize"]
